"""Looking for the rows of a partition that have expired, where a row's key begins with its kind and its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

_DAY_US = 24 * 3_600_000_000
AT_ONCE = 10_000
"""Rows of a kind that are looked at in one go."""
Scan = Callable[[bytes, bytes, int], Iterable[bytes]]
"""(first key, key to stop before, most) -> keys that are there, in order."""
_TIME_MAX = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Keep:
    """How long, in µs of received time: hours from when they were; sessions and days from when they were last heard of.

    margin_us: that much longer the rows stay, with what was published of them. A chunk's time is not the time of what
    comes after it: the two sources of a session are read by themselves, and a rebuild can be as far ahead in one of
    them as its topic reaches back (30 days). Without the rows that a record behind still finds alive, its number would
    begin at nothing.
    """

    hours_us: int = 60 * _DAY_US
    sessions_us: int = 400 * _DAY_US
    margin_us: int = 35 * _DAY_US

    def hours_before(self, now_us: int) -> int:
        """Hours before this time (µs) can be deleted."""
        return now_us - self.hours_us - self.margin_us

    def sessions_before(self, now_us: int) -> int:
        """Sessions and days last heard of before this time (µs) can be deleted."""
        return now_us - self.sessions_us - self.margin_us


class Clock:
    """How far one table of a partition was looked through; in memory only, since looking again finds nothing."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def due(self, scan: Scan, kind: bytes, before: int) -> list[bytes]:
        """Keys that begin with this kind and a time (u32, of whatever unit) below `before`, the oldest first.

        None where that was asked already: RocksDB walks over the graves of deleted rows, and asking at every chunk
        would be dear.
        """
        before = min(max(before, 0), _TIME_MAX)
        if self._seen.get(kind) == before:
            return []
        found = list(scan(kind, kind + before.to_bytes(4, "big"), AT_ONCE))
        if len(found) < AT_ONCE:
            self._seen[kind] = before
        return found
