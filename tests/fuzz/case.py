"""One input for one target, and how it is kept in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

CASES = Path(__file__).parent / "cases"


class Case(NamedTuple):
    """target: json, protobuf or codec.  what: the signal of a request, or the name of a record."""

    target: str
    what: str
    body: bytes

    @property
    def file_name(self) -> str:
        """target.what.hash"""
        return f"{self.target}.{self.what}.{hashlib.blake2b(self.body, digest_size=6).hexdigest()}"

    def keep(self, folder: Path = CASES) -> Path:
        """Write it to a file that `kept` finds."""
        folder.mkdir(exist_ok=True)
        path = folder / self.file_name
        path.write_bytes(self.body)
        return path


def kept(folder: Path = CASES) -> list[Case]:
    """Every case in a file."""
    return [Case(*path.name.split(".")[:2], path.read_bytes()) for path in sorted(folder.glob("[a-z]*"))]
