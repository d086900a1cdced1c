"""Settings, chunks, and the lease."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.types import TP

from streams.engine import Chunk, EngineSettings, Record
from streams.engine.chunk import records_of
from streams.engine.consumer import looked_at
from streams.engine.errors import RecoveryStuck
from streams.engine.lease import Lease, guard_producer
from streams.engine.recovery import Progress, Standby, Standbys
from streams.engine.table import source_end

SETTINGS: dict[str, Any] = {"app_id": "app", "bootstrap": "h:1", "datadir": Path("d"), "partitions": 4}


def test_an_epoch_above_one_has_a_group_of_its_own() -> None:
    assert EngineSettings(**SETTINGS).group == "app"
    assert EngineSettings(**SETTINGS, epoch=2).group == "app-e2"


def test_faults_of_settings_are_told_together() -> None:
    with pytest.raises(ValueError, match=r"epoch must be.*chunk_records must be.*session_timeout_s must be"):
        EngineSettings(**SETTINGS, epoch=0, chunk_records=0, session_timeout_s=1)


def test_absent_keys_and_values_are_empty_bytes() -> None:
    fetched = [
        SimpleNamespace(offset=7, timestamp=1_000, key=b"k", value=b"v"),
        SimpleNamespace(offset=8, timestamp=1_001, key=None, value=None),
    ]
    assert records_of(fetched) == [Record(7, 1_000, b"k", b"v"), Record(8, 1_001, b"", b"")]


def test_what_is_left_of_a_chunk_follows_its_first_part() -> None:
    records = [Record(offset, 0, b"", b"") for offset in (5, 6, 9)]
    chunk = Chunk("t", 2, records, follows=4, seek=3, leader_epoch=7)
    assert chunk.split(None) == (chunk, None)
    first, left = chunk.split(8)
    assert left is not None
    assert (first.follows, first.records, first.leader_epoch) == (4, records[:2], -1)
    assert (left.follows, left.records, left.leader_epoch) == (7, records[2:], 7)
    assert (left.topic, left.partition, left.seek) == ("t", 2, 3)
    for offset in (5, 10):
        with pytest.raises(ValueError, match="no records on both sides"):
            chunk.split(offset)


def test_a_standby_is_ready_from_when_it_had_all_that_there_was_at_first() -> None:
    progress = Progress()
    assert progress.at(5) == Standby(None, False), "the end is not known"
    progress.note_end(100)
    assert progress.at(None) == Standby(None, False)
    assert progress.at(98) == Standby(1, False)
    progress.note_end(150)
    assert progress.at(99) == Standby(50, True)
    progress.note_end(1_000)
    assert progress.at(99) == Standby(900, True)


@pytest.mark.parametrize(("highwater", "end"), [(None, 8), (7, 8), (8, 8), (20, 20)])
def test_a_record_that_was_read_is_there_whatever_high_watermark_came_with_it(highwater: int | None, end: int) -> None:
    assert source_end(highwater, last=7) == end


def test_a_chunk_knows_its_offsets() -> None:
    chunk = Chunk("t", 2, [Record(7, 0, b"", b""), Record(9, 0, b"", b"")], follows=7, seek=1)
    assert (chunk.first_offset, chunk.last_offset, len(chunk)) == (7, 9, 2)


class Clock:
    """The lease's clock, set by the test."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_runs_from_the_moment_the_heartbeat_was_sent() -> None:
    clock = Clock()
    lease = Lease(5.0, clock=clock)
    assert not lease.expired  # before the first heartbeat there is nothing to lose
    lease.renew(100.0)
    clock.now = 105.0
    assert not lease.expired
    clock.now = 105.1
    assert lease.expired


class Recovering(Standbys):
    """A recovery of generation 0.  moves: the group gives out its partitions anew.  generation: of the consumer."""

    def __init__(self, *, moves: bool = False, generation: int = 0) -> None:
        consumer, conf = SimpleNamespace(moves=lambda: moves), SimpleNamespace(stream_recovery_delay=0)
        super().__init__(SimpleNamespace(consumer=consumer, conf=conf, consumer_generation_id=generation), None)


async def test_a_recovery_that_kafka_leaves_without_an_answer_is_an_error_and_no_stop() -> None:
    with pytest.raises(RecoveryStuck, match=r"did not answer within 0\.01 s"):
        await Recovering()._wait(asyncio.Event().wait(), timeout=0.01)
    for moving in (Recovering(moves=True), Recovering(generation=1)):
        with pytest.raises(RebalanceAgain):
            await moving._wait(asyncio.Event().wait(), timeout=0.01)
    stopped = Recovering()
    await stopped.stop()
    with pytest.raises(ServiceStopped):
        await stopped._wait(asyncio.Event().wait(), timeout=0.01)


async def test_a_standby_begins_where_its_rows_end_and_not_in_the_middle_of_a_fetch() -> None:
    """A fetch moves positions when it ends: one set meanwhile would go on over records that were never applied."""
    sought: dict[TP, int] = {}

    async def seek_wait(offsets: dict[TP, int]) -> None:
        sought.update(offsets)

    consumer, changelog = SimpleNamespace(moving=asyncio.Lock(), seek_wait=seek_wait), TP("changelog", 0)
    async with consumer.moving:
        seeking = asyncio.ensure_future(
            Recovering()._seek_offsets(consumer, {changelog}, Counter({changelog: 7}), "standby")
        )
        await asyncio.sleep(0.01)
        assert not sought
    await seeking
    assert sought == {changelog: 7}


@pytest.mark.parametrize(("code", "moved"), [(16, True), (15, True), (14, False), (30, False), (0, False)])
async def test_an_answer_about_offsets_that_is_an_error_is_not_taken_for_none_committed(code: int, moved: bool) -> None:
    """aiokafka reads the partitions alone, and there are none in it."""
    dead: list[bool] = []

    async def send(request: object) -> object:
        return OffsetFetchResponse_v3(throttle_time_ms=0, topics=[], error_code=code)

    sent = looked_at(send, lambda: dead.append(True))
    if code:
        with pytest.raises(KafkaError) as error:
            await sent(None)
        assert (error.value.errno, bool(dead)) == (code, moved)
    else:
        assert (await sent(None)).error_code == 0


class ProduceRequest:
    pass


class MetadataRequest:
    pass


async def test_no_produce_request_leaves_on_an_expired_lease() -> None:
    clock, left = Clock(), []

    async def send(node_id: int, request: object) -> None:
        left.append(type(request).__name__)

    producer = SimpleNamespace(client=SimpleNamespace(send=send))
    lease, expired = Lease(5.0, clock=clock), []
    guard_producer(producer, lease, lambda: expired.append(True))
    lease.renew(100.0)
    await producer.client.send(1, ProduceRequest())
    clock.now = 106.0
    await producer.client.send(1, MetadataRequest())
    with pytest.raises(ConnectionError):
        await producer.client.send(1, ProduceRequest())
    assert (left, expired) == (["ProduceRequest", "MetadataRequest"], [True])
