"""Both stages on a log in memory, with crashes: what the engine promises them, and nothing more.

A crash keeps any prefix of the last chunks' changelog, loses any suffix of what was emitted, and delivers again from
the last commit, in chunks cut elsewhere. Published rows are merged as the query tables do it: the highest version wins.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from streams.sessions import events, join, points
from streams.sessions.fold import FoldSettings
from streams.sessions.rows import Rows, Stored
from streams.sessions.state import session_key
from streams.users.logic import Snapshot, Users

SETTINGS = FoldSettings()
Log = list[tuple[bytes, Any]]


class Crash(Exception):
    """The worker died."""


class Table:
    """Rows as the changelog has them. A worker that is about to die gets only the first so many of its rows into it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Stored] = {}

    def read(self, keys: Sequence[bytes]) -> list[Stored | None]:
        return [self.rows.get(key) for key in keys]

    def write(self, puts: dict[bytes, Stored], dying: random.Random | None) -> None:
        """Returns when all of it is acknowledged."""
        if dying is None:
            self.rows.update(puts)
        else:
            self.rows.update(list(puts.items())[: dying.randint(0, len(puts))])
            raise Crash


class Source:
    """A log that is read in chunks from the last commit."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.position = self.committed = 0

    def chunk(self, size: int) -> list[tuple[int, bytes, Any]]:
        start, self.position = self.position, min(len(self.log), self.position + size)
        return [(offset, *self.log[offset]) for offset in range(start, self.position)]


class World:
    """The sessions stage and the users stage on one partition."""

    def __init__(self, event_log: Log, point_log: Log, seed: int) -> None:
        self.random = random.Random(seed)
        self.events, self.points, self.hours = Source(event_log), Source(point_log), Source([])
        self.of_events, self.of_points, self.users = Table(), Table(), Table()
        self.sessions: dict[str, dict[str, Any]] = {}
        self.windows: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._unsent: list[Callable[[], None]] = []
        self._dying: random.Random | None = None

    def run(self, *, crashes: int = 0, largest_chunk: int = 40) -> World:
        while self._unsent or any(s.position < len(s.log) for s in (self.events, self.points, self.hours)):
            stage = self.random.choice((self.step_events, self.step_points, self.step_users))
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

    def commit(self) -> None:
        """Everything emitted is acknowledged, then the offsets are committed."""
        for send in self._unsent:
            send()
        self._unsent.clear()
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
        self._sessions(events.fold_events, self.events.chunk(size), by_events=True)

    def step_points(self, size: int) -> None:
        self._sessions(points.fold_points, self.points.chunk(size), by_events=False)

    def _sessions(self, fold: Any, chunk: list[tuple[int, bytes, Any]], *, by_events: bool) -> None:
        rows = (Rows(self.of_events.read), Rows(self.of_points.read))

        def facts(session: bytes) -> Any:
            return join.facts(*(half.value(session_key(session)) for half in rows))

        own, table = (rows[0], self.of_events) if by_events else (rows[1], self.of_points)
        touched = fold(chunk, own, facts, SETTINGS)
        sessions, snapshots = join.published(touched, *rows, epoch=1, pause_us=SETTINGS.pause_us)
        table.write(own.puts(), self._dying)
        for row in sessions:
            self._unsent.append(lambda row=row: _newest(self.sessions, row["session_id"], row))
        for row in snapshots:
            self._unsent.append(lambda row=row: self.hours.log.append((b"", row)))

    def step_users(self, size: int) -> None:
        from streams.users.logic import FIELDS

        users = Users(self.users.read)
        users.fold(
            [(offset, Snapshot.of([row.get(name) for name in FIELDS])) for offset, _, row in self.hours.chunk(size)]
        )
        self.users.write(users.puts(), self._dying)
        for row in users.published(epoch=1):
            key = tuple(row[name] for name in ("tenant", "user_key", "team", "cost_center", "grain", "start"))
            self._unsent.append(lambda row=row, key=key: _newest(self.windows, key, row))


def _newest(rows: dict[Any, dict[str, Any]], key: Any, row: dict[str, Any]) -> None:
    kept = rows.get(key)
    if kept is None or row["version"] > kept["version"]:
        rows[key] = row
