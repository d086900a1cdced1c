"""What must never be taken for a cut log: brokers that die and come back, workers that do, compaction, retention."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError

from streams.engine import rows
from streams.engine.marks import Mark
from tests.chaos.brokers import Brokers
from tests.streams.engine.harness import Admin, Pipeline
from tests.streams.engine.worker import PARTITIONS

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PATIENCE_S = 120.0
COMPACTED_SOON = {
    "cleanup.policy": "compact",
    "message.timestamp.type": "LogAppendTime",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": "2000",
    "max.compaction.lag.ms": "2000",
    "min.insync.replicas": "2",
}
REFUSALS = ("was cut", "higher epoch")


async def create(pipeline: Pipeline) -> None:
    """Three replicas each, of which two have what is acknowledged."""
    configs = {"a": {}, "out": {}, "a-changelog": COMPACTED_SOON}
    async with Admin(pipeline.bootstrap) as client:
        topics = [NewTopic(f"{pipeline.app}-{name}", PARTITIONS, 3, topic_configs=of) for name, of in configs.items()]
        await client.create_topics(topics)


async def in_sync(pipeline: Pipeline) -> None:
    """Until all replicas have all."""
    deadline = time.monotonic() + PATIENCE_S
    names = [f"{pipeline.app}-{name}" for name in ("a", "out", "a-changelog")]
    while True:
        with suppress(KafkaError):
            async with Admin(pipeline.bootstrap) as client:
                described = await client.describe_topics(names)
            if all(len(partition["isr"]) == 3 for topic in described for partition in topic["partitions"]):
                return
        assert time.monotonic() < deadline, described
        await asyncio.sleep(0.5)


async def test_clean_leader_changes_restarts_compaction_and_retention_are_never_refused(
    brokers: Brokers, tmp_path: Path
) -> None:
    """Every node dies in turn under load, so that each log has several leaders; with standbys, and old folders."""
    pipeline = Pipeline(brokers.bootstrap, tmp_path / "p", "steady")
    late = pipeline.worker(instance_id="late", standbys=1)
    try:
        await create(pipeline)
        workers = [pipeline.worker(instance_id=f"w{number}", standbys=1, chunk_records=50) for number in range(2)]
        late.start()
        await pipeline.produce(500)
        await pipeline.drain(revive=False)
        late.kill()  # its folder, with rows of every partition, stands still from here on
        pipeline.workers.remove(late)
        pipeline.revive()
        stop = asyncio.Event()
        load = asyncio.ensure_future(pipeline.produce_until(stop, rate=200))
        for number, node in enumerate(brokers.nodes):
            node.kill()
            await asyncio.sleep(4)
            node.launch()
            await asyncio.to_thread(brokers.wait)
            await in_sync(pipeline)
            worker = workers[number % 2]
            if number == 1:
                worker.kill()
            pipeline.revive()  # a broker that is away may end one
            if number == 0:
                await worker.ready()
                await worker.restart()
        stop.set()
        await load
        await pipeline.drain()
        assert await in_marks(pipeline) > 1, "one leader all the time"
        async with Admin(pipeline.bootstrap) as client:  # all that was read, by its age
            done = [TopicPartition(f"{pipeline.app}-a", partition) for partition in range(PARTITIONS)]
            await client.delete_records(dict.fromkeys(done, RecordsToDelete(-1)))
        for worker in workers:
            worker.kill()
        pipeline.workers.append(late)
        late.start()
        await pipeline.produce(500, seed=2)
        await late.ready()
        await pipeline.drain()
        for worker in pipeline.workers:
            await worker.ready()
        # At once: who stops first would have its partitions taken over by one that is about to stop.
        codes = await asyncio.gather(*(worker.stop(seconds=30) for worker in pipeline.workers))
        assert codes == [0, 0, 0]
        assert "has been compacted, all is read back" in late.log()
        for worker in pipeline.workers:
            assert not any(refusal in worker.log() for refusal in REFUSALS), worker.log()
        await pipeline.check()
    finally:
        late.kill()
        pipeline.close()


async def in_marks(pipeline: Pipeline) -> int:
    """The highest leader epoch that rows were made of."""
    found = await pipeline.read(f"{pipeline.app}-a-changelog")
    return max(Mark.unpack(value).leader_epoch for _, key, value in found if key == rows.MARK_KEY and value is not None)
