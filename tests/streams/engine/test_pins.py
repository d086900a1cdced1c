"""What of the pinned packages the engine leans on beyond their public promises.

faust-streaming, aiokafka and rocksdict are pinned to one release each. Every private part of the first two that we
replace, wrap or read is named here, with the reason and a digest of its source: after an upgrade the tests that fail
are the list of what has to be read again before the pin and the digest are changed. rocksdict is compiled; its
behaviour is tested.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import textwrap
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import rocksdict

LEANED_ON = {
    "faust.app.base:App._new_transport": ("98c74e11", "the engine's own transport is made here"),
    "faust.app.base:App._new_producer_transport": ("02efb913", "the same for the producer"),
    "faust.app.base:App._crash": ("ba671a0b", "a crashed service must end the worker without a flush"),
    "faust.app.base:App._consumer_wait_empty": ("1cf2fb2a", "the barrier on revocation and on shutdown"),
    "faust.app.base:App._on_partitions_assigned": ("de1bc1f4", "co-partitioning is checked before it"),
    "faust.app.base:App._on_partitions_revoked": ("7e80f2bf", "tables close after our barrier"),
    "faust.transport.consumer:Consumer.getmany": ("c1a66273", "replaced: one message a chunk"),
    "faust.transport.consumer:Consumer.perform_seek": (
        "a84383d4",
        "extended: it leaves partitions without a committed offset where they are",
    ),
    "faust.transport.consumer:Consumer._new_offset": ("1f15ce46", "replaced: own bookkeeping of what is applied"),
    "faust.transport.consumer:Consumer._add_gap": ("e15452cd", "replaced: a chunk is no gap"),
    "faust.transport.consumer:Consumer._filter_tps_with_pending_acks": ("47f300cb", "replaced: own bookkeeping"),
    "faust.transport.consumer:Consumer._should_commit": ("e2b82677", "replaced: own bookkeeping"),
    "faust.transport.consumer:Consumer.commit": ("a26e3c01", "calls the four above and _commit"),
    "faust.transport.consumer:Consumer.commit_and_end_transactions": (
        "ac4bd7c6",
        "commits at revocation without transactions",
    ),
    "faust.transport.consumer:Consumer.maybe_wait_for_commit_to_finish": ("d846f62a", "commit_now leans on it"),
    "faust.transport.consumer:Consumer.on_partitions_revoked": (
        "93f3cbcd",
        "replaced: flush and commit before the partitions move",
    ),
    "faust.transport.consumer:Consumer.on_partitions_assigned": ("8993bb3a", "extended: the lease begins"),
    "faust.transport.consumer:Consumer._wait_next_records": ("4e0241f5", "not used: it can sleep for a second"),
    "faust.transport.consumer:Consumer._drain_messages": ("62577639", "iterates what getmany gives"),
    "faust.transport.consumer:Consumer.verify_all_partitions_active": ("eab19fc9", "switched off"),
    "faust.transport.consumer:Consumer.on_buffer_full": ("58f248ec", "switched off"),
    "faust.transport.consumer:Consumer.on_buffer_drop": ("653e97d5", "switched off"),
    "faust.transport.consumer:Consumer.seek_wait": ("a2d5422a", "moves the position of partitions"),
    "faust.transport.consumer:ThreadDelegateConsumer._commit": ("47c804ef", "called once everything is durable"),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": (
        "9566a46b",
        "replaced: our settings",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer": (
        "b348f1cc",
        "the heartbeat and the generation are read from it",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": ("fd8201d0", "runs in the thread"),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
        "75e5c3fe",
        "bounded: it waits for assignments",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_thread_stop": (
        "5fb51017",
        "extended: a static member that leaves for good gives up its place",
    ),
    "faust.transport.drivers.aiokafka:Consumer._to_message": ("7b238ea2", "a changelog record as Faust's message"),
    "faust.transport.drivers.aiokafka:Producer._new_producer": ("5f49567f", "replaced: our settings"),
    "faust.transport.drivers.aiokafka:Producer.on_start": ("0cdadfff", "extended: the lease guards the producer"),
    "faust.agents.manager:AgentManager.on_start": (
        "c88f5fda",
        "has them all subscribed to their topics before the tables start",
    ),
    "faust.tables.manager:TableManager.on_start": ("a699ed79", "replaced: it waits a second for tables"),
    "faust.tables.recovery:Recovery._slurp_changelogs": (
        "7f3941b5",
        "finds every record already applied and only looks whether recovery has ended",
    ),
    "faust.tables.recovery:Recovery._build_offsets": ("39da1ea9", "begins a standby where its rows end"),
    "faust.tables.recovery:Recovery._seek_offsets": (
        "6cbc390f",
        "at the record they go up to, not at the next: it is compared with what they know of it",
    ),
    "faust.tables.recovery:Recovery._restart_recovery": ("92343f56", "resets the offsets that we read and raise"),
    "mode.services:Service.wait_first": ("2244ecc4", "tells a timeout and a stop alike: RecoveryStuck"),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._push_error_to_user": (
        "32a5b43e",
        "wrapped: ends the worker",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_fetch_commit_offsets": (
        "6a18f6b9",
        "reads partitions alone",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": ("f360e8d1", "wrapped: errors of a whole answer"),
    "aiokafka.consumer.consumer:AIOKafkaConsumer.seek_to_committed": (
        "2a2d3cb6",
        "asserts that there is an assignment",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._coordination_routine": (
        "c9ee6769",
        "its end ends the worker",
    ),
    "aiokafka.consumer.subscription_state:SubscriptionState.reassignment_in_progress": (
        "53bc1d31",
        "read: partitions move",
    ),
    "faust.tables.recovery:Recovery.on_rebalance": ("71ecdfc0", "a recovery begins anew when a rebalance has ended"),
    "faust.tables.recovery:Recovery._wait": ("c8fa7682", "extended: a wait that timed out is no stop"),
    "faust.tables.base:Collection.on_recovery_completed": ("10125202", "extended: what was recovered is checked"),
    "faust.tables.base:Collection._new_store_by_url": ("b343c9d1", "replaced: our store"),
    "faust.stores.rocksdb:Store._db_for_partition": ("cfae7eb3", "opens by _open_for_partition"),
    "faust.stores.rocksdb:Store._open_for_partition": (
        "242d774d",
        "replaced: our options, repair of a damaged database",
    ),
    "faust.stores.rocksdb:Store.persisted_offset": ("6a22ba0a", "reads the offset that we write with the rows"),
    "faust.stores.rocksdb:Store.set_persisted_offset": ("6b275f99", "replaced: it would open a revoked database"),
    "faust.stores.rocksdb:Store.revoke_partitions": ("83db4698", "replaced: explicit close"),
    "faust.stores.rocksdb:Store.on_rebalance": ("9fdff7b9", "calls the above"),
    "faust.stores.rocksdb:Store.apply_changelog_batch": ("7d103f19", "replaced: rows carry versions"),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": (
        "2b7ad45f",
        "wrapped: an acknowledged heartbeat renews the lease",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._heartbeat_routine": (
        "058a1923",
        "calls the above on the instance",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator.reset_generation": (
        "30a6fdd2",
        "makes an expelled member visible",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group": (
        "ddc5a91e",
        "leaves unless the member is static, by a private field that we clear",
    ),
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": (
        "9f6de3d3",
        "makes MemoryRecords by that name of its module; ours, in its place, reads the leader epochs of the batches",
    ),
    "aiokafka.protocol.api:Request.prepare": ("577ad399", "picks the version of a request that aiokafka lacks"),
    "aiokafka.producer.message_accumulator:MessageBatch.done": (
        "6eb92dde",
        "tells the broker's time of a batch, or that the time is the writer's",
    ),
    "aiokafka.consumer.fetcher:PartitionRecords": ("ca16cd9d", "its class is changed: records are not wrapped"),
    "aiokafka.consumer.fetcher:FetchResult.getall": ("764fc44b", "iterates the above, and breaks off at a limit"),
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": ("1eae20e1", "its results are in a dict of ours"),
    "aiokafka.client:AIOKafkaClient.send": ("4b162de5", "wrapped: no produce request on an expired lease"),
    "aiokafka.producer.producer:AIOKafkaProducer.create_batch": ("48ddd26c", "whole batches"),
    "aiokafka.producer.producer:AIOKafkaProducer.send_batch": (
        "3cd8f21d",
        "waits until what was queued for the partition has left",
    ),
    "aiokafka.producer.producer:AIOKafkaProducer.stop": (
        "e17e3f69",
        "the gateway's publisher cancels the sender if it hangs",
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator.add_batch": (
        "478a7efa",
        "one batch at most is queued for a partition",
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator.fail_all": (
        "3e39c8cc",
        "what a stopped producer holds is failed",
    ),
    "aiokafka.producer.message_accumulator:BatchBuilder.append": (
        "93882ecc",
        "done for whole batches by outbox._fill: _builder and _relative_offset; takes a first message of any size",
    ),
    "aiokafka.producer.sender:SendProduceReqHandler.handle_response": ("ad8e7d99", "a failed batch fails its future"),
}
PYPROJECT = (Path(__file__).parents[3] / "pyproject.toml").read_text()


@pytest.mark.parametrize("package", ["faust-streaming", "aiokafka", "rocksdict"])
def test_the_release_that_we_know_is_the_one_that_runs(package: str) -> None:
    pinned = re.search(rf'"{package}(?:\[[\w,]+\])?==([\d.]+)"', PYPROJECT)
    assert pinned, f"{package} is not pinned to one release"
    assert metadata.version(package) == pinned[1]


@pytest.mark.parametrize("name", LEANED_ON)
def test_what_we_lean_on_is_as_we_read_it(name: str) -> None:
    digest, why = LEANED_ON[name]
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    found = getattr(found, "fun", getattr(found, "fget", found))  # of a ServiceTask of mode, of a property
    source = textwrap.dedent(inspect.getsource(found))
    now = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
    assert now == digest, f"{name} has changed. We lean on it: {why}. Read it again, then note {now}"


def database(path: Path) -> rocksdict.Rdict:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    return rocksdict.Rdict(str(path), options=options)


def test_rocksdict_reads_many_keys_at_once_and_none_for_an_unknown_one(tmp_path: Path) -> None:
    rows = database(tmp_path)
    rows.put(b"a", b"1")
    rows.put(b"c", b"3")
    assert rows.get([b"c", b"b", b"a"]) == [b"3", None, b"1"]


def test_rocksdict_writes_a_batch_whole_and_walks_it_in_the_order_of_bytes(tmp_path: Path) -> None:
    rows = database(tmp_path)
    batch = rocksdict.WriteBatch(raw_mode=True)
    for key in (b"b", b"\xff", b"a", b"\x00"):
        batch.put(key, key)
    batch.delete(b"a")
    assert rows.get(b"b") is None
    rows.write(batch)
    assert list(rows.items(from_key=b"\x01")) == [(b"b", b"b"), (b"\xff", b"\xff")]


def test_rocksdict_writes_no_log_while_it_is_told_not_to(tmp_path: Path) -> None:
    rows = database(tmp_path)
    (log,) = tmp_path.glob("*.log")
    unlogged = rocksdict.WriteOptions()
    setattr(unlogged, "disable_wal", True)  # noqa: B010
    rows.set_write_options(unlogged)
    rows.put(b"a", b"1" * 100)
    assert log.stat().st_size == 0
    rows.set_write_options(rocksdict.WriteOptions())
    rows.put(b"b", b"2" * 100)
    assert log.stat().st_size > 100


def test_rocksdict_sorts_no_files_while_it_is_told_not_to(tmp_path: Path) -> None:
    rows = database(tmp_path)
    rows.set_options({"disable_auto_compactions": "true"})
    for number in range(8):
        rows.put(b"a", b"%d" % number)
        rows.flush()
    assert rows.property_int_value("rocksdb.num-files-at-level0") == 8
    rows.set_options({"disable_auto_compactions": "false"})
    deadline = time.monotonic() + 60
    while rows.property_int_value("rocksdb.num-files-at-level0") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert rows.property_int_value("rocksdb.num-files-at-level0") == 0


def test_rocksdict_lets_go_of_the_folder_when_it_is_closed(tmp_path: Path) -> None:
    first = database(tmp_path)
    with pytest.raises(Exception, match="lock"):
        database(tmp_path)
    first.close()
    database(tmp_path).close()


def test_rocksdict_says_corruption_when_the_manifest_is_damaged(tmp_path: Path) -> None:
    first = database(tmp_path)
    first.put(b"a", b"1")
    first.close()
    for manifest in tmp_path.glob("MANIFEST-*"):
        manifest.write_bytes(b"not a manifest" * 100)
    with pytest.raises(Exception, match="Corruption"):
        database(tmp_path)
