"""A real unclean election: a replica that lags becomes the leader, and the end of a log is gone.

Or, worse, it is gone and others wrote on in its place before anybody looked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from tests.chaos.brokers import Brokers
from tests.kafka import jars
from tests.streams.engine.harness import Admin, Pipeline, Worker
from tests.streams.engine.worker import PARTITIONS, RECORD

pytestmark = [pytest.mark.broker, pytest.mark.slow]

STAYS, LEADS, LAGS = 1, 2, 3
"""Nodes: what is never cut lies on the first one; what may be, on the other two."""
PATIENCE_S = 120.0
BROKERS_TIME = {"message_timestamp_type": "LogAppendTime"}
REBUILD = "start with a higher epoch (MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true)"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """One for all, for its start takes long; each test has pipelines of names of its own."""
    with Brokers(jars(), tmp_path_factory.mktemp("kafka"), 3) as three:
        yield three


@pytest.fixture
def brokers(cluster: Brokers) -> Brokers:
    """Its three nodes, all up, whichever died in the test before."""
    for node in cluster.nodes:
        if node.process is None or node.process.poll() is not None:
            node.start()
    asyncio.run(all_known(cluster))
    return cluster


async def all_known(brokers: Brokers) -> None:
    """A topic that is created now gets its replicas in sync."""
    deadline = time.monotonic() + PATIENCE_S
    async with Admin(brokers.bootstrap) as client:
        while len((await client.describe_cluster())["brokers"]) < len(brokers.nodes):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def create(pipeline: Pipeline, sloppy: str = "a-changelog") -> str:
    """Its topics; returns the full name of the one whose leader may be elected uncleanly."""

    def topic(name: str, replicas: list[int], **configs: str) -> NewTopic:
        placed = dict.fromkeys(range(PARTITIONS), replicas)
        configs = {"min.insync.replicas": "1"} | {key.replace("_", "."): value for key, value in configs.items()}
        return NewTopic(f"{pipeline.app}-{name}", -1, -1, placed, configs)

    def any_topic(name: str, **configs: str) -> NewTopic:
        if name == sloppy:
            return topic(name, [LEADS, LAGS], unclean_leader_election_enable="true", **configs)
        return topic(name, [STAYS], **configs)

    async with Admin(pipeline.bootstrap) as client:
        await client.create_topics(
            [any_topic("a"), any_topic("out"), any_topic("a-changelog", cleanup_policy="compact", **BROKERS_TIME)]
        )
    return f"{pipeline.app}-{sloppy}"


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
    pipelines = {case: Pipeline(bootstrap, tmp_path / case, f"changelog-{case}") for case in ("in-use", "start")}
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
            for _ in range(3):  # one in use may first end because the new leader does not know its producer
                if not worker.alive:
                    worker.start()
                assert await worker.ended() == 70
                if REBUILD in worker.tail():
                    break
            last = worker.tail().splitlines()[-1]
            assert REBUILD in last
            assert "local rows go up to changelog offset" in last or "the changelog goes on at offset" in last
            assert (await pipeline.committed())["a"] == 1_000
    finally:
        for pipeline in pipelines.values():
            pipeline.close()


async def cut(brokers: Brokers, topics: list[str], in_between: Callable[[], Awaitable[None]]) -> None:
    """What these topics get `in_between` is gone then, and they take more."""
    _, leading, lagging = brokers.nodes
    bootstrap = brokers.nodes[0].bootstrap
    lagging.kill()
    for topic in topics:
        await until(bootstrap, topic, lambda partition: partition["isr"] == [LEADS])
    await in_between()
    before = {topic: await length(bootstrap, topic) for topic in topics}
    leading.kill()
    lagging.start()
    for topic in topics:
        await until(bootstrap, topic, lambda partition: partition["leader"] == LAGS)
        assert await length(bootstrap, topic) < before[topic], "nothing was lost"


async def held(pipeline: Pipeline) -> dict[bytes, tuple[int, int]]:
    """Of each key the records and their sum, as the source has them now."""
    found: dict[bytes, tuple[int, int]] = {}
    for _, key, value in await pipeline.read(f"{pipeline.app}-a"):
        count, total = found.get(key, (0, 0))
        assert value is not None
        found[key] = count + 1, total + RECORD.unpack_from(value)[0]
    return found


async def test_a_source_that_was_cut_and_written_on_is_refused_in_use_and_at_a_start(
    brokers: Brokers, tmp_path: Path
) -> None:
    """Its end is beyond what was folded: only the leader epochs tell. What does not look at them is wrong."""
    cases = ("in-use", "asleep", "start", "unaware")
    pipelines = {case: Pipeline(brokers.nodes[0].bootstrap, tmp_path / case, f"source-{case}") for case in cases}
    try:
        topics = [await create(pipeline, sloppy="a") for pipeline in pipelines.values()]
        workers = {}
        for case, pipeline in pipelines.items():
            workers[case] = pipeline.worker(instance_id="one", session_timeout_s=60.0, lineage=case != "unaware")
            workers[case].start()
            await pipeline.produce(500)
        for pipeline in pipelines.values():
            await pipeline.drain(revive=False)

        async def folded_and_lost() -> None:
            for pipeline in pipelines.values():
                await pipeline.produce(500, seed=2)
            for pipeline in pipelines.values():
                await pipeline.drain(revive=False)
            for case in ("start", "unaware"):
                workers[case].kill()
            workers["asleep"].pause()

        await cut(brokers, topics, folded_and_lost)
        for pipeline in pipelines.values():
            await pipeline.produce(1_000, seed=3)
        workers["asleep"].resume()
        for case in ("start", "unaware"):
            workers[case].start()

        for case in ("in-use", "asleep", "start"):
            assert await workers[case].ended() == 70
            last = workers[case].tail().splitlines()[-1]
            assert "was cut at" in last, case
            assert REBUILD in last
            assert (await pipelines[case].committed())["a"] == 1_000
        # The way out that it names.
        workers["start"].start(epoch=2)
        await folded(workers["start"], 1_500)
        assert await workers["start"].stop() == 0
        rebuilt = await pipelines["start"].changelog("a", group="source-start-e2")
        assert rebuilt.best == await held(pipelines["start"])

        unaware = pipelines["unaware"]
        await workers["unaware"].until(
            lambda: workers["unaware"].total("lag") == 0 and workers["unaware"].state["ready"]
        )
        assert await workers["unaware"].stop() == 0
        assert (await unaware.changelog("a")).best != await held(unaware)
    finally:
        for pipeline in pipelines.values():
            pipeline.close()


async def test_a_folder_of_a_changelog_that_was_cut_and_written_on_is_refused(brokers: Brokers, tmp_path: Path) -> None:
    """Nothing was committed, so another worker folds the records again: other rows stand where those of the first were.

    The first took small chunks: where its rows were, those of the second are further, and are of records that the first
    has never seen. Nobody touches their keys again, so a folder that is not looked at never gets them.
    """
    aware, unaware = (
        Pipeline(brokers.nodes[0].bootstrap, tmp_path / name, f"folder-{name}") for name in ("aware", "unaware")
    )
    pipelines = (aware, unaware)
    try:
        changelogs = [await create(pipeline) for pipeline in pipelines]
        firsts = []
        for pipeline in pipelines:
            options = {"commit_interval_s": 3_600.0, "chunk_records": 10, "lineage": pipeline is aware}
            options["flush_interval_s"] = 0.1
            firsts.append(pipeline.worker(instance_id="one", **options))
            firsts[-1].start()
            await pipeline.produce(500)
        for first in firsts:
            await folded(first, 500)

        async def written_and_lost() -> None:
            for pipeline in pipelines:
                await pipeline.produce(500, seed=2)
            for first in firsts:
                await folded(first, 1_000)
            await asyncio.sleep(1)  # what is not in files by now would be read back, also by who is not aware
            for first in firsts:
                first.kill()

        await cut(brokers, changelogs, written_and_lost)
        for pipeline in pipelines:
            await pipeline.produce(2_000, keys=100_000, seed=3)
            second = pipeline.worker(instance_id="two")
            second.start()
            await pipeline.drain(revive=False)
            assert await second.stop() == 0
            pipeline.workers.remove(second)
        for first in firsts:
            first.start(commit_interval_s=1.0, chunk_records=2_000)

        refused = firsts[0]
        assert await refused.ended() == 70
        last = refused.tail().splitlines()[-1]
        assert "the changelog was cut below offset" in last
        assert f"remove {next(refused.folder.glob('data/**/tables'))}" in last
        refused.wipe()
        refused.start()
        for pipeline, first in zip(pipelines, firsts, strict=True):
            await first.ready()
            assert await first.stop() == 0
            assert (pipeline.stored("a") == pipeline.wanted("a")) is (pipeline is aware)
        await aware.check()
    finally:
        for pipeline in pipelines:
            pipeline.close()


async def folded(worker: Worker, records: int) -> None:
    """Until it has folded so many since its start."""
    await worker.until(lambda: worker.total("records") == records)
