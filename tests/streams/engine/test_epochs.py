"""A higher epoch rebuilt in shadow, published by the switch, and who is refused on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.engine import Cluster, EngineSettings
from streams.engine.app import EngineApp
from streams.engine.publication import complete_since_ms
from tests.streams.engine.conftest import MakePipeline
from tests.streams.engine.harness import Admin
from tests.streams.engine.test_ends import ran_once, refused
from tests.streams.engine.worker import PARTITIONS

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.mark.parametrize("out_partitions", [PARTITIONS, 3])
async def test_a_change_of_logic_is_refused_rebuilt_in_shadow_and_published(
    pipeline: MakePipeline, out_partitions: int
) -> None:
    """Whatever the number of partitions: what only the old logic knew is found in all of them, and is gone."""
    counting = pipeline(out_partitions=out_partitions)
    worker = await ran_once(counting)
    topic = f"{counting.app}-out"
    async with AIOKafkaProducer(bootstrap_servers=counting.bootstrap) as producer:
        for number in range(5):
            await producer.send_and_wait(topic, bytes(24), key=b"known to the old logic alone %d" % number)
    published = await counting.read(topic)

    worker.start(logic=2)
    await refused(
        worker, "rows were made by logic 1, this release has logic 2", "_EPOCH=2 MILLRACE_STREAMS_SHADOW=true"
    )

    worker.start(epoch=2, shadow=True)
    await worker.until(lambda: worker.total("records") == 1_000 and worker.state["ready"])
    assert worker.state["why"] == "owns 4 partitions, in shadow as epoch 2"
    assert worker.total("unpublished", "tables") == 4
    assert await worker.stop() == 0
    assert await counting.read(topic) == published

    worker.start(shadow=False)
    await worker.until(lambda: worker.state.get("why") == "owns 4 partitions")
    assert worker.total("unpublished", "tables") == 0
    assert await worker.stop() == 0
    messages = len(published) + len(counting.wanted("a")) + 5
    assert len(await counting.read(topic)) == messages
    assert await counting.output() == counting.wanted_output()

    worker.start()
    await worker.ready()
    assert await worker.stop() == 0
    assert len(await counting.read(topic)) == messages, "published twice"

    worker.start(shadow=True)
    await refused(worker, "the rows of epoch 2 are published; start without MILLRACE_STREAMS_SHADOW")

    worker.start(epoch=1, shadow=False, logic=1)
    assert await worker.ended() != 0
    assert "epoch 2 is published, and its rows win over those of epoch 1" in worker.tail()


async def test_a_switch_that_comes_too_early_takes_nothing_back_that_is_still_to_be_read(
    pipeline: MakePipeline,
) -> None:
    """The worker in shadow is killed with most of the topic before it."""
    counting = pipeline()
    worker = await ran_once(counting)
    topic = f"{counting.app}-out"
    worker.start(epoch=2, shadow=True, slow=0.1, chunk_records=25)
    await worker.working()
    worker.kill()
    worker.start(shadow=False)
    await worker.working()
    await worker.until(lambda: worker.state.get("why") == "owns 4 partitions")
    assert await worker.stop() == 0
    assert [key for _, key, value in await counting.read(topic) if value is None] == []
    assert await counting.output() == counting.wanted_output()


async def no_ids(names: Sequence[str]) -> Mapping[str, str]:
    return {}


async def test_a_rebuild_is_complete_from_the_oldest_record_on_that_every_partition_has(
    pipeline: MakePipeline, tmp_path: Path
) -> None:
    counting = pipeline()
    await counting.create_topics()
    topic = f"{counting.app}-a"
    app = EngineApp(
        EngineSettings(counting.app, counting.bootstrap, tmp_path, PARTITIONS), Cluster("c", {}, no_ids), print
    )
    async with AIOKafkaProducer(bootstrap_servers=counting.bootstrap) as producer:
        for partition, at_ms in ((0, 1_000), (0, 5_000), (1, 2_000), (1, 3_000)):
            await producer.send_and_wait(topic, b"", partition=partition, timestamp_ms=at_ms)

    async def since_after_deleting(partition: int, before: int) -> int:
        async with Admin(counting.bootstrap) as client:
            await client.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})
        return await complete_since_ms(app, {topic: PARTITIONS})

    assert await complete_since_ms(app, {topic: PARTITIONS}) == 0
    assert await since_after_deleting(1, 1) == 3_000
    assert await since_after_deleting(0, 1) == 5_000
    assert await since_after_deleting(0, 2) > 1 << 52, "nothing is left of a partition"
