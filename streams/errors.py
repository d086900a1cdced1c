"""Errors of the streams process, and the exit code that each kind of error ends it with.

    MillraceError
    ├── RetryableError              (schemas.errors)        exit 75: start it again
    └── PermanentError              (schemas.errors)        exit 2: a start will end the same way
        ├── FolderUnusable          the data folder cannot be made or written
        ├── SourcesDiffer           sources that are read together have different partition counts
        └── EngineError             (streams.engine.errors) exit 2, but 70 for a stage that failed

What Kafka's client raises (KafkaError) exits with 75, whatever else is not ours with 70. In no case is anything
committed that was not applied.
"""

from __future__ import annotations

from pathlib import Path

from aiokafka.errors import KafkaError

from schemas.errors import PermanentError, RetryableError
from streams.engine import RowTooLarge, StageFailed, WrongRow

EXIT_REFUSED = 2
EXIT_FAILED = 70
EXIT_TRY_AGAIN = 75


class FolderUnusable(PermanentError):
    """The data folder cannot be used.  cause: the system's words."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(f"cannot use the data folder {folder}: {cause}", reason="folder_unusable")
        self.folder = folder


class SourcesDiffer(PermanentError):
    """Two topics that make one row.  first, second: (full name, partitions)."""

    def __init__(self, first: tuple[str, int], second: tuple[str, int]) -> None:
        super().__init__(
            f"topic {first[0]} has {first[1]} partitions, {second[0]} has {second[1]}: "
            "sessions are made of both, make them equal (a changed count needs a higher MILLRACE_STREAMS_EPOCH)",
            reason="sources_differ",
        )
        self.first, self.second = first, second


def exit_code(error: BaseException) -> int:
    """What the process ends with after this error."""
    if isinstance(error, RetryableError | KafkaError):
        return EXIT_TRY_AGAIN
    if isinstance(error, PermanentError) and not isinstance(error, StageFailed | RowTooLarge | WrongRow):
        return EXIT_REFUSED
    return EXIT_FAILED
