"""The rows of a partition that were used last, so that a busy key costs no read from RocksDB."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from streams.engine.rows import Row

_ROW_OVERHEAD_BYTES = 250
"""A key, a Row, its numbers and their places in a dict, about."""


class RowCache:
    """Rows as they were written last, at most `limit` bytes of them (about).

    Two generations: a full young one takes the place of the old one. A row that is written again is young again, so
    what goes is what was not written for so long.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit // 2
        self._young: dict[bytes, Row] = {}
        self._old: dict[bytes, Row] = {}
        self._bytes = 0

    def get_many(
        self, keys: Sequence[bytes], read: Callable[[Sequence[bytes]], Iterable[Row | None]]
    ) -> list[Row | None]:
        """The rows of these keys, in their order.  read: gives those that are not here, None for an unknown one."""
        young = self._young
        found: list[Row | None] = list(map(young.get, keys))
        if None not in found:
            return found
        old, missing = self._old, []
        for index, row in enumerate(found):
            if row is None:
                key = keys[index]
                if (kept := old.get(key)) is None:
                    missing.append(index)
                else:
                    found[index] = kept
        if missing:
            for index, row in zip(missing, read([keys[index] for index in missing]), strict=True):
                found[index] = row
        return found

    def put(self, rows: Mapping[bytes, Row]) -> None:
        """Rows as they are from now on."""
        self._young.update(rows)
        self._bytes += sum([len(row[2]) for row in rows.values()]) + _ROW_OVERHEAD_BYTES * len(rows)
        if self._bytes > self._limit:
            self._old, self._young, self._bytes = self._young, {}, 0

    def drop(self, keys: Iterable[bytes]) -> None:
        """Rows that are gone."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)
