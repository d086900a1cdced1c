"""Candidate: the session stage the stock Faust way: an agent that takes one event at a time, a RocksDB table.

It folds with the very functions of the stage, one event a call, and publishes the same rows. What it has not: exactness
after a crash.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Sequence
from typing import Any

import faust

from schemas import codec, topics
from streams.engine import collector
from streams.rows import Rows, Stored
from streams.sessions import agent, events, join
from streams.sessions.fold import FoldSettings
from streams.sessions.state import LAYOUT, session_key
from tests.bench.streams import meter

OFFSET = struct.Struct(">q")


async def main() -> None:
    options = meter.parser().parse_args()
    logging.disable(logging.ERROR)
    app = faust.App(
        options.app,
        broker=f"kafka://{options.bootstrap}",
        store="rocksdb://",
        datadir=options.folder,
        web_enabled=False,
        autodiscover=False,
        topic_partitions=options.partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
    )

    def topic(name: str) -> Any:
        full = topics.full_name(options.prefix, name)
        raw = {"key_serializer": "raw", "value_serializer": "raw", "partitions": options.partitions}
        return app.topic(full, key_type=bytes, value_type=bytes, **raw)

    source, sessions, hours = topic("events"), topic("sessions"), topic("session-hours")
    table: Any = app.Table(
        "rows", key_type=bytes, value_type=bytes, partitions=options.partitions, options={"driver": "rocksdict"}
    )
    read, settings, seen = codec.reader("claude_event", events.FIELDS), FoldSettings(), 0

    def stored(keys: Sequence[bytes]) -> list[Stored | None]:
        found = [table.get(key) for key in keys]
        return [None if row is None else (OFFSET.unpack_from(row)[0], row[8:]) for row in found]

    def nothing(keys: Sequence[bytes]) -> list[Stored | None]:
        return [None] * len(keys)

    @app.agent(source)
    async def fold(stream: Any) -> None:
        nonlocal seen
        async for event in stream.events():
            record = events.Event._make(read((event.value,))[0])
            rows, points = Rows(stored, LAYOUT), Rows(nothing, LAYOUT)

            def facts(session: bytes, rows: Rows = rows) -> Any:
                return join.facts(rows.value(session_key(session)), None)

            touched = events.fold_events([(event.message.offset, event.key, record)], rows, facts, settings)
            passing = join.passing(touched, rows, points, settings)
            published = join.published(passing, rows, points, epoch=1, settings=settings)
            for key, (offset, payload) in rows.puts().items():
                table[key] = OFFSET.pack(offset) + payload
            for row in published[0]:
                made = agent._session(row)
                await sessions.send(key=made.key, value=made.value, headers=dict(made.headers))
            for row in published[1]:
                made = agent._hour(row)
                await hours.send(key=made.key, value=made.value, headers=dict(made.headers))
            seen += 1

    collector.calm()
    watch = meter.Meter(options)
    await app.start()
    while watch.see(seen):
        await asyncio.sleep(0.02)
    await app.stop()
    watch.tell()


if __name__ == "__main__":
    asyncio.run(main())
