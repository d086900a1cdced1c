"""The rows one chunk works on: read in bulk, decoded once, changed in memory, written back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

Stored = tuple[int, bytes]
"""(offset of the last record folded into the row, payload)"""
Read = Callable[[Sequence[bytes]], Sequence[Stored | None]]


class Layout(NamedTuple):
    """What a stage says of its rows.

    decode: (key, payload) -> value, as Working.value is.  encode: value -> payload.
    order: first bytes of all keys, in the order in which the changelog must hold the rows.
    """

    decode: Callable[[bytes, bytes], Any]
    encode: Callable[[Any], bytes]
    order: Sequence[bytes]


class Working:
    """A row in memory: ``offset`` of the last record folded into it (-1: none), its value, whether it must be
    written."""

    __slots__ = ("offset", "touched", "value")

    def __init__(self, offset: int, value: Any) -> None:
        self.offset = offset
        self.value = value
        self.touched = False


class Rows:
    """Rows of one table and partition while a chunk is folded."""

    def __init__(self, read: Read, layout: Layout) -> None:
        self._read = read
        self._layout = layout
        self._rows: dict[bytes, Working | None] = {}

    def prefetch(self, keys: Iterable[bytes]) -> None:
        """Read many rows at once; a row that is asked for without it costs a read of its own."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if missing:
            for key, stored in zip(missing, self._read(missing), strict=True):
                self._rows[key] = None if stored is None else Working(stored[0], self._layout.decode(key, stored[1]))

    def get(self, key: bytes) -> Working | None:
        if key not in self._rows:
            self.prefetch((key,))
        return self._rows[key]

    def value(self, key: bytes) -> Any:
        """The row's value, or None without a row."""
        row = self.get(key)
        return None if row is None else row.value

    def touch(self, key: bytes) -> None:
        """Have an existing row written again: the local state can be ahead of the changelog."""
        row = self.get(key)
        if row is not None:
            row.touched = True

    def put(self, key: bytes, value: Any, offset: int = -1) -> Working:
        """A new row, with nothing folded into it yet."""
        row = self._rows[key] = Working(offset, value)
        return row

    def change(self, key: bytes, make: Callable[[], Any]) -> Working:
        """The row to fold into; made when there is none."""
        row = self.get(key) or self.put(key, make())
        row.touched = True
        return row

    def touched(self, kind: bytes) -> Iterator[tuple[bytes, Working]]:
        """(key, row) of the touched rows whose keys begin with this byte, in the order in which they were asked for."""
        return ((key, row) for key, row in self._rows.items() if row is not None and row.touched and key[:1] == kind)

    def puts(self) -> dict[bytes, Stored]:
        """Every touched row in the order in which the changelog must hold them."""
        by_kind: dict[bytes, dict[bytes, Stored]] = {kind: {} for kind in self._layout.order}
        for key, row in self._rows.items():
            if row is not None and row.touched:
                by_kind[key[:1]][key] = (row.offset, self._layout.encode(row.value))
        return {key: stored for kind in by_kind.values() for key, stored in kind.items()}
