"""Records as a consumer of the engine gets them, from a real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from faust.types import TP

from millrace.kafka import Broker
from streams.engine.consumer import ConsumerThread
from streams.engine.fetched import bare_records
from streams.engine.lineage import ends_of, epoch_at
from streams.engine.settings import EngineSettings

RECORDS = [(b"key %d" % number, None if number % 3 == 0 else b"row %d" % number) for number in range(50)]


async def publish(kafka: Broker, topic: str) -> None:
    """Several compressed batches; a tombstone has a header."""
    admin = AIOKafkaAdminClient(**kafka.kwargs)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(**kafka.kwargs, compression_type="snappy")
    await producer.start()
    for start in range(0, len(RECORDS), 20):
        batch = producer.create_batch()
        for key, row in RECORDS[start : start + 20]:
            headers = [("version", b"v" + key)] if row is None else []
            batch.append(key=key, value=row, timestamp=1_000, headers=headers)
        await (await producer.send_batch(batch, topic, partition=0))
    await producer.stop()


async def test_bare_records_are_those_of_the_stock_consumer_wherever_a_poll_stops_or_a_seek_goes(
    kafka: Broker, prefix: str
) -> None:
    topic, tp = f"{prefix}-fetched", TopicPartition(f"{prefix}-fetched", 0)
    await publish(kafka, topic)

    epochs = []

    async def read(*, bare: bool, start: int, limit: int | None) -> list[tuple[Any, ...]]:
        consumer = AIOKafkaConsumer(**kafka.kwargs, enable_auto_commit=False, max_poll_records=limit)
        await consumer.start()
        handed = bare_records(consumer) if bare else {}
        consumer.assign([tp])
        consumer.seek(tp, start)
        out: list[tuple[Any, ...]] = []
        while len(out) < len(RECORDS) - start:
            fetched = (await consumer.getmany(tp, timeout_ms=1000)).get(tp, ())
            out += [(found.offset, found.timestamp, found.key, found.value, tuple(found.headers)) for found in fetched]
            assert await consumer.position(tp) == out[-1][0] + 1
            if bare:
                epochs.append(epoch_at(handed[tp], out[-1][0]))
        await consumer.stop()
        return out

    stock = await read(bare=False, start=0, limit=None)
    assert [(key, row) for _, _, key, row, _ in stock] == RECORDS
    for start, limit in ((0, None), (0, 7), (27, 7), (49, 1)):
        assert await read(bare=True, start=start, limit=limit) == stock[start:]
    assert set(epochs) == {0}, "the topic had one leader, its first"


async def test_leaders_are_found_by_the_brokers_that_are_known_when_the_first_ones_are_away(
    kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    await publish(kafka, f"{prefix}-fetched")
    away = EngineSettings("app", "127.0.0.1:1", tmp_path, 1, request_timeout_s=3.0, session_timeout_s=3.0)
    assert await ends_of(away, f"{prefix}-fetched", {0: 0}, [kafka.bootstrap]) == {0: len(RECORDS)}
    with pytest.raises(KafkaError, match="nobody answers"):
        await ends_of(away, f"{prefix}-fetched", {0: 0})


async def test_a_fetch_ends_while_a_rebalance_goes_on(kafka: Broker, prefix: str) -> None:
    """It would hold up whoever moves positions, and the recovery with them."""
    topic = f"{prefix}-moving"
    await publish(kafka, topic)
    consumer = AIOKafkaConsumer(topic, **kafka.kwargs, group_id=prefix, auto_offset_reset="earliest")
    await consumer.start()
    thread: ConsumerThread = object.__new__(ConsumerThread)
    thread.consumer, thread._consumer = SimpleNamespace(flow_active=True), consumer
    partitions = {TP(topic, 0)}
    found = await thread._fetch_records(consumer, partitions, timeout=10.0, max_records=5)
    assert [record.offset for record in found[TP(topic, 0)]] == [0, 1, 2, 3, 4]
    assert not thread.moves()
    consumer._subscription.begin_reassignment()
    assert thread.moves()
    assert await asyncio.wait_for(thread._fetch_records(consumer, partitions, timeout=0.1, max_records=5), 60) == {}
    await consumer.stop()
