"""What the supervisor notes for `millrace status` and `millrace restart`, below `<data>/run`.

Of a process that ended: one file each, `<name>.json`. Of the streams workers: how many there are, and their ports.

A process that crashes again and again cannot be asked; what is noted of it can be read all the while.
"""

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_FOLDER = "run"
_STREAMS = "workers.json"


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
    _write(data / _FOLDER / f"{name}.json", asdict(note))


def read(data: Path, name: str) -> Note | None:
    """What is noted of a process; nothing where it never ended, or where no stack was ever started."""
    try:
        return Note(**json.loads((data / _FOLDER / f"{name}.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_streams(data: Path, ports: Mapping[str, int]) -> None:
    """Note the streams workers that this machine runs: health port by name."""
    _write(data / _FOLDER / _STREAMS, ports)


def read_streams(data: Path) -> dict[str, int] | None:
    """The streams workers that were started last; nothing where none ever was."""
    try:
        ports = json.loads((data / _FOLDER / _STREAMS).read_bytes())
        return {str(name): int(port) for name, port in ports.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write(path: Path, value: object) -> None:
    scratch = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(value) + "\n")
        scratch.replace(path)


def clear(data: Path) -> None:
    """Forget what an earlier stack noted."""
    shutil.rmtree(data / _FOLDER, ignore_errors=True)
