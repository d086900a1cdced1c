"""What must stop a worker or keep it from starting, each with one clear line and with nothing committed."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.streams.engine.conftest import MakePipeline
from tests.streams.engine.harness import Admin, Pipeline, Worker
from tests.streams.engine.worker import PARTITIONS

pytestmark = [pytest.mark.broker, pytest.mark.slow]


async def ran_once(pipeline: Pipeline, records: int = 1_000) -> Worker:
    """A pipeline whose worker has done everything and stopped."""
    await pipeline.create_topics()
    await pipeline.produce(records)
    worker = pipeline.worker(instance_id="one")
    worker.start()
    await pipeline.drain(revive=False)
    assert await worker.stop() == 0
    return worker


async def refused(worker: Worker, *words: str) -> None:
    """It ends by itself, its last line says these words, and it had folded nothing."""
    records = worker.total("records")
    assert await worker.ended() == 70
    last = worker.tail().splitlines()[-1]
    for word in words:
        assert word in last
    assert worker.total("records") in (0, records)


@pytest.mark.parametrize("wiped", [False, True], ids=["folder kept", "changelog alone"])
async def test_a_topic_that_was_made_again_is_refused(pipeline: MakePipeline, wiped: bool) -> None:
    counting = pipeline()
    worker = await ran_once(counting)
    await counting.delete_topic(f"{counting.app}-a")
    async with Admin(counting.bootstrap) as client:
        await client.create_topics([NewTopic(f"{counting.app}-a", PARTITIONS, 1)])
    if wiped:
        worker.wipe()
    worker.start()
    await refused(worker, "table a[", f"topic {counting.app}-a was deleted and made again", "higher epoch")


async def test_rows_of_another_cluster_are_refused(pipeline: MakePipeline) -> None:
    worker = await ran_once(pipeline())
    worker.start(cluster_id="another")
    await refused(worker, "rows were made in Kafka cluster", "this cluster is another", "higher epoch")


@pytest.mark.parametrize(
    ("wiped", "words"),
    [
        (True, "the changelog is empty, but the source was read up to offset"),
        (False, "the changelog was deleted and made again"),
    ],
)
async def test_a_lost_changelog_is_refused(pipeline: MakePipeline, wiped: bool, words: str) -> None:
    counting = pipeline()
    worker = await ran_once(counting)
    await counting.delete_topic(f"{counting.app}-a-changelog")
    if wiped:
        worker.wipe()
    worker.start()
    await refused(worker, words, "higher epoch")


async def test_a_folder_beside_a_changelog_that_was_made_again_is_refused_however_long_that_is(
    pipeline: MakePipeline,
) -> None:
    """Another worker has filled the new one: what is there is right, and longer than the folder knows."""
    counting = pipeline()
    old = await ran_once(counting)
    await counting.delete_topic(f"{counting.app}-a-changelog")
    await counting.delete_group()
    new = counting.worker(instance_id="two")
    new.start()
    await counting.drain(revive=False)
    await counting.produce(1_000, seed=2)
    await counting.drain(revive=False)
    assert await new.stop() == 0
    old.start()
    await refused(
        old, "the changelog was deleted and made again since", "higher epoch", "or, if the new one was filled"
    )
    old.wipe()
    counting.workers.remove(new)
    old.start()
    await counting.produce(500, seed=3)
    await counting.drain(revive=False)
    assert await old.stop() == 0
    await counting.check()


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
async def test_a_changelog_that_is_not_compacted_alone_is_refused(pipeline: MakePipeline, policy: str) -> None:
    counting = pipeline()
    await counting.create_topics()
    name = f"{counting.app}-a-changelog"
    async with Admin(counting.bootstrap) as client:
        await client.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs={"cleanup.policy": policy})])
    worker = counting.worker()
    worker.start()
    assert await worker.ended() != 0
    command = f"--alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
    assert f"its cleanup.policy is {policy}, which deletes rows" in worker.tail()
    assert command in worker.tail()


async def test_a_changelog_whose_beginning_was_deleted_is_refused_by_who_has_not_read_it(
    pipeline: MakePipeline,
) -> None:
    counting = pipeline()
    worker = await ran_once(counting)
    topic = f"{counting.app}-a-changelog"
    async with Admin(counting.bootstrap) as client:

        async def set_policy(policy: str) -> None:
            await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": policy})])

        await set_policy("delete")
        before = {TopicPartition(topic, partition): RecordsToDelete(5) for partition in range(PARTITIONS)}
        await client.delete_records(before)
        await set_policy("compact")
    worker.start()
    await worker.ready()
    assert await worker.stop() == 0
    worker.wipe()
    worker.start()
    await refused(worker, "the changelog begins at offset 5, what stood before was deleted", "higher epoch")


async def test_a_changelog_of_other_partitions_is_refused(pipeline: MakePipeline) -> None:
    counting = pipeline()
    await counting.create_topics()
    async with Admin(counting.bootstrap) as client:
        await client.create_topics([NewTopic(f"{counting.app}-a-changelog", 3, 1)])
    worker = counting.worker()
    worker.start()
    assert await worker.ended() != 0
    assert "it has 3 partitions, its source has 4" in worker.tail()


async def test_a_higher_epoch_starts_from_the_beginning(pipeline: MakePipeline) -> None:
    """Beside the old state: other group, other changelogs, other folder; the old ones stay as they are."""
    counting = pipeline()
    worker = await ran_once(counting)
    worker.start(epoch=2)
    await worker.until(lambda: worker.total("records") == 1_000 and worker.state["why"] == "owns 4 partitions")
    assert worker.total("duplicates") == 0
    assert await worker.stop() == 0
    rebuilt = await counting.changelog("a", group=f"{counting.app}-e2")
    assert rebuilt.best == (await counting.changelog("a")).best == counting.wanted("a")


async def test_a_group_that_refuses_the_worker_ends_it(pipeline: MakePipeline) -> None:
    """aiokafka keeps such an error for its own poll, which nobody calls: the worker would stand still for ever."""
    counting = pipeline()
    await counting.create_topics()
    worker = counting.worker()
    worker.start(session_timeout_s=3600.0)  # brokers take half an hour at most
    await refused(worker, f"the membership in the group {counting.app} ended", "InvalidSessionTimeoutError")


async def test_a_recovery_that_kafka_leaves_without_an_answer_ends_the_worker(pipeline: MakePipeline) -> None:
    """Faust's task would end alone: the worker would hold its partitions and never read them."""
    counting = pipeline()
    await counting.create_topics()
    await counting.produce(500)
    worker = counting.worker()
    worker.start(slow_seeks=60.0, request_timeout_s=6.0)
    assert await worker.ended() == 70
    assert "recovery: Kafka did not answer within 6 s" in worker.tail()
    del worker.options["slow_seeks"]
    worker.start()
    await counting.drain(revive=False)
    assert await worker.stop() == 0
    await counting.check()


async def test_an_exception_in_a_fold_stops_the_worker_and_the_record_comes_back(pipeline: MakePipeline) -> None:
    counting = pipeline(chunk_records=50)
    await counting.create_topics()
    await counting.produce(2_000)
    worker = counting.worker(instance_id="one", poison=999)
    worker.start()
    assert await worker.ended() == 70
    assert "poisoned by 999" in worker.tail()
    committed = (await counting.committed())["a"]
    assert committed < 2_000
    worker.start(poison=None)
    await counting.drain(revive=False)
    assert await worker.stop() == 0
    await counting.check()


async def test_a_refused_message_stops_the_worker_before_the_commit(pipeline: MakePipeline) -> None:
    counting = pipeline(padding=2_000)
    await counting.create_topics({"max.message.bytes": "1000"})
    await counting.produce(500)
    worker = counting.worker()
    worker.start()
    assert await worker.ended() == 70
    assert f"Kafka did not acknowledge {counting.app}-out[" in worker.tail()
    assert (await counting.committed())["a"] == 0


async def test_a_row_over_the_limit_stops_the_worker_and_is_named(pipeline: MakePipeline) -> None:
    counting = pipeline(padding=600_000)
    await counting.create_topics()
    await counting.produce(100, keys=1)
    worker = counting.worker()
    worker.start()
    assert await worker.ended() == 70
    assert "a: a row of 600029 bytes with a key of 6 bytes exceeds" in worker.tail()
    assert (await counting.committed())["a"] == 0


async def test_sigterm_stops_within_seconds_with_the_work_committed(pipeline: MakePipeline) -> None:
    """Also in the middle of a chunk that takes longer: stages fold it in parts."""
    counting = pipeline(slow=0.05, part=10)
    await counting.create_topics()
    await counting.produce(10_000)
    worker = counting.worker()
    worker.start()
    await worker.working()
    assert await worker.stop(seconds=5) == 0
    committed = (await counting.committed())["a"]
    assert 0 < committed < 10_000
    worker.start(slow=0, part=2_000)
    await counting.drain(revive=False)
    assert worker.total("records") == 10_000 - committed
    assert worker.total("duplicates") == 0
    assert await worker.stop() == 0
    await counting.check()


async def test_a_backlog_does_not_grow_the_worker(pipeline: MakePipeline) -> None:
    """150 MB wait, and the stage is slow: what is fetched ahead is bounded, in chunks and in bytes."""
    counting = pipeline(slow=0.2, chunk_records=100)
    await counting.create_topics()
    await counting.produce(30_000, padding=5_000)
    worker = counting.worker()
    worker.start()
    await worker.working()
    await asyncio.sleep(8)
    assert worker.total("records") < 10_000
    assert worker.state["max_rss_mib"] < 140


async def test_records_deleted_before_they_were_read_are_counted(pipeline: MakePipeline) -> None:
    counting = pipeline()
    worker = await ran_once(counting)
    first_unread = 1 + max(o for k, o in counting.ledger.last["a"].items() if counting.ledger.partition[k] == 0)
    await counting.produce(1_000, seed=2)
    async with Admin(counting.bootstrap) as client:
        source = TopicPartition(f"{counting.app}-a", 0)
        await client.delete_records({source: RecordsToDelete(first_unread + 25)})
    worker.start()
    await worker.until(lambda: worker.total("records") == 975 and worker.total("lost") == 25)
    assert "were deleted before they were read" in worker.tail()
    assert await worker.stop() == 0


def no_manifest(database: Path) -> None:
    for manifest in database.glob("MANIFEST-*"):
        manifest.unlink()


def nonsense(database: Path) -> None:
    for manifest in database.glob("MANIFEST-*"):
        manifest.write_bytes(b"not a manifest" * 100)


def found_in_use(database: Path) -> None:
    (database / "DAMAGED").touch()


@pytest.mark.parametrize("harm", [no_manifest, nonsense, found_in_use])
async def test_a_damaged_database_is_recovered_from_the_changelog(
    pipeline: MakePipeline, harm: Callable[[Path], None]
) -> None:
    counting = pipeline()
    worker = await ran_once(counting)
    for database in worker.folder.glob("data/**/tables/a-*.db"):
        harm(database)
    await counting.produce(1_000, seed=2)
    worker.start()
    await counting.drain(revive=False)
    assert "is damaged and will be recovered" in worker.tail()
    assert await worker.stop() == 0
    await counting.check()


async def test_a_database_that_is_damaged_in_use_ends_the_worker_and_is_recovered(pipeline: MakePipeline) -> None:
    """The files are read only when a row is asked for: a block that is not what its checksum says."""
    counting = pipeline(padding=200)
    worker = await ran_once(counting)
    for table in worker.folder.glob("data/**/tables/a-*.db/*.sst"):
        whole = bytearray(table.read_bytes())
        middle = len(whole) // 2
        whole[middle : middle + 50] = bytes(50)
        table.write_bytes(whole)
    await counting.produce(1_000, seed=2)
    worker.start()
    assert await worker.ended() == 70
    assert "is damaged and will be recovered" in worker.tail()
    assert (await counting.committed())["a"] < 2_000
    worker.start()
    await counting.drain()
    assert await worker.stop() == 0
    await counting.check()


async def test_rows_of_a_trickle_are_in_files_while_the_worker_runs(pipeline: MakePipeline) -> None:
    """What is not in files is read back after a kill, as long as Kafka has not compacted where that begins."""
    counting = pipeline()
    worker = await ran_once(counting, records=100)
    worker.wipe()
    worker.start(flush_interval_s=0.1)
    await worker.ready()
    deadline = time.monotonic() + 60
    while not list(worker.folder.glob("data/**/tables/a-*.db/*.sst")) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert list(worker.folder.glob("data/**/tables/a-*.db/*.sst"))
    assert await worker.stop() == 0
    await counting.check()


async def test_a_full_disk_ends_the_worker_and_loses_nothing(pipeline: MakePipeline) -> None:
    counting = pipeline(padding=2_000)
    worker = await ran_once(counting)
    worker.start()
    await worker.ready()
    assert worker.process is not None
    # No file may grow beyond this: enough for its last words, not for a chunk of rows.
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    await counting.produce(1_000, seed=2)
    assert await worker.ended() == 70
    last = worker.tail().splitlines()[-1]
    assert "cannot write to" in last
    assert "free space on its disk" in last
    worker.start()
    await counting.drain()
    assert await worker.stop() == 0
    await counting.check()
