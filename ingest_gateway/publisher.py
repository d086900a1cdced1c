"""Messages to Kafka: whole batches of many requests, an acknowledgement for each request.

A batch is built for each (topic, partition) of a round, so that Kafka's cost is paid by the round and not by the
record. The producer is idempotent and waits for all in-sync replicas. A producer that failed may have lost its place in
the sequence; it is replaced, and what it had not acknowledged is answered as unknown: the client sends it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from ingest_gateway.errors import Busy
from ingest_gateway.metrics import GatewayMetrics
from schemas.otlp import Message
from schemas.topics import full_name, partition_for

logger = logging.getLogger(__name__)

BATCH_BYTES = 512 * 1024
"""Largest batch of several messages; half of what the topics take, so that headers and a late resize fit."""
_RETRY_S = 0.5


class TooLarge(KafkaError):  # type: ignore[misc]  # aiokafka ships no annotations
    """Kafka takes less than the topics' catalogue says: one message alone was refused for its size."""


class Publisher:
    """Owns the producer.

    Args:    kafka: aiokafka's keyword arguments.  partitions: of every topic, by short name.
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
    ) -> None:
        self._kafka = dict(kafka)
        self._topics = {name: full_name(prefix, name) for name in partitions}
        self._partitions = partitions
        self._metrics = metrics
        self._request_timeout_ms = round(request_timeout_s * 1000)
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

    async def publish(self, groups: Sequence[Sequence[Message]]) -> list[BaseException | None]:
        """Send the messages of several requests.

        Returns: for each group None when Kafka has acknowledged all of its messages, else why it may not have.
        """
        outcomes: list[BaseException | None] = [None] * len(groups)
        producer = self._producer
        if producer is None:
            return [Busy("Kafka is not connected", retry_after_s=self._retry_after_s)] * len(groups)
        batches = self._batches(producer, groups)
        results = await asyncio.gather(
            *(self._send_all(producer, place, parts) for place, parts in batches.items()), return_exceptions=False
        )
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
                topic, key, value, headers, partition_key = message
                place = (topic, partition_for(partition_key, self._partitions[topic]))
                parts = batches.get(place)
                if parts is None:
                    parts = batches[place] = [(producer.create_batch(), [])]
                batch, members = parts[-1]
                if batch.append(timestamp=now_ms, key=key or None, value=value, headers=list(headers)) is None:
                    batch, members = producer.create_batch(), []
                    parts.append((batch, members))
                    batch.append(timestamp=now_ms, key=key or None, value=value, headers=list(headers))
                members.append((index, message))
        return batches

    async def _send_all(
        self, producer: AIOKafkaProducer, place: tuple[str, int], parts: list[tuple[Any, list[tuple[int, Message]]]]
    ) -> list[tuple[int, BaseException]]:
        """Send the batches of one partition, one after the other."""
        failures: list[tuple[int, BaseException]] = []
        for batch, members in parts:
            error = await self._send(producer, place, batch)
            if isinstance(error, MessageSizeTooLargeError):
                failures += await self._send_apart(producer, place, members)
            elif error is not None:
                failures += [(index, error) for index, _ in members]
            else:
                self._metrics.published(place[0], len(members))
        return failures

    async def _send_apart(
        self, producer: AIOKafkaProducer, place: tuple[str, int], members: list[tuple[int, Message]]
    ) -> list[tuple[int, BaseException]]:
        """Each message of a batch that was too large in a batch of its own."""
        failures: list[tuple[int, BaseException]] = []
        for index, message in members:
            batch = producer.create_batch()
            now_ms = time.time_ns() // 1_000_000
            batch.append(timestamp=now_ms, key=message.key or None, value=message.value, headers=list(message.headers))
            error = await self._send(producer, place, batch)
            if isinstance(error, MessageSizeTooLargeError):
                failures.append((index, TooLarge(f"{len(message.value)} bytes are too large for {place[0]}")))
            elif error is not None:
                failures.append((index, error))
        return failures

    async def _send(self, producer: AIOKafkaProducer, place: tuple[str, int], batch: Any) -> BaseException | None:
        batch.close()
        topic, partition = place
        try:
            acknowledged = await producer.send_batch(batch, self._topics[topic], partition=partition)
            await acknowledged
        except MessageSizeTooLargeError as error:
            refused: BaseException = error
            return refused
        except (KafkaError, OSError, ValueError, AssertionError) as error:
            self._failed(producer, error)
            return Busy(f"Kafka did not acknowledge: {type(error).__name__}", retry_after_s=self._retry_after_s)
        return None

    # -- replacing a producer -------------------------------------------------------------------------------------
    def _failed(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        self.last_error = f"{type(error).__name__}: {error}"
        if producer is not self._producer:
            return
        logger.warning("the producer failed (%s) and is replaced", self.last_error)
        self._producer = None
        self._metrics.producer_restarted()
        retired = asyncio.create_task(self._retire(producer))
        self._retired.add(retired)
        retired.add_done_callback(self._retired.discard)
        self._replacing = asyncio.create_task(self._replace())

    async def _retire(self, producer: AIOKafkaProducer) -> None:
        with suppress(KafkaError, OSError, asyncio.TimeoutError):
            await asyncio.wait_for(producer.stop(), 2 * self._request_timeout_ms / 1000)

    async def _replace(self) -> None:
        while True:
            try:
                self._producer = await self._connect()
            except (KafkaError, OSError) as error:
                self.last_error = f"{type(error).__name__}: {error}"
                await asyncio.sleep(_RETRY_S)
            else:
                logger.info("a new producer is connected")
                return

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._kafka,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=self._request_timeout_ms,
            metadata_max_age_ms=60_000,
        )
        try:
            await producer.start()
        except BaseException:
            with suppress(KafkaError, OSError):
                await producer.stop()
            raise
        return producer
