"""Everything that leaves the worker: whole batches, and the knowledge of what Kafka has acknowledged."""

from __future__ import annotations

import asyncio
import functools
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from streams.engine.chunk import Output
from streams.engine.errors import RowTooLarge, SendFailed

Headers = list[tuple[str, bytes]]
Message = tuple[bytes, bytes | None, Headers]
"""(key, value or None, headers)."""
NO_HEADERS: Headers = []

_RECORD_OVERHEAD_BYTES = 100
"""More than a record's own lengths and a batch's header take (21 + 61 bytes)."""


_M, _U32 = 0x5BD1E995, 0xFFFFFFFF
_WORDS = [struct.Struct(f"<{count}I") for count in range(64)]


@functools.lru_cache(maxsize=1 << 16)
def _hash(key: bytes) -> int:
    """Kafka's murmur2, without the sign.

    Source: org.apache.kafka.common.utils.Utils.murmur2. aiokafka's copy goes byte by byte and takes 7 µs for the key
    of a session, a fourth of what a cold row of few sums costs; this takes 3. Live keys are remembered.
    """
    size = len(key)
    count = size >> 2
    words = _WORDS[count] if count < len(_WORDS) else struct.Struct(f"<{count}I")
    hashed = 0x9747B28C ^ size
    for word in words.unpack_from(key):
        word = word * _M & _U32
        hashed = (hashed * _M ^ (word ^ word >> 24) * _M) & _U32
    if rest := key[count << 2 :]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * _M & _U32
    hashed = (hashed ^ hashed >> 13) * _M & _U32
    return (hashed ^ hashed >> 15) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner (murmur2) gives a key."""
    return _hash(key) % partitions


def _fill(batch: Any, messages: Sequence[Message]) -> int:
    """Put as many messages into an empty batch as it takes, at least one; returns how many.

    Straight to the compiled builder: BatchBuilder.append costs as much again for every message.
    """
    append, now_ms = batch._builder.append, int(time.time() * 1000)
    for number, (key, value, headers) in enumerate(messages):
        if append(number, now_ms, key, value, headers) is None:  # full
            batch._relative_offset = number
            return number
    batch._relative_offset = len(messages)
    return len(messages)


class Sent(NamedTuple):
    """A batch under way.  acknowledged: resolves to its metadata, with the offset of the first record."""

    acknowledged: asyncio.Future[Any]
    records: int


class Outbox:
    """Sends batches through one AIOKafkaProducer and fails the worker if one is not acknowledged."""

    def __init__(self, producer: Callable[[], Any], fatal: Callable[[BaseException], None], batch_bytes: int) -> None:
        """producer: gives the started AIOKafkaProducer.  fatal: ends the worker."""
        self._producer = producer
        self._fatal = fatal
        self.limit = batch_bytes - _RECORD_OVERHEAD_BYTES
        self._pending: set[asyncio.Future[Any]] = set()
        self.sent = 0

    async def emit(
        self,
        topic: str,
        partitions: int,
        items: Iterable[Output | tuple[bytes, bytes | None, bytes]],
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Hand messages to Kafka, in order within each partition. Returns before they are acknowledged: see settle."""
        common: Headers = list(headers)
        by_partition: dict[int, list[Message]] = {}
        for item in items:
            own = item[3] if len(item) > 3 else ()
            partition = _hash(item[2]) % partitions
            message = (item[0], item[1], [*common, *own] if own else common)
            try:
                by_partition[partition].append(message)
            except KeyError:
                by_partition[partition] = [message]
        for partition, messages in by_partition.items():
            await self.send(topic, partition, messages, name=topic)

    async def send(self, topic: str, partition: int, messages: Iterable[Message], *, name: str) -> list[Sent]:
        """Send messages to one partition in this order; returns what to wait for, one a batch.

        Waits until what was sent to the partition before has left the process, so that one batch at most is queued and
        one under way: memory stays bounded.
        Args:   name: what to call the destination in an error.
        Raises: RowTooLarge.  SendFailed.
        """
        producer = self._producer()
        left: Sequence[Message] = list(messages)
        sent: list[Sent] = []
        while left:
            # A first message is taken whatever its size, and refused by the broker later, without its name.
            self.check_size(name, *left[0][:2])
            batch = producer.create_batch()
            taken = _fill(batch, left)
            sent.append(await self._submit(producer, batch, topic, partition))
            left = left[taken:]
        return sent

    def check_size(self, name: str, key: bytes, value: bytes | None) -> None:
        """Raises: RowTooLarge: the message does not fit into one request."""
        size = len(value or b"")
        if len(key) + size > self.limit:
            raise RowTooLarge(name, key_bytes=len(key), row_bytes=size, limit=self.limit)

    async def _submit(self, producer: Any, batch: Any, topic: str, partition: int) -> Sent:
        batch.close()
        count = batch.record_count()
        try:
            future = await producer.send_batch(batch, topic, partition=partition)
        except Exception as error:
            failure = SendFailed(topic, partition, f"{type(error).__name__}: {error}")
            self._fatal(failure)
            raise failure from error
        self._pending.add(future)

        def done(future: asyncio.Future[Any]) -> None:
            self._pending.discard(future)
            error = None if future.cancelled() else future.exception()
            if future.cancelled() or error is not None:
                cause = "cancelled" if error is None else f"{type(error).__name__}: {error}"
                self._fatal(SendFailed(topic, partition, cause))
            else:
                self.sent += count

        future.add_done_callback(done)
        return Sent(future, count)

    async def settle(self) -> None:
        """Wait until everything handed over SO FAR is acknowledged (under load something is always under way)."""
        pending = list(self._pending)
        if pending:
            await asyncio.wait(pending)
            # The callbacks, which notice failures, run in the loop's next turn.
            await asyncio.sleep(0)
