"""Errors of the engine. All of them end the worker: nothing is committed, and what was not committed is read again.

MillraceError                  (schemas.errors)
├── RetryableError             (schemas.errors) start the worker again
│   ├── WorkerFenced           the group gave our partitions away, or may have
│   ├── GroupFailed            the membership in the group ended by an error
│   ├── SendFailed             Kafka did not acknowledge a message
│   ├── RecoveryStuck          Kafka did not answer a question about a changelog
│   ├── StateDamaged           a database cannot be read; the next start recovers it from its changelog
│   ├── StateLocked            another process has a database open
│   └── StateUnwritable        a database takes no more: a full disk, missing rights
└── PermanentError             (schemas.errors) a start would end the same way
    └── EngineError
        ├── StageFailed        a stage's fold raised; the record that did it comes again
        ├── RowTooLarge        a row or message does not fit into one request
        ├── WrongRow           a row that the engine cannot read, or a stage must not write
        ├── NotCopartitioned   tables that are read together are not owned together
        ├── StateMismatch      rows were made from another topic or cluster than the one we are given
        │   └── SourceCut      a source lost its end, and others wrote in its place, since records were folded
        ├── StateLost          rows that were once acknowledged are gone
        ├── ChangelogReplaced  a changelog was deleted and made again since rows were read from it
        ├── ChangelogCut       a changelog lost its end, and others wrote in its place, since rows were read from it
        ├── LogicChanged       rows were made by another version of the stage's logic
        ├── AlreadyPublished   rows that people see shall not be changed in shadow
        ├── EpochSuperseded    a higher epoch is published
        └── WrongChangelog     a changelog topic exists with other properties, or cannot be made
"""

from __future__ import annotations

from pathlib import Path

from schemas.errors import PermanentError, RetryableError


class EngineError(PermanentError):
    """Root of what a new start does not mend."""

    def __init__(self, message: str, *, reason: str = "engine") -> None:
        super().__init__(message, reason=reason)


class WorkerFenced(RetryableError):
    """Somebody else may own our partitions: nothing more may be written from here."""

    def __init__(self, why: str) -> None:
        super().__init__(f"worker fenced: {why}", retry_after_s=1.0)


class GroupFailed(RetryableError):
    """We are no member of the group, and do not become one again.  group: its name.  cause: the client's words."""

    def __init__(self, group: str, cause: str) -> None:
        super().__init__(f"the membership in the group {group} ended: {cause}", retry_after_s=1.0)
        self.group, self.cause = group, cause


class SendFailed(RetryableError):
    """A message was not acknowledged.  topic, partition: where to.  cause: the client's words."""

    def __init__(self, topic: str, partition: int, cause: str) -> None:
        super().__init__(f"Kafka did not acknowledge {topic}[{partition}]: {cause}", retry_after_s=1.0)
        self.topic, self.partition = topic, partition


class RecoveryStuck(RetryableError):
    """A step between an assignment and the first chunk did not end.  seconds: how long it was waited for."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"recovery: Kafka did not answer within {seconds:g} s", retry_after_s=1.0)
        self.seconds = seconds


class StateDamaged(RetryableError):
    """A database was found damaged while it was in use.  folder: the database.  cause: RocksDB's words."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(
            f"{folder} is damaged and will be recovered from the changelog at the next start: {cause}",
            retry_after_s=1.0,
        )
        self.folder = folder


class StateLocked(RetryableError):
    """A database is open in another process.  folder: the database."""

    def __init__(self, folder: Path) -> None:
        # Faust looks for the word lock, and tries again for half a minute.
        super().__init__(
            f"another process holds the lock of {folder}: end that one, or give this one a folder of its own"
        )
        self.folder = folder


class StateUnwritable(RetryableError):
    """A database takes no more. Nothing is lost: the changelog has what it lacks.  cause: RocksDB's words."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(f"cannot write to {folder}: {cause}; free space on its disk, or mend its rights")
        self.folder = folder


class StageFailed(EngineError):
    """A fold raised, or did not end in time.  topic, partition, first_offset, last_offset: the chunk it had."""

    def __init__(self, topic: str, partition: int, first_offset: int, last_offset: int, cause: str) -> None:
        super().__init__(
            f"the stage of {topic}[{partition}] failed between offsets {first_offset} and {last_offset}: {cause}",
            reason="stage_failed",
        )
        self.topic, self.partition = topic, partition
        self.first_offset, self.last_offset = first_offset, last_offset


class RowTooLarge(EngineError):
    """A row or message does not fit into one request.  table: the table's, else the topic's name."""

    def __init__(self, table: str, *, key_bytes: int, row_bytes: int, limit: int) -> None:
        super().__init__(
            f"{table}: a row of {row_bytes} bytes with a key of {key_bytes} bytes exceeds {limit} bytes",
            reason="row_too_large",
        )
        self.table, self.key_bytes, self.row_bytes, self.limit = table, key_bytes, row_bytes, limit


class WrongRow(EngineError):
    """A row that cannot be read or must not be written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="wrong_row")


class NotCopartitioned(EngineError):
    """Topics whose tables are read together do not lie on the same worker.  topics: their full names."""

    def __init__(self, topics: tuple[str, ...], detail: str) -> None:
        super().__init__(
            f"{' and '.join(topics)} are read together but not owned together ({detail}): "
            "they need the same number of partitions, and every worker of the group must read all of them",
            reason="not_copartitioned",
        )
        self.topics = topics


class StateMismatch(EngineError):
    """Rows were made from something else than what we are given.  where: table and partition.  epoch: ours."""

    def __init__(self, where: str, what: str, epoch: int) -> None:
        super().__init__(
            f"{where}: {what}; {_rebuild(epoch)}, or point to the former cluster and topics", reason="state_mismatch"
        )
        self.where, self.epoch = where, epoch


class StateLost(EngineError):
    """Acknowledged rows are gone.  where: table and partition.  epoch: ours."""

    def __init__(self, where: str, what: str, epoch: int) -> None:
        super().__init__(f"{where}: {what}; {_rebuild(epoch)}", reason="state_lost")
        self.where, self.epoch = where, epoch


class ChangelogReplaced(EngineError):
    """A changelog was deleted and made again: the offset beside our rows is of another log.

    where: table and partition.  was, found: ids of the two.  folder: the database.  epoch: ours.
    """

    def __init__(self, where: str, *, was: str, found: str, folder: Path, epoch: int) -> None:
        super().__init__(
            f"{where}: the changelog was deleted and made again since (its id was {was}, is {found}); "
            f"{_rebuild(epoch)}; or, if the new one was filled from the beginning of the source, remove {folder}",
            reason="changelog_replaced",
        )
        self.where, self.was, self.found, self.folder, self.epoch = where, was, found, folder, epoch


class SourceCut(StateMismatch):
    """A source lost its end and was written on, as after an unclean election: rows are of what it was.

    where: table and partition, or the source's.  applied: the last offset folded.  kept: where the log left its leader.
    """

    def __init__(self, where: str, topic: str, *, applied: int, kept: int, epoch: int) -> None:
        super().__init__(
            where,
            f"rows are made of records up to offset {applied}, but {topic} was cut at {kept} and written on since "
            "(an unclean leader election does that): records were lost, and others stand in their place",
            epoch,
        )
        self.applied, self.kept = applied, kept


class CutAhead(RetryableError):
    """A source was cut below what we have read, and above what our rows are made of: a new start goes on from them.

    where: the source's partition.  read: the last offset fetched.  kept: where the log left its leader.
    """

    def __init__(self, where: str, *, read: int, kept: int) -> None:
        super().__init__(
            f"{where} was cut at {kept} and written on since (an unclean leader election does that): records were "
            f"lost. We had read to {read}, but no row has them: reading begins anew",
            retry_after_s=1.0,
        )
        self.read, self.kept = read, kept


class ChangelogCut(EngineError):
    """A changelog lost its end and was written on, as after an unclean election: our rows are of what it was.

    where: table and partition.  offset: of the last record that we had.  folder: the database.
    """

    def __init__(self, where: str, *, offset: int, folder: Path) -> None:
        super().__init__(
            f"{where}: the changelog was cut below offset {offset} and written on since (an unclean leader election "
            f"does that), so rows here are of records that it no longer has; remove {folder} to read back what it has",
            reason="changelog_cut",
        )
        self.where, self.offset, self.folder = where, offset, folder


class LogicChanged(EngineError):
    """Rows were made by another version of the logic.  made_by, ours: the two versions.  epoch: ours."""

    def __init__(self, where: str, made_by: int, ours: int, epoch: int) -> None:
        super().__init__(
            f"{where}: rows were made by logic {made_by}, this release has logic {ours}; start it with "
            f"MILLRACE_STREAMS_EPOCH={epoch + 1} MILLRACE_STREAMS_SHADOW=true beside the old workers, then switch",
            reason="logic_changed",
        )
        self.where, self.made_by, self.ours, self.epoch = where, made_by, ours, epoch


class AlreadyPublished(EngineError):
    """A worker in shadow was given rows that people see.  where: table and partition.  epoch: ours."""

    def __init__(self, where: str, epoch: int) -> None:
        super().__init__(
            f"{where}: the rows of epoch {epoch} are published; "
            f"start without MILLRACE_STREAMS_SHADOW, or rebuild beside them with MILLRACE_STREAMS_EPOCH={epoch + 1}",
            reason="already_published",
        )
        self.where, self.epoch = where, epoch


class EpochSuperseded(EngineError):
    """What a worker of this epoch publishes would be seen by nobody.  published: the highest epoch that is."""

    def __init__(self, epoch: int, published: int) -> None:
        super().__init__(
            f"epoch {published} is published, and its rows win over those of epoch {epoch}; "
            f"start with MILLRACE_STREAMS_EPOCH={published}, or to go back to a former release start that one with "
            f"MILLRACE_STREAMS_EPOCH={published + 1} MILLRACE_STREAMS_SHADOW=true, then switch",
            reason="epoch_superseded",
        )
        self.epoch, self.published = epoch, published


def _rebuild(epoch: int) -> str:
    return (
        f"start with a higher epoch (MILLRACE_STREAMS_EPOCH={epoch + 1} MILLRACE_STREAMS_SHADOW=true) to rebuild "
        "from the topics, then without SHADOW to publish that"
    )


class WrongChangelog(EngineError):
    """A changelog, or another topic of the engine's own, is not what it needs.  topic: its name."""

    def __init__(self, topic: str, what: str) -> None:
        super().__init__(f"changelog {topic}: {what}", reason="wrong_changelog")
        self.topic = topic
