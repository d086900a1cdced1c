"""The sessions stage: two sources, two tables, one published row a session.

Events fill one half of a session, metric points the other; a change of either passes on the whole row and the hours
that changed. Both halves lie in the same partition of their tables, and the engine's lock keeps them still meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from schemas import topics
from streams.engine import Chunk, Engine, Output, Table
from streams.sessions import events, join, points
from streams.sessions.fold import ID_SLOT_US, Facts, FoldSettings, Touched
from streams.sessions.rows import Rows, Stored
from streams.sessions.state import ids_range, session_key
from streams.stage import Inlet, Stage, output

EXPIRED_AT_ONCE = 10_000
Fold = Callable[[Sequence[tuple[int, bytes, Any]], Rows, Callable[[bytes], Facts], FoldSettings], dict[bytes, Touched]]


def register(engine: Engine, stage: Stage) -> None:
    of_events = engine.source(stage.topic("events"), stage.partitions["events"])
    of_points = engine.source(stage.topic("metrics"), stage.partitions["metrics"])
    by_events = engine.table("session-events", of_events)
    by_points = engine.table("session-points", of_points)
    read_events = Inlet(engine, stage, "claude_event", events.FIELDS)
    read_points = Inlet(engine, stage, "metric_point", points.FIELDS)

    @engine.agent(of_events)
    async def fold_events(chunk: Chunk) -> None:
        records = [(o, key, events.Event._make(values)) for o, key, values in await read_events.read(chunk)]
        rows = (_rows(by_events, chunk), _rows(by_points, chunk))
        await _fold(chunk, records, events.fold_events, by_events, rows[0], rows)

    @engine.agent(of_points)
    async def fold_points(chunk: Chunk) -> None:
        records = [(o, key, points.Point._make(values)) for o, key, values in await read_points.read(chunk)]
        rows = (_rows(by_events, chunk), _rows(by_points, chunk))
        await _fold(chunk, records, points.fold_points, by_points, rows[1], rows)

    async def _fold(
        chunk: Chunk,
        records: Sequence[tuple[int, bytes, Any]],
        fold: Fold,
        table: Table,
        own: Rows,
        rows: tuple[Rows, Rows],
    ) -> None:
        """Fold a chunk, make it durable, pass on what changed."""

        def facts(session: bytes) -> Facts:
            key = session_key(session)
            return join.facts(rows[0].value(key), rows[1].value(key))

        touched = fold(records, own, facts, stage.fold)
        sessions, hours = join.published(touched, *rows, epoch=stage.epoch, pause_us=stage.fold.pause_us)
        await table.apply(chunk, own.puts(), _expired(table, chunk, records, stage.fold))
        await engine.emit(stage.topic("sessions"), stage.partitions["sessions"], map(_session, sessions))
        await engine.emit(stage.topic("session-hours"), stage.partitions["session-hours"], map(_hour, hours))
        engine.duplicates(sum(seen.redelivered for seen in touched.values()))


def _rows(table: Table, chunk: Chunk) -> Rows:
    def read(keys: Sequence[bytes]) -> list[Stored | None]:
        return [None if row is None else (row.offset, row.payload) for row in table.get_many(chunk.partition, keys)]

    return Rows(read)


def _expired(
    table: Table, chunk: Chunk, records: Sequence[tuple[int, bytes, Any]], settings: FoldSettings
) -> list[bytes]:
    """Ids that no re-send can meet any more, by the received time seen in this partition."""
    newest = max((record.received_time for _, _, record in records), default=0)
    start, stop = ids_range((newest - settings.horizon_us) // ID_SLOT_US - 2)
    return [key for key, _ in table.scan(chunk.partition, start, stop, EXPIRED_AT_ONCE)]


def _session(row: dict[str, Any]) -> Output:
    key = topics.make_key(row["tenant"], row["session_id"])
    return output("session", row, key, key)


def _hour(row: dict[str, Any]) -> Output:
    owner = topics.make_key(row["tenant"], row["user_key"])
    key = topics.make_key(row["tenant"], row["user_key"], row["session_id"], str(row["start"]))
    return output("session_hour", row, key, owner)
