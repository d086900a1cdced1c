"""Messages to Kafka: whole batches of many requests, an acknowledgement for each request.

A batch is built for each (topic, partition) of a round, so that Kafka's cost is paid by the round and not by the
record. The producer is idempotent and waits for all in-sync replicas. A producer that failed has lost its place in the
sequence, and Kafka refuses whatever comes after the hole: it is replaced, and what it had not acknowledged is answered
as unknown, so that the client sends it again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from ingest_gateway.errors import Busy
from ingest_gateway.metrics import GatewayMetrics
from schemas import cloudevents
from schemas.otlp import Message
from schemas.topics import full_name, partition_for

logger = logging.getLogger(__name__)

BATCH_BYTES = 512 * 1024
"""Largest batch of several messages; half of what the topics take, so that headers and a late resize fit."""
_RETRY_S = 0.5


class TooLarge(KafkaError):  # type: ignore[misc]  # aiokafka ships no annotations
    """Kafka refuses a batch for its size: it takes less than the topics' catalogue says."""


class Publisher:
    """Owns the producer.

    Args:    kafka: aiokafka's keyword arguments.  partitions: of every topic, by short name.
             cloud_events: whether messages get the headers of CloudEvents.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        prefix: str,
        partitions: Mapping[str, int],
        metrics: GatewayMetrics,
        *,
        request_timeout_s: float,
        retry_after_s: float,
        cloud_events: bool = False,
    ) -> None:
        self._kafka = dict(kafka)
        self._prefix = prefix
        self._cloud_events = cloud_events
        self._topics = {name: full_name(prefix, name) for name in partitions}
        # murmur2 in Python costs as much as a seventh of a record's decoding, and sessions come again.
        self._place = functools.lru_cache(maxsize=16_384)(
            lambda topic, key: (topic, partition_for(key, partitions[topic]))
        )
        self._metrics = metrics
        self._request_timeout_s = request_timeout_s
        self._retry_after_s = retry_after_s
        self._producer: AIOKafkaProducer | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self.last_error: str | None = None

    @property
    def ready(self) -> bool:
        return self._producer is not None

    async def start(self) -> None:
        """Connect. Raises: KafkaError, OSError."""
        self._producer = await self._connect()

    async def stop(self) -> None:
        """Flush what is queued and disconnect."""
        if self._replacing is not None:
            self._replacing.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
        for task in list(self._retired):
            task.cancel()

    async def connected(self) -> None:
        """Wait while a producer is being replaced, though not for ever."""
        if self._replacing is not None:
            await asyncio.wait({self._replacing}, timeout=self._request_timeout_s)

    async def publish(self, groups: Sequence[Sequence[Message]]) -> list[Exception | None]:
        """Send the messages of several requests.

        Returns: for each group None when Kafka has acknowledged all of its messages, else why it may not have.
        """
        outcomes: list[Exception | None] = [None] * len(groups)
        producer = self._producer
        if producer is None:
            return [self._away()] * len(groups)
        if self._cloud_events:
            groups = [cloudevents.with_headers(group, self._prefix) for group in groups]
        batches = self._batches(producer, groups)
        results = await asyncio.gather(*(self._send_all(producer, place, parts) for place, parts in batches.items()))
        for failures in results:
            for index, error in failures:
                outcomes[index] = outcomes[index] or error
        return outcomes

    def _batches(
        self, producer: AIOKafkaProducer, groups: Sequence[Sequence[Message]]
    ) -> dict[tuple[str, int], list[tuple[Any, list[tuple[int, Message]]]]]:
        """(topic, partition) → [(batch, [(index of the group, message)])], in the order of the requests."""
        now_ms = time.time_ns() // 1_000_000
        batches: dict[tuple[str, int], list[tuple[Any, list[tuple[int, Message]]]]] = {}
        for index, group in enumerate(groups):
            for message in group:
                place = self._place(message.topic, message.partition_key)
                parts = batches.get(place)
                if parts is None:
                    parts = batches[place] = [(producer.create_batch(), [])]
                batch, members = parts[-1]
                if not _append(batch, message, now_ms):
                    batch, members = producer.create_batch(), []
                    parts.append((batch, members))
                    _append(batch, message, now_ms)
                members.append((index, message))
        return batches

    async def _send_all(
        self, producer: AIOKafkaProducer, place: tuple[str, int], parts: list[tuple[Any, list[tuple[int, Message]]]]
    ) -> list[tuple[int, Exception]]:
        """Send the batches of one partition, one after the other."""
        failures: list[tuple[int, Exception]] = []
        for batch, members in parts:
            error = await self._send(producer, place, batch)
            if isinstance(error, TooLarge):
                failures += await self._send_apart(place, members)
            elif error is not None:
                failures += [(index, error) for index, _ in members]
            else:
                self._metrics.published(place[0], len(members))
        return failures

    async def _send_apart(
        self, place: tuple[str, int], members: list[tuple[int, Message]]
    ) -> list[tuple[int, Exception]]:
        """Each message of a batch that was too large in a batch of its own."""
        failures: list[tuple[int, Exception]] = []
        for index, message in members:
            await self.connected()
            if (producer := self._producer) is None:
                failures.append((index, self._away()))
                continue
            batch = producer.create_batch()
            _append(batch, message, time.time_ns() // 1_000_000)
            error = await self._send(producer, place, batch)
            if error is not None:
                failures.append((index, error))
            else:
                self._metrics.published(place[0], 1)
        return failures

    async def _send(self, producer: AIOKafkaProducer, place: tuple[str, int], batch: Any) -> Exception | None:
        batch.close()
        topic, partition = place
        try:
            # The client tries again for ever, to keep its place in the sequence; we do not wait as long.
            async with asyncio.timeout(self._request_timeout_s):
                await (await producer.send_batch(batch, self._topics[topic], partition=partition))
        except MessageSizeTooLargeError as error:
            self._failed(producer, error)
            return TooLarge(f"{batch.size()} bytes are too large for Kafka's topic {topic}")
        except (KafkaError, OSError, ValueError, AssertionError) as error:
            self._failed(producer, error)
            return Busy(f"Kafka did not acknowledge: {type(error).__name__}", retry_after_s=self._retry_after_s)
        return None

    def _away(self) -> Busy:
        return Busy("Kafka is not connected; send it again", retry_after_s=self._retry_after_s)

    # -- replacing a producer -------------------------------------------------------------------------------------
    def _failed(self, producer: AIOKafkaProducer, error: Exception) -> None:
        if producer is not self._producer:
            return  # a round that was still waiting for it
        self.last_error = _words(error)
        logger.warning("the producer failed (%s) and is replaced", self.last_error)
        self._producer = None
        self._metrics.producer_restarted()
        retired = asyncio.create_task(self._retire(producer))
        self._retired.add(retired)
        retired.add_done_callback(self._retired.discard)
        self._replacing = asyncio.create_task(self._replace())

    async def _retire(self, producer: AIOKafkaProducer) -> None:
        """Let it deliver what it can; what it still has after that, nobody waits for any more."""
        for batch in _held(producer):  # some fail before the end, without a leader; asyncio need not complain of them
            batch._drain_waiter.add_done_callback(_seen)
        stopping = asyncio.create_task(producer.stop())
        await asyncio.wait({stopping}, timeout=self._request_timeout_s)
        if not stopping.done():
            producer._sender.sender_task.cancel()
            await asyncio.wait({stopping}, timeout=2 * self._request_timeout_s)
        # Also after a good end: a batch that waited for its turn is still taken in, and never sent.
        _abandon(producer)
        await asyncio.gather(stopping, return_exceptions=True)

    async def _replace(self) -> None:
        while True:
            try:
                self._producer = await self._connect()
            except (KafkaError, OSError) as error:
                self.last_error = _words(error)
                await asyncio.sleep(_RETRY_S)
            else:
                logger.info("a new producer is connected")
                return

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._kafka,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=round(self._request_timeout_s * 1000),
            metadata_max_age_ms=60_000,
        )
        producer._message_accumulator._pending_batches = Pending()
        try:
            await producer.start()
        except BaseException:
            with suppress(KafkaError, OSError):
                await producer.stop()
            raise
        return producer


class Pending(set[Any]):
    """Batches on their way. aiokafka takes one that is to be sent again out, and once more if that fails."""

    def remove(self, batch: Any) -> None:
        """As discard: the second time would be a traceback in the log, of what its senders are told anyway."""
        self.discard(batch)


def _append(batch: Any, message: Message, now_ms: int) -> bool:
    """Whether the batch still had room. A batch takes its first message whatever its size."""
    appended = batch.append(
        timestamp=now_ms, key=message.key or None, value=message.value, headers=list(message.headers)
    )
    return appended is not None


def _abandon(producer: AIOKafkaProducer) -> None:
    """Fail what a stopped producer still holds; aiokafka has no public way, and its senders would wait for ever."""
    left = _held(producer)
    producer._message_accumulator.fail_all(KafkaTimeoutError())
    for batch in left:
        _seen(batch._drain_waiter)


def _held(producer: AIOKafkaProducer) -> list[Any]:
    """The batches that a producer has not sent."""
    queue = producer._message_accumulator
    return [*itertools.chain.from_iterable(queue._batches.values()), *queue._pending_batches]


def _seen(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it: say to asyncio that its exception was looked at."""
    if future.done() and not future.cancelled():
        future.exception()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error) or 'Kafka did not answer'}"
