"""What the supervisor notes of a process that ended, for `millrace status`: one file each, `<data>/run/<name>.json`.

A process that crashes again and again cannot be asked; what is noted of it can be read all the while.
"""

import contextlib
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_FOLDER = "run"


@dataclass(frozen=True)
class Note:
    """The latest end, or failed start, of a process.

    restarts: how often it was started again since the stack was started.  exit: how it ended, or why it cannot be
    started, for people.  last_words: the last line of its log.  at, ready_again_at: ISO 8601, UTC.
    """

    restarts: int
    exit: str
    last_words: str
    at: str
    ready_again_at: str | None = None

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.exit}; its last words: {self.last_words}" if self.last_words else self.exit


def now() -> str:
    """The time as /readyz writes it, so that texts compare as times do."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write(data: Path, name: str, note: Note) -> None:
    """Replace what is noted of a process, as a whole. A disk that takes nothing must not end the supervisor."""
    path = data / _FOLDER / f"{name}.json"
    scratch = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(asdict(note)) + "\n")
        scratch.replace(path)


def read(data: Path, name: str) -> Note | None:
    """What is noted of a process; nothing where it never ended, or where no stack was ever started."""
    try:
        return Note(**json.loads((data / _FOLDER / f"{name}.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def clear(data: Path) -> None:
    """Forget what an earlier stack noted."""
    shutil.rmtree(data / _FOLDER, ignore_errors=True)
