"""The users stage: snapshots of sessions' hours in, hour and day windows of users out.

In a higher epoch it also passes the snapshots on to the topic that others read: one writer, who has a row for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from schemas import topics
from streams.engine import Chunk, Engine, Output, Record, Row
from streams.expiry import Clock
from streams.stage import Inlet, Stage, output, reading, take_back
from streams.users import logic


def register(engine: Engine, stage: Stage) -> None:
    hours = stage.hours(engine)
    windows = engine.table(logic.TABLE, hours, logic=logic.LOGIC)
    to_hours = (stage.topic("session-hours"), stage.partitions["session-hours"])
    out = (stage.topic("user-windows"), stage.partitions["user-windows"])
    clocks: defaultdict[int, Clock] = defaultdict(Clock)
    inlet = Inlet(engine, stage, "session_hour", logic.FIELDS)

    @engine.agent(hours)
    async def fold_hours(chunk: Chunk) -> Chunk | None:
        users = logic.Users(reading(windows, chunk.partition), stage.epoch)
        snapshots = [(offset, logic.Snapshot.of(values)) for offset, _, values in await inlet.read(chunk)]
        chunk, left = chunk.split(users.fold(snapshots, windows.applied(chunk.partition)))
        engine.duplicates(users.duplicates)
        scan = partial(windows.scan_keys, chunk.partition)
        gone_rows, gone_windows = users.expired(clocks[chunk.partition], scan, stage.fold.keep)
        await take_back(engine, *out, gone_windows)
        if users.forgets:
            await engine.settle()
        await windows.apply(chunk, users.puts(), gone_rows)
        if hours.topic != to_hours[0]:
            await engine.emit(*to_hours, map(_passed_on, chunk.records))
        await engine.emit(*out, map(_window, users.published()))
        return left

    @engine.publisher(windows, logic.WINDOW)
    async def publish(partition: int, rows: Sequence[tuple[bytes, Row]]) -> None:
        stored = ((key, (row.offset, row.payload)) for key, row in rows)
        await engine.emit(*out, map(_window, logic.windows(stored, stage.epoch)))

    @engine.sweeper(windows, *to_hours, logic.owner)
    async def sweep_hours(partition: int, messages: Mapping[bytes, bytes], since_ms: int) -> None:
        await take_back(engine, *to_hours, logic.unknown_hours(messages, reading(windows, partition), since_ms * 1000))

    @engine.sweeper(windows, *out, logic.owner)
    async def sweep_windows(partition: int, messages: Mapping[bytes, bytes], since_ms: int) -> None:
        await take_back(engine, *out, logic.unknown_windows(messages, reading(windows, partition), since_ms * 1000))


def _passed_on(record: Record) -> Output:
    tenant, user = record.key.split(b"\x1f", 2)[:2]
    headers = (("tenant", tenant), ("content-type", b"application/avro"))
    return Output(record.key, record.value or None, tenant + b"\x1f" + user, headers)


def _window(row: dict[str, Any]) -> Output:
    owner = topics.make_key(row["tenant"], row["user_key"])
    parts = (row["team"] or "", row["cost_center"] or "", row["grain"], str(row["start"]))
    return output("user_window", row, topics.make_key(row["tenant"], row["user_key"], *parts), owner)
