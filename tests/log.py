"""What Kafka holds: a whole topic, read by a consumer without a group."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


async def whole_topic(bootstrap: str, topic: str) -> list[Any]:
    """All records (aiokafka's ConsumerRecord) up to the ends of now, in log order within each partition."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)])
        found: list[Any] = []
        for tp, end in ends.items():
            while await consumer.position(tp) < end:
                got = await consumer.getmany(tp, timeout_ms=500)
                found += [record for record in got.get(tp, ()) if record.offset < end]
        return found
    finally:
        await consumer.stop()
