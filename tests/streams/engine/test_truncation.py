"""A changelog that loses its end, as after an unclean election or with a lost disk: noticed, and never counted over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from millrace.kafka import Broker
from streams.engine import Cluster, EngineSettings
from streams.engine.app import EngineApp
from streams.engine.errors import StateLost
from streams.engine.recovery import Read, read_back
from tests.kafka import jars
from tests.ports import free_port
from tests.streams.engine.harness import Pipeline
from tests.streams.engine.worker import PARTITIONS

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own."""
    folder = tmp_path / "kafka"
    with Broker(jars(), folder, log=folder / "log", port=free_port(), heap_mb=320) as broker:
        yield broker


def forget(broker: Broker, pattern: str) -> None:
    """The broker dies and comes back without the last third of these partitions."""
    broker.kill()
    for log in broker.folder.glob(f"data/{pattern}/*.log"):
        os.truncate(log, log.stat().st_size * 2 // 3)
    broker.start()


CASES = {
    "kept": "local rows go up to changelog offset",
    "wiped": "the changelog holds rows up to source offset",
    "in-use": "changelog",
}


async def test_a_truncated_changelog_is_refused(forgetful: Broker, tmp_path: Path) -> None:
    pipelines = {case: Pipeline(forgetful.bootstrap, tmp_path / case, case) for case in CASES}
    try:
        for pipeline in pipelines.values():
            await pipeline.create_topics()
            await pipeline.produce(2_000)
            pipeline.worker(instance_id="one").start()
        for case, pipeline in pipelines.items():
            await pipeline.drain(revive=False)
            if case != "in-use":
                pipeline.workers[0].kill()
        pipelines["wiped"].workers[0].wipe()
        forget(forgetful, "*-changelog-*")
        await pipelines["in-use"].produce(500, seed=2)
        for case, words in CASES.items():
            worker = pipelines[case].workers[0]
            refusal = "start with a higher epoch (MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true)"
            for _ in range(3):  # one in use may first end because its broker is away, or does not know its producer
                if not worker.alive:
                    worker.start()
                assert await worker.ended() == 70
                if refusal in worker.tail():
                    break
            last = worker.tail().splitlines()[-1]
            assert words in last
            assert refusal in last
            assert (await pipelines[case].committed())["a"] == 2_000
    finally:
        for pipeline in pipelines.values():
            pipeline.close()


async def test_a_log_that_is_truncated_while_it_is_read_back_is_refused(forgetful: Broker, tmp_path: Path) -> None:
    """What it was read up to by then is there still: the reading stands before the new end, and waits."""
    pipeline = Pipeline(forgetful.bootstrap, tmp_path / "p", "p")
    await pipeline.create_topics()
    await pipeline.produce(2_000, padding=1_000)

    async def no_ids(topics: Sequence[str]) -> dict[str, str]:
        return {}

    few = {"max_partition_fetch_bytes": 4_000}
    settings = EngineSettings("p", forgetful.bootstrap, tmp_path, PARTITIONS, kafka=few)
    app = EngineApp(settings, Cluster("", {}, no_ids), on_fatal=lambda error: None)
    tps = [TopicPartition("p-a", partition) for partition in range(PARTITIONS)]
    async with app.plain_consumer() as consumer:
        ends = await consumer.end_offsets(tps)
    stretches = {tp.partition: (0, end) for tp, end in ends.items()}
    async with aclosing(read_back(app, "p-a", stretches)) as read:
        assert (await anext(read)).next > 0
        await asyncio.to_thread(forget, forgetful, "p-a-*")
        with pytest.raises(StateLost, match=r"p-a\[\d\]: it ended at offset \d+ when its reading began"):
            await asyncio.wait_for(to_the_end(read), 60)


async def to_the_end(read: AsyncIterable[Read]) -> None:
    async for _ in read:
        pass
