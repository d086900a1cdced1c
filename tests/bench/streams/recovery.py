"""How fast a worker that has lost its folder reads its rows back, and what their changelogs weigh."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.engine import Engine
from streams.sessions.state import BY_EVENTS, BY_POINTS, SESSION
from tests.bench.process import cpu_s, peak_mib
from tests.bench.streams import loads, meter

TABLES = {"small": ("sessions",), "session_rows": ("rows",), "stage": (BY_EVENTS, BY_POINTS)}


class Recovered(NamedTuple):
    """seconds, cpu_s: from the engine's start until every row was there, the joining of the group included."""

    seconds: float
    cpu_s: float
    memory_mib: int


def run(candidate: str, arguments: Mapping[str, object]) -> Recovered:
    """Let a candidate that has run before recover in an empty folder."""
    return Recovered(*json.loads(meter.said(candidate, {**arguments, "recover": 1})))


async def recover(engine: Engine) -> None:
    """Start, wait for the rows, say how long it took on stdout."""
    began, used = time.monotonic(), cpu_s("self")
    starting = asyncio.ensure_future(engine.start())
    while not engine.status().ready:
        await asyncio.sleep(0.01)
        if starting.done():
            starting.result()
    took = Recovered(time.monotonic() - began, cpu_s("self") - used, peak_mib("self"))
    await starting
    await engine.stop()
    print(json.dumps(took))


async def changelogs(bootstrap: str, app: str, candidate: str, partitions: int) -> tuple[int, int]:
    """(records, bytes of keys and values) of the changelogs of a candidate's tables."""
    count = size = 0
    async with aclosing(_changelogs(bootstrap, app, TABLES[candidate], partitions)) as records:
        async for record in records:
            count += 1
            size += len(record.key) + len(record.value or b"")
    return count, size


async def copy_session_rows(bootstrap: str, app: str, topic: str, partitions: int) -> int:
    """Put the session rows that the stage wrote on a topic, each once. Returns how many."""
    found = {}
    async with aclosing(_changelogs(bootstrap, app, (BY_EVENTS,), partitions)) as records:
        async for record in records:
            if record.key.startswith(SESSION):
                found[record.key] = record.value
    await loads.publish(bootstrap, topic, found.items(), partitions)
    return len(found)


async def _changelogs(bootstrap: str, app: str, tables: Iterable[str], partitions: int) -> AsyncGenerator[Any, None]:
    names = [f"{app}-{table}-changelog" for table in tables]
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, max_partition_fetch_bytes=1 << 20) as consumer:
        tps = [TopicPartition(name, number) for name in names for number in range(partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        while left := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
            for found in (await consumer.getmany(*left, timeout_ms=1000)).values():
                for record in found:
                    yield record
