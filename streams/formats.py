"""Formats of stored rows: the first byte of a payload names its format. Written in the newest, read in any.

A field with a default at the end of a row needs no new format. Whatever else changes the layout of a row, without
changing what it says, does: the number grows, and a migration makes the new layout of the one before. What changes what
rows say is a change of logic, and a new epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streams.engine import WrongRow
from streams.engine.rows import NEWER

Migration = Callable[[bytes, bytes], bytes]
"""(kind of the row, its body in one format) -> its body in the next format."""


class Formats:
    """The formats of a stage's rows.

    Args: newest: the one that is written, 1 to 255.  migrations: of every older one, to the next.
    """

    def __init__(self, newest: int, migrations: Mapping[int, Migration] | None = None) -> None:
        self.newest = newest
        self._first_byte = bytes((newest,))
        self._migrations = migrations or {}

    def payload(self, body: bytes) -> bytes:
        """What is stored of a row."""
        return self._first_byte + body

    def body(self, kind: bytes, payload: bytes) -> bytes:
        """The row in the newest format, without the byte that says so.

        Raises: WrongRow: a format that this release does not know.
        """
        written = payload[0] if payload else 0
        body = payload[1:]
        if written != self.newest:
            for number in range(written, max(self.newest, written + 1)):
                if number not in self._migrations:
                    raise WrongRow(
                        f"a row of kind {kind.decode()} has format {written}, this release reads up to {self.newest}; "
                        f"{NEWER}"
                    )
                body = self._migrations[number](kind, body)
        return body
