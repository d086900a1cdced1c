"""The sessions stage: two sources, two tables, one published row a session.

Events fill one half of a session, metric points the other; a change of either passes on the whole row and the hours
that changed. Both halves lie in the same partition of their tables, and the engine's lock keeps them still meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from schemas import codec, topics
from schemas.errors import CodecError
from streams.engine import Chunk, Engine, Output, Row
from streams.expiry import Clock
from streams.receipt import Receipt
from streams.rows import Read
from streams.sessions import events, points
from streams.sessions.fold import is_late
from streams.sessions.logic import LOGIC, Fold, Published, Records, fold_chunk, unknown_sessions, whole
from streams.sessions.state import BY_EVENTS, BY_POINTS, SESSION
from streams.stage import Inlet, Stage, output, reading, take_back


def register(engine: Engine, stage: Stage) -> None:
    of_events = engine.source(stage.topic("events"), stage.partitions["events"])
    of_points = engine.source(stage.topic("metrics"), stage.partitions["metrics"])
    tables = (
        engine.table(BY_EVENTS, of_events, logic=LOGIC),
        engine.table(BY_POINTS, of_points, logic=LOGIC),
    )
    clocks: tuple[defaultdict[int, Clock], defaultdict[int, Clock]] = (defaultdict(Clock), defaultdict(Clock))
    read_events = Inlet(engine, stage, "claude_event", events.FIELDS, receipt=Receipt(events.FIELDS))
    read_points = Inlet(engine, stage, "metric_point", points.FIELDS, receipt=Receipt(points.FIELDS))
    read_published = codec.reader("session", Published._fields)
    to_sessions = (stage.topic("sessions"), stage.partitions["sessions"])
    to_hours = (stage.hours_topic(engine), stage.partitions["session-hours"])

    @engine.agent(of_events)
    async def fold_events(chunk: Chunk) -> Chunk | None:
        records = [(o, key, events.Event._make(values)) for o, key, values in await read_events.read(chunk)]
        return await _fold(chunk, records, events.fold_events, 0)

    @engine.agent(of_points)
    async def fold_points(chunk: Chunk) -> Chunk | None:
        records = [(o, key, points.Point._make(values)) for o, key, values in await read_points.read(chunk)]
        return await _fold(chunk, records, points.fold_points, 1)

    def reads(partition: int) -> tuple[Read, Read]:
        return reading(tables[0], partition), reading(tables[1], partition)

    async def _fold(chunk: Chunk, records: Records, fold: Fold, own: int) -> Chunk | None:
        """Fold a chunk, make it durable, pass on what changed."""
        table, partition = tables[own], chunk.partition
        done = fold_chunk(
            fold,
            records,
            reads(partition),
            own=own,
            applied=table.applied(partition),
            clock=clocks[own][partition],
            scan=partial(table.scan_keys, partition),
            epoch=stage.epoch,
            settings=stage.fold,
        )
        chunk, left = chunk.split(done.left)
        await take_back(engine, *to_sessions, done.expired.sessions)
        await take_back(engine, *to_hours, done.expired.hours)
        await table.apply(chunk, done.puts, done.expired.rows)
        await engine.emit(*to_sessions, map(_session, done.sessions))
        await engine.emit(*to_hours, map(_hour, done.hours))
        engine.duplicates(done.redelivered)
        engine.late(sum(is_late(record, stage.fold) for _, _, record in done.records))
        # A clock that is ahead must not hide for days that nothing comes.
        known = (record for _, _, record in done.records if not record.clock_suspect)
        times = [min(record.event_time, record.received_time) for record in known]
        if times:
            engine.newest_event(max(times))
        return left

    @engine.publisher(tables[0], SESSION)
    async def publish_events(partition: int, rows: Sequence[tuple[bytes, Row]]) -> None:
        await _publish(partition, [key for key, _ in rows])

    @engine.publisher(tables[1], SESSION)
    async def publish_points(partition: int, rows: Sequence[tuple[bytes, Row]]) -> None:
        """Sessions without events: the others are published with theirs."""
        keys = [key for key, _ in rows]
        beside = tables[0].get_many(partition, keys)
        await _publish(partition, [key for key, other in zip(keys, beside, strict=True) if other is None])

    @engine.sweeper(tables[0], *to_sessions, owner=lambda key: key)
    async def sweep(partition: int, messages: Mapping[bytes, bytes], since_ms: int) -> None:
        said = {}
        for key, value in messages.items():
            with suppress(CodecError):  # of a newer release, which this one is the way back from
                said[key] = Published(*read_published([value])[0])
        gone = unknown_sessions(said, reads(partition), since_ms * 1000)
        await take_back(engine, *to_sessions, [(key, key) for key in gone])

    async def _publish(partition: int, keys: Sequence[bytes]) -> None:
        for sessions, hours in whole(keys, reads(partition), epoch=stage.epoch, settings=stage.fold):
            await engine.emit(*to_sessions, map(_session, sessions))
            await engine.emit(*to_hours, map(_hour, hours))


def _session(row: dict[str, Any]) -> Output:
    key = topics.make_key(row["tenant"], row["session_id"])
    return output("session", row, key, key)


def _hour(row: dict[str, Any]) -> Output:
    owner = topics.make_key(row["tenant"], row["user_key"])
    key = topics.make_key(row["tenant"], row["user_key"], row["session_id"], str(row["start"]))
    return output("session_hour", row, key, owner)
