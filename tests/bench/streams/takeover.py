"""How long the rows stand still after kill -9: until a standby has taken over, and until a restarted worker goes on.

Events come all the while. A partition moves again when a session's row has an event in it that was sent after the kill.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import codec, topics
from service.cluster import ensure_topics
from tests.bench.process import Process, idle
from tests.bench.streams import loads

SESSION_TIMEOUT_S = 10.0
SESSIONS = 100_000
"""In state before anything is killed: some 500,000 rows."""
_HEALTH = "MILLRACE_STREAMS_HEALTH_PORT"
_TICK_S, _PER_TICK = 0.05, 10


class Gaps(NamedTuple):
    """Seconds until every partition moved again."""

    takeover_s: float
    restart_s: float


class Traffic:
    """Events of 200 sessions, some hundred a second, and the session rows that come of them."""

    def __init__(self) -> None:
        self.sent_to = 0
        self.seen: dict[int, int] = {}
        """Partition -> the latest event time in a row of it."""

    @asynccontextmanager
    async def flowing(self, bootstrap: str, prefix: str, partitions: int) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        consumer = AIOKafkaConsumer(topics.full_name(prefix, "sessions"), bootstrap_servers=bootstrap)
        await producer.start()
        await consumer.start()
        topic = topics.full_name(prefix, "events")

        async def send() -> None:
            load = loads.Load(1_000_000, 200, 1)
            for number, ((key, value), event) in enumerate(
                zip(loads.messages(load), loads.events(load), strict=True), start=1
            ):
                await producer.send(topic, value, key=key, partition=topics.partition_for(key, partitions))
                self.sent_to = event.time
                if number % _PER_TICK == 0:
                    await asyncio.sleep(_TICK_S)

        async def watch() -> None:
            async for message in consumer:
                partition = topics.partition_for(message.key, partitions)
                last = codec.decode("session", message.value)["last_time"]
                self.seen[partition] = max(self.seen.get(partition, 0), last)

        tasks = [asyncio.ensure_future(send()), asyncio.ensure_future(watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await producer.stop()
            await consumer.stop()

    async def moves(self, partitions: int, since: float) -> float:
        """Seconds since then until every partition shows an event that is sent after this call."""
        mark = self.sent_to
        while not all(self.seen.get(partition, 0) > mark for partition in range(partitions)):
            await asyncio.sleep(0.01)
        return time.monotonic() - since


async def measure(bootstrap: str, prefix: str, folder: Path) -> Gaps:
    kafka = {"bootstrap_servers": bootstrap}
    await ensure_topics(kafka, topics.CATALOGUE.values(), prefix, "local")
    partitions = topics.CATALOGUE["events"].local.partitions

    def worker(name: str) -> Process:
        settings = {
            "MILLRACE_STREAMS_INSTANCE_ID": name,
            "MILLRACE_STREAMS_STANDBY_REPLICAS": "1",
            "MILLRACE_STREAMS_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
        }
        return Process("streams", bootstrap, prefix, folder / name, _HEALTH, **settings)

    def ready(process: Process) -> None:
        process.wait(lambda state: bool(state["ready"]))

    workers = {name: worker(name) for name in ("a", "b")}
    try:
        for process in workers.values():
            await asyncio.to_thread(ready, process)
        before = loads.messages(loads.Load(SESSIONS, SESSIONS, 1, seed=0))
        await loads.publish(bootstrap, topics.full_name(prefix, "events"), before, partitions)
        for process in workers.values():
            await asyncio.to_thread(process.wait, idle)
        traffic = Traffic()
        async with traffic.flowing(bootstrap, prefix, partitions):
            await asyncio.wait_for(traffic.moves(partitions, time.monotonic()), 60)
            await asyncio.sleep(5)  # the standbys follow, offsets are committed
            workers["a"].kill()
            takeover = await asyncio.wait_for(traffic.moves(partitions, time.monotonic()), 120)
            await asyncio.sleep(5)
            workers["b"].kill()
            began = time.monotonic()
            workers["b"] = worker("b")
            restart = await asyncio.wait_for(traffic.moves(partitions, began), 120)
        await asyncio.to_thread(workers["b"].wait, idle)
    finally:
        for process in workers.values():
            process.kill()
    return Gaps(takeover, restart)
