"""Errors of looking at state.

MillraceError                     (schemas.errors)
├── RetryableError                (schemas.errors)
│   └── ClusterUnavailable        (service.errors) Kafka does not answer
└── PermanentError                (schemas.errors)
    ├── NotOnThisMachine          no database of this table and partition is here
    ├── NoSuchRow                 the partition is here, and has no such row
    ├── DatabaseUnreadable        RocksDB cannot read a database
    ├── UnknownFormat             a row that a newer release wrote
    ├── UnknownField              no field of the record
    └── StateMismatch             (streams.engine.errors) rows of another cluster or topic than Kafka has
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import PermanentError


class NotOnThisMachine(PermanentError):
    """No database of this table (None: any) and partition.  group: the workers'.  here: partitions that are."""

    def __init__(
        self, table: str | None, partition: int | None, *, group: str, data: Path, here: Sequence[int]
    ) -> None:
        what = f"the state of {group}" if table is None else f"table {table} of {group}"
        found = f"partitions {', '.join(map(str, here))} are" if here else "nothing is"
        super().__init__(
            f"{what if partition is None else f'partition {partition} of {what}'} is not on this machine "
            f"({found} in {data}): ask where the worker that owns it runs, or set MILLRACE_DATA, MILLRACE_PREFIX "
            "and MILLRACE_STREAMS_EPOCH as for that worker",
            reason="not_on_this_machine",
        )
        self.table, self.partition = table, partition


class NoSuchRow(PermanentError):
    """what: the row that was asked for.  where: the partition that would have it, and how far it has read."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(
            f"there is no {what} in {where}: look at the spelling, and at the lag (millrace status)",
            reason="no_such_row",
        )
        self.what = what


class DatabaseUnreadable(PermanentError):
    """path: the database.  cause: RocksDB's words."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} cannot be read: {cause} (a damaged one is read back from its changelog when a worker opens it)",
            reason="database_unreadable",
        )
        self.path, self.cause = path, cause


class UnknownFormat(PermanentError):
    """where: table and partition.  cause: which part is not known."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(
            f"{where} has a row that cannot be decoded: {cause}; look at it with the release that wrote it",
            reason="unknown_format",
        )
        self.where = where


class UnknownField(PermanentError):
    """field: as it was given.  known: the names there are."""

    def __init__(self, field: str, known: Sequence[str]) -> None:
        super().__init__(f"no field {field}; there are: {', '.join(known)}", reason="unknown_field")
        self.field = field
