"""What of aiokafka's own the publisher leans on."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import MessageAccumulator

from ingest_gateway.publisher import Pending


async def complaints(pending: set[Any]) -> list[dict[str, Any]]:
    """What asyncio is told of when a batch that was to be sent again fails."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    queue = MessageAccumulator(ClusterMetadata(), 1000, 0, 10)
    queue._pending_batches = pending
    partition = TopicPartition("topic", 0)
    sent = await queue.add_message(partition, None, b"value", 1)
    batch = queue._pop_batch(partition)
    queue.reenqueue(batch)
    batch.failure(KafkaTimeoutError())
    await asyncio.wait({sent})
    assert isinstance(sent.exception(), KafkaTimeoutError)
    batch._drain_waiter.exception()
    return told


async def test_a_batch_that_fails_after_a_retry_is_told_to_its_senders_and_leaves_no_traceback() -> None:
    assert await complaints(Pending()) == []


async def test_the_stock_set_would_leave_one() -> None:
    """When it no longer does, Pending can go."""
    assert await complaints(set()) != []
