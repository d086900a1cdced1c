"""Errors of the sinks.

MillraceError                     (schemas.errors)
├── RetryableError                (schemas.errors)
│   ├── StoreUnavailable          a store refused a write for now (disk, network, a lock)
│   └── CommitLost                another writer committed first, too many times in a row
└── PermanentError                (schemas.errors)
    ├── IdentityMismatch          stored offsets belong to another cluster or an earlier topic
    ├── OffsetPastEnd             the store knows more of a partition than Kafka has
    ├── RecordsExpired            records were deleted from Kafka before the store had them
    ├── RangeGap                  a range does not begin where the store ends
    └── TableMismatch             a table exists with columns that do not fit ours
"""

from schemas.errors import PermanentError, RetryableError

# What the process ends with: nothing to mend itself by a restart; a bug; a restart may help.
EXIT_REFUSED = 2
EXIT_FAILED = 70
EXIT_TRY_AGAIN = 75


class StoreUnavailable(RetryableError):
    """A store cannot take the write now.  sink: its name.  cause: the store's own words."""

    def __init__(self, sink: str, cause: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(f"{sink}: {cause}", retry_after_s=retry_after_s)
        self.sink = sink
        self.cause = cause


class CommitLost(RetryableError):
    """Another writer won every race for the table.  table: its name.  attempts: races lost in a row."""

    def __init__(self, table: str, attempts: int) -> None:
        super().__init__(f"lake table {table}: lost {attempts} commits in a row to another writer", retry_after_s=1.0)
        self.table = table
        self.attempts = attempts


class IdentityMismatch(PermanentError):
    """What is stored came from another Kafka or from an earlier topic of the same name.

    stored, found: (cluster id, topic id), each.
    """

    def __init__(
        self, sink: str, topic: str, partition: int, *, stored: tuple[str, str], found: tuple[str, str]
    ) -> None:
        what = "cluster" if stored[0] != found[0] else "topic"
        index = 0 if what == "cluster" else 1
        super().__init__(
            f"{sink} holds offsets of {topic}[{partition}] of another {what} (stored {stored[index]}, Kafka says "
            f"{found[index]}): point MILLRACE_BOOTSTRAP at the old Kafka, or give this one a data folder of its own",
            reason="identity_mismatch",
        )
        self.sink, self.topic, self.partition = sink, topic, partition
        self.stored, self.found = stored, found


class OffsetPastEnd(PermanentError):
    """The store's next offset lies beyond the end of Kafka's log: the log lost records, or is another log."""

    def __init__(self, sink: str, topic: str, partition: int, *, covered: int, end: int) -> None:
        super().__init__(
            f"{sink} has {topic}[{partition}] up to offset {covered}, but Kafka's log ends at {end}: "
            f"{covered - end} stored records are not in Kafka any more (was its data folder rolled back?)",
            reason="offset_past_end",
        )
        self.sink, self.topic, self.partition = sink, topic, partition
        self.covered, self.end = covered, end


class RecordsExpired(PermanentError):
    """Kafka deleted records by retention before this store had them.  lost: how many offsets are gone."""

    def __init__(self, sink: str, topic: str, partition: int, *, covered: int, start: int) -> None:
        super().__init__(
            f"{sink} has {topic}[{partition}] up to offset {covered}, but Kafka's log begins at {start}: "
            f"{start - covered} records expired unread; set MILLRACE_SINKS_ALLOW_GAPS=true to go on without them",
            reason="records_expired",
        )
        self.sink, self.topic, self.partition = sink, topic, partition
        self.covered, self.start = covered, start
        self.lost = start - covered


class RangeGap(PermanentError):
    """A range begins after the store's next offset; writing it would skip records.  Our own bug, or a meddler."""

    def __init__(self, sink: str, topic: str, partition: int, *, expected: int, found: int) -> None:
        super().__init__(
            f"{sink} ends at offset {expected} of {topic}[{partition}], but was given a range from {found}: not stored",
            reason="range_gap",
        )
        self.sink, self.topic, self.partition = sink, topic, partition
        self.expected, self.found = expected, found


class TableMismatch(PermanentError):
    """A table of the store does not fit the schema.  table: its name.  cause: which column, and how."""

    def __init__(self, sink: str, table: str, cause: str) -> None:
        super().__init__(f"{sink} table {table} does not fit the schema: {cause}", reason="table_mismatch")
        self.sink = sink
        self.table = table
        self.cause = cause


def exit_code(error: BaseException) -> int:
    """What the process ends with after this error."""
    if isinstance(error, RetryableError):
        return EXIT_TRY_AGAIN
    if isinstance(error, PermanentError) and not isinstance(error, RangeGap):
        return EXIT_REFUSED
    return EXIT_FAILED
