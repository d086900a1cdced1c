"""The users stage: snapshots of sessions' hours in, hour and day windows of users out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from schemas import topics
from streams.engine import Chunk, Engine, Output
from streams.expiry import Clock
from streams.stage import Inlet, Stage, output, take_back
from streams.users import logic


def register(engine: Engine, stage: Stage) -> None:
    hours = engine.source(stage.topic("session-hours"), stage.partitions["session-hours"])
    windows = engine.table(logic.TABLE, hours)
    clocks: defaultdict[int, Clock] = defaultdict(Clock)
    inlet = Inlet(engine, stage, "session_hour", logic.FIELDS)

    @engine.agent(hours)
    async def fold_hours(chunk: Chunk) -> None:
        def read(keys: Sequence[bytes]) -> list[logic.Stored | None]:
            return [
                None if row is None else (row.offset, row.payload) for row in windows.get_many(chunk.partition, keys)
            ]

        users = logic.Users(read)
        snapshots = [(offset, logic.Snapshot.of(values)) for offset, _, values in await inlet.read(chunk)]
        users.fold(snapshots, windows.applied(chunk.partition))
        engine.duplicates(users.duplicates)
        gone = users.expired(
            clocks[chunk.partition],
            lambda start, stop, most: [key for key, _ in windows.scan(chunk.partition, start, stop, most)],
            stage.fold.keep,
        )
        out = (stage.topic("user-windows"), stage.partitions["user-windows"])
        await take_back(engine, *out, gone.windows)
        await windows.apply(chunk, users.puts(), gone.rows)
        await engine.emit(*out, map(_window, users.published(stage.epoch)))


def _window(row: dict[str, Any]) -> Output:
    owner = topics.make_key(row["tenant"], row["user_key"])
    parts = (row["team"] or "", row["cost_center"] or "", row["grain"], str(row["start"]))
    return output("user_window", row, topics.make_key(row["tenant"], row["user_key"], *parts), owner)
