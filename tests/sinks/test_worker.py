"""The worker between a real Kafka and a fake sink."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from millrace.kafka import Broker
from schemas.topics import CATALOGUE, full_name
from service.cluster import ensure_topics
from sinks.errors import IdentityMismatch, OffsetPastEnd, RecordsExpired, StoreUnavailable, TableMismatch
from sinks.metrics import SinkMetrics
from sinks.protocol import Offset
from sinks.source import Source, find
from sinks.worker import Batching, Worker
from tests.sinks.fake import FakeSink, FakeStore
from tests.sinks.records import encoded, event, ids, session, versions

AT_ONCE = Batching(records_max=5000, bytes_max=1 << 20, interval_s=0.05, eager=True)
NEVER = Batching(records_max=1_000_000, bytes_max=1 << 30, interval_s=3600, eager=False)


@pytest.fixture
async def source(kafka: Broker, prefix: str) -> Source:
    connection = {"bootstrap_servers": kafka.bootstrap}
    await ensure_topics(connection, [CATALOGUE[name] for name in FakeSink.topics], prefix, "local")
    return await find(connection, prefix, FakeSink.topics)


async def publish(source: Source, topic: str, values: Iterable[dict[str, Any]], partition: int = 0) -> None:
    async with AIOKafkaProducer(**source.kafka) as producer:
        sent = []
        for value in values:
            key, data = encoded(topic, value)
            sent.append(await producer.send(source.full_name(topic), data, key=key, partition=partition))
        await asyncio.gather(*sent)


async def delete_before(source: Source, topic: str, offset: int, partition: int = 0) -> None:
    """Expire records, as retention does."""
    admin = AIOKafkaAdminClient(**source.kafka)
    await admin.start()
    place = TopicPartition(source.full_name(topic), partition)
    await admin.delete_records({place: RecordsToDelete(before_offset=offset)})
    await admin.close()


def worker_of(
    sink: FakeSink, source: Source, batching: Batching = AT_ONCE, metrics: SinkMetrics | None = None, **more: Any
) -> Worker:
    return Worker(sink, source, batching, metrics=metrics or SinkMetrics(), **more)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        async with asyncio.timeout(10):
            await task


async def until(true: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def event_ids(sink: FakeSink) -> list[str]:
    return sorted(sink.store.events)


async def test_every_partition_of_every_topic_reaches_the_sink(source: Source) -> None:
    for partition in range(4):
        await publish(source, "events", [event(10 * partition + n) for n in range(3)], partition)
    await publish(source, "sessions", [session(1, 4), session(1, 9)], 2)
    sink = FakeSink()
    async with running(worker_of(sink, source)):
        await until(lambda: len(sink.store.events) == 12 and "session-1" in sink.store.sessions)
    assert event_ids(sink) == ids(10 * p + n for p in range(4) for n in range(3))
    assert versions(list(sink.store.sessions.values())) == {"session-1": 9}
    assert sink.store.offsets["events", 3] == source.identity.offset("events", 3)
    assert sink.closed == 1


async def test_it_starts_where_the_sink_ends_and_not_where_the_group_does(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(10)])
    sink = FakeSink(FakeStore(offsets={("events", 0): source.identity.offset("events", 7)}))
    async with running(worker_of(sink, source)):
        await until(lambda: len(sink.store.events) == 3)
    assert event_ids(sink) == ids([7, 8, 9])
    # Once more from nothing, though the group's offsets say that all was read.
    again = FakeSink()
    async with running(worker_of(again, source)):
        await until(lambda: len(again.store.events) == 10)


async def test_the_group_shows_what_is_stored(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(5)])
    sink = FakeSink()
    async with running(worker_of(sink, source)):
        await until(lambda: len(sink.store.events) == 5)
    place = TopicPartition(source.full_name("events"), 0)
    async with AIOKafkaConsumer(**source.kafka, group_id=f"{source.prefix}-sinks-fake") as consumer:
        assert await consumer.committed(place) == 5


async def test_a_record_after_a_quiet_time_is_written_at_once(source: Source) -> None:
    sink = FakeSink()
    async with running(worker_of(sink, source, Batching(5000, 1 << 20, 0.25, eager=True))) as worker:
        await until(lambda: worker.consuming)
        await asyncio.sleep(0.5)
        await publish(source, "events", [event(1)])
        sent = time.monotonic()
        await until(lambda: bool(sink.store.events))
        assert time.monotonic() - sent < 1.0


async def test_what_waits_is_written_together_after_the_interval(source: Source) -> None:
    sink = FakeSink()
    async with running(worker_of(sink, source, Batching(5000, 1 << 20, 1.5, eager=False))):
        for number in range(4):
            await publish(source, "events", [event(number)])
        await until(lambda: bool(sink.store.events))
        assert event_ids(sink) == ids(range(4))
        assert len(sink.written) == 1


@pytest.mark.parametrize(
    "full", [Batching(50, 1 << 30, 3600, eager=False), Batching(1_000_000, 2_000, 3600, eager=False)]
)
async def test_a_full_batch_does_not_wait_for_its_interval(source: Source, full: Batching) -> None:
    await publish(source, "events", [event(n) for n in range(100)])
    sink = FakeSink()
    async with running(worker_of(sink, source, full)):
        await until(lambda: bool(sink.written))


async def test_stopping_writes_what_was_read(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(30)])
    sink = FakeSink()
    async with running(worker_of(sink, source, NEVER)) as worker:
        await until(lambda: worker.state()["waiting_records"] == 30)
        assert sink.written == []
    assert event_ids(sink) == ids(range(30))


async def test_what_may_succeed_is_tried_again_until_it_does(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(5)])
    sink, metrics = FakeSink(), SinkMetrics()
    sink.open_failures = [StoreUnavailable("fake", "locked", retry_after_s=0.01)]
    sink.write_failures = [StoreUnavailable("fake", f"no {n}", retry_after_s=0.01) for n in range(3)]
    async with running(worker_of(sink, source, metrics=metrics)) as worker:
        await until(lambda: len(sink.store.events) == 5)
        assert worker.last_error is None
    assert metrics.value("sinks_retries_total", sink="fake", reason="StoreUnavailable") == 4
    assert metrics.value("sinks_records_total", sink="fake", topic="events") == 5


async def test_stopping_does_not_wait_for_a_store_that_is_away(source: Source) -> None:
    await publish(source, "events", [event(1)])
    sink = FakeSink()
    sink.write_failures = [StoreUnavailable("fake", "away", retry_after_s=60.0) for _ in range(9)]
    async with running(worker_of(sink, source)) as worker:
        await until(lambda: worker.last_error is not None)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert sink.store.events == {}


async def test_what_cannot_succeed_stops_the_worker(source: Source) -> None:
    await publish(source, "events", [event(1)])
    sink = FakeSink()
    sink.write_failures = [TableMismatch("fake", "events", "no such column")]
    with pytest.raises(TableMismatch):
        await worker_of(sink, source).run()
    assert sink.closed == 1


async def test_more_stored_than_kafka_has_is_refused(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(5)])
    sink = FakeSink(FakeStore(offsets={("events", 0): source.identity.offset("events", 9)}))
    with pytest.raises(OffsetPastEnd, match="4 stored records are not in Kafka"):
        await worker_of(sink, source).run()


async def test_another_topics_offsets_are_refused(source: Source) -> None:
    sink = FakeSink(FakeStore(offsets={("events", 0): Offset(source.identity.cluster_id, "an older topic", 0)}))
    with pytest.raises(IdentityMismatch):
        await worker_of(sink, source).run()


async def test_records_that_expired_unread_are_refused_with_their_number(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(10)])
    await delete_before(source, "events", 6)
    sink = FakeSink(FakeStore(offsets={("events", 0): source.identity.offset("events", 2)}))
    with pytest.raises(RecordsExpired, match="4 records expired unread") as caught:
        await worker_of(sink, source).run()
    assert caught.value.lost == 4


async def test_a_permitted_gap_is_counted_and_passed(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(10)])
    await delete_before(source, "events", 6)
    sink = FakeSink(FakeStore(offsets={("events", 0): source.identity.offset("events", 2)}))
    metrics = SinkMetrics()
    async with running(worker_of(sink, source, metrics=metrics, allow_gaps=True)):
        await until(lambda: len(sink.store.events) == 4)
    assert event_ids(sink) == ids(range(6, 10))
    assert sink.store.offsets["events", 0] == source.identity.offset("events", 10)
    assert metrics.value("sinks_expired_total", sink="fake", topic="events") == 4


async def test_records_that_expired_before_the_first_start_are_no_gap(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(10)])
    await delete_before(source, "events", 6)
    sink = FakeSink()
    async with running(worker_of(sink, source)):
        await until(lambda: len(sink.store.events) == 4)


async def test_records_that_expire_under_its_hands_stop_the_worker(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(5)])
    sink = FakeSink()
    worker = worker_of(sink, source)
    task = asyncio.create_task(worker.run())
    await until(lambda: len(sink.store.events) == 5)
    assert worker._consumer is not None
    # As after a long pause of this process: Kafka has gone on without it.
    place = TopicPartition(source.full_name("events"), 0)
    worker._consumer.pause(place)
    await asyncio.sleep(0.6)  # the fetch that is under way
    await publish(source, "events", [event(n) for n in range(5, 9)])
    await delete_before(source, "events", 9)
    worker._consumer.resume(place)
    with pytest.raises(RecordsExpired, match="4 records"):
        await asyncio.wait_for(task, 15)


async def test_a_topic_made_anew_under_its_hands_stops_the_worker(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(5)])
    sink = FakeSink()
    task = asyncio.create_task(worker_of(sink, source).run())
    await until(lambda: len(sink.store.events) == 5)
    admin = AIOKafkaAdminClient(**source.kafka)
    await admin.start()
    await admin.delete_topics([source.full_name("events")])
    await admin.close()
    await asyncio.sleep(0.5)
    await ensure_topics(source.kafka, [CATALOGUE["events"]], source.prefix, "local")
    with pytest.raises(IdentityMismatch, match="another topic"):
        await asyncio.wait_for(task, 20)


async def test_lag_is_what_is_not_durable(source: Source) -> None:
    events, sessions = source.full_name("events"), source.full_name("sessions")
    await publish(source, "events", [event(n) for n in range(8)])
    await publish(source, "events", [event(n) for n in range(8, 10)], 1)
    metrics = SinkMetrics()
    sink = FakeSink()
    async with running(worker_of(sink, source, NEVER, metrics)) as worker:
        await until(lambda: worker.state()["waiting_records"] == 10)
        assert worker.lag() == {events: 10, sessions: 0}
        assert metrics.value("sinks_lag_records", sink="fake", topic="events") == 10
    sink = FakeSink(sink.store)
    async with running(worker_of(sink, source)) as worker:
        await until(lambda: worker.consuming)
        assert worker.lag() == {events: 0, sessions: 0}
        await publish(source, "sessions", [session(1, 1)])
        await until(lambda: bool(sink.store.sessions))
        assert worker.lag() == {events: 0, sessions: 0}


async def test_the_lag_of_a_sink_that_is_stuck_in_writing_grows(source: Source) -> None:
    await publish(source, "events", [event(n) for n in range(3)])
    sink, stuck = FakeSink(), asyncio.Event()

    async def hang(_: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    sink.write = hang  # type: ignore[method-assign, assignment]
    worker = worker_of(sink, source)
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(stuck.wait(), 20)
    await publish(source, "events", [event(n) for n in range(3, 10)])
    await until(lambda: worker.lag()[source.full_name("events")] == 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_names_are_those_of_the_catalogue(source: Source) -> None:
    assert source.full_name("events") == full_name(source.prefix, "events")
    assert source.partitions == {"events": 4, "sessions": 4}
