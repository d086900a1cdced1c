"""Both stages on a log in memory, with crashes: what the engine promises them, and nothing more.

A crash keeps any prefix of the last chunks' changelog, loses any suffix of what was emitted, and delivers again from
the last commit, in chunks cut elsewhere. Published rows are merged as the query tables do it: the highest version wins.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from schemas.topics import split_key
from streams.expiry import Clock
from streams.rows import Rows, Stored
from streams.sessions import events, points
from streams.sessions.fold import FoldSettings
from streams.sessions.logic import fold_chunk
from streams.sessions.state import LAYOUT
from streams.users.logic import FIELDS, Snapshot, Users

SETTINGS = FoldSettings()
Log = list[tuple[bytes, Any]]


class Crash(Exception):
    """The worker died."""


class Table:
    """Rows as the changelog has them. A worker that is about to die gets only the first so many of its rows into it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Stored] = {}
        self.applied = -1

    def read(self, keys: Sequence[bytes]) -> list[Stored | None]:
        return [self.rows.get(key) for key in keys]

    def scan(self, start: bytes, stop: bytes, most: int) -> list[bytes]:
        return sorted(key for key in self.rows if start <= key < stop)[:most]

    def write(
        self, puts: dict[bytes, Stored], deletes: Sequence[bytes], last: int, dying: random.Random | None
    ) -> None:
        """Returns when all of it is acknowledged."""
        changes = [*puts.items(), *((key, None) for key in deletes if key not in puts)]
        if dying is not None:
            changes = changes[: dying.randint(0, len(changes))]
        for key, stored in changes:
            if stored is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = stored
        if dying is not None:
            raise Crash
        self.applied = max(self.applied, last)


class Source:
    """A log that is read in chunks from the last commit."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.position = self.committed = 0

    def time(self) -> float:
        """Received time of the next record."""
        return self.log[self.position][1].received_time if self.position < len(self.log) else math.inf

    def chunk(self, size: int) -> list[tuple[int, bytes, Any]]:
        start, self.position = self.position, min(len(self.log), self.position + size)
        return [(offset, *self.log[offset]) for offset in range(start, self.position)]


class World:
    """The sessions stage and the users stage on one partition.

    Args: emits_again: whether the sessions stage is shown redelivered records; False is a stage that skips them wholly.
    """

    def __init__(self, event_log: Log, point_log: Log, seed: int, *, emits_again: bool = True) -> None:
        self._emits_again = emits_again
        self.random = random.Random(seed)
        self.events, self.points, self.hours = Source(event_log), Source(point_log), Source([])
        self.of_events, self.of_points, self.users = Table(), Table(), Table()
        self.halves = (self.of_events, self.of_points)
        self.clocks = (Clock(), Clock(), Clock())
        self.sessions: dict[str, dict[str, Any]] = {}
        self.windows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._unsent: list[Callable[[], None]] = []
        self._dying: random.Random | None = None

    def run(self, *, crashes: int = 0, largest_chunk: int = 40, apart_us: int | None = None) -> World:
        """To the end of all logs.  apart_us: one source is read at most so far ahead of the other, if one has to be."""
        while self._unsent or any(s.position < len(s.log) for s in (self.events, self.points, self.hours)):
            stages = [self.step_events, self.step_points, self.step_users]
            if apart_us is not None:
                times = self.events.time(), self.points.time()
                if times[0] != times[1] and abs(ahead := times[0] - times[1]) > apart_us:
                    stages.remove(self.step_events if ahead > 0 else self.step_points)
            stage = self.random.choice(stages)
            if crashes and self.random.random() < 0.3:
                crashes -= 1
                self._dying = self.random if self.random.random() < 0.7 else None
                with contextlib.suppress(Crash):
                    stage(self.random.randint(1, largest_chunk))
                self.crash()
            else:
                stage(self.random.randint(1, largest_chunk))
            if self.random.random() < 0.3:
                self.commit()
        return self

    def settle(self) -> None:
        """Everything emitted is acknowledged."""
        for send in self._unsent:
            send()
        self._unsent.clear()

    def commit(self) -> None:
        """What was emitted is acknowledged, then the offsets are committed."""
        self.settle()
        for source in (self.events, self.points, self.hours):
            source.committed = source.position

    def crash(self) -> None:
        """What was emitted is cut anywhere, and everything since the last commit comes again."""
        self._dying = None
        for send in self._unsent[: self.random.randint(0, len(self._unsent))]:
            send()
        self._unsent.clear()
        for source in (self.events, self.points, self.hours):
            source.position = source.committed

    def step_events(self, size: int) -> None:
        self._sessions(events.fold_events, self.events.chunk(size), 0)

    def step_points(self, size: int) -> None:
        self._sessions(points.fold_points, self.points.chunk(size), 1)

    def _sessions(self, fold: Any, chunk: list[tuple[int, bytes, Any]], own: int) -> None:
        table, source = self.halves[own], (self.events, self.points)[own]
        if not self._emits_again:
            chunk = [record for record in chunk if record[0] > table.applied]
        done = fold_chunk(
            fold,
            chunk,
            (Rows(self.halves[0].read, LAYOUT), Rows(self.halves[1].read, LAYOUT)),
            own=own,
            applied=table.applied,
            clock=self.clocks[own],
            scan=table.scan,
            epoch=1,
            settings=SETTINGS,
        )
        if done.expired.sessions or done.expired.hours:
            self.settle()
        for key, _ in done.expired.sessions:
            self.sessions.pop(split_key(key)[1], None)
        for key, _ in done.expired.hours:
            self.hours.log.append((key, None))
        table.write(done.puts, done.expired.rows, source.position - 1, self._dying)
        for row in done.sessions:
            self._unsent.append(lambda row=row: _newest(self.sessions, row["session_id"], row))
        for row in done.hours:
            self._unsent.append(lambda row=row: self.hours.log.append((b"", row)))

    def step_users(self, size: int) -> None:
        users = Users(self.users.read, epoch=1)
        snapshots = [
            (offset, Snapshot.of([row.get(name) for name in FIELDS]))
            for offset, _, row in self.hours.chunk(size)
            if row is not None
        ]
        users.fold(snapshots, self.users.applied)
        gone_rows, gone_windows = users.expired(self.clocks[2], self.users.scan, SETTINGS.keep)
        if gone_windows or users.forgets:
            self.settle()
        for key, _ in gone_windows:
            self.windows.pop(_window(split_key(key)), None)
        self.users.write(users.puts(), gone_rows, self.hours.position - 1, self._dying)
        for row in users.published():
            key = tuple(row[name] for name in ("tenant", "user_key", "team", "cost_center", "grain", "start"))
            self._unsent.append(lambda row=row, key=key: _newest(self.windows, key, row))


def _window(parts: list[str]) -> tuple[Any, ...]:
    tenant, user, team, cost_center, grain, start = parts
    return (tenant, user, team or None, cost_center or None, grain, int(start))


def _newest(rows: dict[Any, dict[str, Any]], key: Any, row: dict[str, Any]) -> None:
    kept = rows.get(key)
    if kept is None or row["version"] > kept["version"]:
        rows[key] = row
