"""What Kafka holds: a whole topic, read by a consumer without a group; topics that tell of the past."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.topics import CATALOGUE, Topic


def topics_of_the_past() -> list[Topic]:
    """The catalogue, with sources that keep whatever time their producer says, as if it had been so."""
    as_told = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    sources = {
        name: replace(CATALOGUE[name], config={**CATALOGUE[name].config, **as_told}) for name in ("events", "metrics")
    }
    return list({**CATALOGUE, **sources}.values())


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
