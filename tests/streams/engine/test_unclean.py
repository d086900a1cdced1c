"""A real unclean election: a replica that lags becomes the leader, and the end of a changelog is gone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from millrace.kafka import cached_jars
from tests.chaos.brokers import Brokers
from tests.streams.engine.harness import Admin, Pipeline
from tests.streams.engine.worker import PARTITIONS

pytestmark = [pytest.mark.broker, pytest.mark.slow]

STAYS, LEADS, LAGS = 1, 2, 3
"""Nodes: all that is no changelog lies on the first one; a changelog on the other two."""
PATIENCE_S = 120.0


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Brokers]:
    cache = os.environ.get("MILLRACE_CACHE")
    with Brokers(cached_jars(Path(cache) if cache else None), tmp_path / "kafka", 3) as three:
        yield three


async def create(pipeline: Pipeline) -> str:
    """Its topics; returns the changelog's name, whose leader may be elected uncleanly."""

    def topic(name: str, replicas: list[int], **configs: str) -> NewTopic:
        placed = dict.fromkeys(range(PARTITIONS), replicas)
        configs = {"min.insync.replicas": "1"} | {key.replace("_", "."): value for key, value in configs.items()}
        return NewTopic(f"{pipeline.app}-{name}", -1, -1, placed, configs)

    sloppy = {"cleanup_policy": "compact", "unclean_leader_election_enable": "true"}
    async with Admin(pipeline.bootstrap) as client:
        await client.create_topics(
            [topic("a", [STAYS]), topic("out", [STAYS]), topic("a-changelog", [LEADS, LAGS], **sloppy)]
        )
    return f"{pipeline.app}-a-changelog"


async def until(bootstrap: str, topic: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Until it holds of every partition."""
    deadline, partitions = time.monotonic() + PATIENCE_S, []
    while len(partitions) < PARTITIONS or not all(map(holds, partitions)):
        assert time.monotonic() < deadline, partitions
        await asyncio.sleep(0.5)
        with suppress(KafkaError):  # the client asks any node, also one that just died
            async with Admin(bootstrap) as client:
                partitions = (await client.describe_topics([topic]))[0]["partitions"]


async def length(bootstrap: str, topic: str) -> int:
    tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        return sum((await consumer.end_offsets(tps)).values())


async def test_a_changelog_cut_by_an_unclean_election_is_refused_in_use_and_at_a_start(
    brokers: Brokers, tmp_path: Path
) -> None:
    _, leading, lagging = brokers.nodes
    bootstrap = brokers.nodes[0].bootstrap
    pipelines = {case: Pipeline(bootstrap, tmp_path / case, case) for case in ("in-use", "start")}
    try:
        changelogs = {case: await create(pipeline) for case, pipeline in pipelines.items()}
        for pipeline in pipelines.values():
            # Longer than the brokers are away: it shall be the changelog that ends it, not the group.
            pipeline.worker(instance_id="one", session_timeout_s=60.0).start()
            await pipeline.produce(500)
        for pipeline in pipelines.values():
            await pipeline.drain(revive=False)
        lagging.kill()
        for changelog in changelogs.values():
            await until(bootstrap, changelog, lambda partition: partition["isr"] == [LEADS])
        for pipeline in pipelines.values():
            await pipeline.produce(500, seed=2)
        for pipeline in pipelines.values():
            await pipeline.drain(revive=False)
        pipelines["start"].workers[0].kill()
        before = {case: await length(bootstrap, changelog) for case, changelog in changelogs.items()}

        leading.kill()
        lagging.start()
        for case, changelog in changelogs.items():
            await until(bootstrap, changelog, lambda partition: partition["leader"] == LAGS)
            assert await length(bootstrap, changelog) < before[case], "nothing was lost"

        await pipelines["in-use"].produce(500, seed=3)
        for pipeline in pipelines.values():
            worker = pipeline.workers[0]
            refusal = "start with a higher epoch (MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true)"
            for _ in range(3):  # one in use may first end because the new leader does not know its producer
                if not worker.alive:
                    worker.start()
                assert await worker.ended() == 70
                if refusal in worker.tail():
                    break
            last = worker.tail().splitlines()[-1]
            assert refusal in last
            assert "local rows go up to changelog offset" in last or "the changelog goes on at offset" in last
            assert (await pipeline.committed())["a"] == 1_000
    finally:
        for pipeline in pipelines.values():
            pipeline.close()
