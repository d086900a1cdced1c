"""Drives one sink: reads its topics from where the sink ends, cuts ranges, writes them, tries again what may succeed.

Each sink has a worker, a consumer and a position of its own, so a slow store delays no other. Kafka's group offsets are
written for people who look at consumer lag; nothing is ever read back from them.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from schemas.errors import RetryableError
from service.consumer import Consumer
from service.errors import ClusterUnavailable
from sinks.errors import OffsetPastEnd, RecordsExpired
from sinks.metrics import SinkMetrics
from sinks.protocol import Batch, Sink, SinkRecord
from sinks.source import Source, find

logger = logging.getLogger(__name__)

_FETCH_RECORDS = 1000  # parsed at once on the event loop, about 5 ms: longer would delay the other sink and the queries
_FETCH_WAIT_S = 0.25
_FETCH_BYTES = 16 << 20
_SHOW_EVERY_S = 5.0
_WATCH_ENDS_S = 2.0
_SHOW_TIMEOUT_S = 2.0
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 30.0
_KAFKA_RETRY_S = 1.0


@dataclass(frozen=True)
class Batching:
    """When to write what was read: at so many records, at so many bytes, or after the interval.

    eager: the interval counts from the last write, so a record that comes after a quiet time is written at once, and a
    stream of them at most once per interval.  Otherwise it counts from the first record that waits: fewer, larger
    writes.
    """

    records_max: int
    bytes_max: int
    interval_s: float
    eager: bool


@dataclass
class _Partition:
    """stored: first offset that is not durable.  position: next to read.  records: read and not yet durable."""

    topic: str
    number: int
    stored: int
    position: int
    end: int
    records: list[SinkRecord] = field(default_factory=list)

    def batch(self) -> Batch:
        return Batch(self.topic, self.number, self.stored, self.position - 1, self.records)


class _Stopping(Exception):
    """Asked to stop while an attempt waited for its next turn."""


class Worker:
    """One sink and its consumer.  `run` it as a task, `stop` it from the same event loop.

    opened: set once the store is open.  consuming: whether it reads and writes now.
    waiting_since: monotonic time of the oldest record that waits to be written; None when none does.
    last_error: of the latest failed attempt; None once an attempt succeeded.
    """

    def __init__(
        self,
        sink: Sink,
        source: Source,
        batching: Batching,
        *,
        metrics: SinkMetrics,
        allow_gaps: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """allow_gaps: go on where Kafka's log begins when records expired before they were stored, and count them."""
        self.sink = sink
        self.last_error: BaseException | None = None
        self.opened = asyncio.Event()
        self.consuming = False
        self.waiting_since: float | None = None
        self._source = source
        self._batching = batching
        self._metrics = metrics
        self._allow_gaps = allow_gaps
        self._clock = clock
        self._consumer: Consumer | None = None
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._pending = 0
        self._pending_bytes = 0
        self._written_at = float("-inf")
        self._shown_at = float("-inf")
        self._showing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Read no more; write what was read, once, and end."""
        self._stop.set()

    def lag(self) -> dict[str, int]:
        """Records in Kafka that are not durable in the sink, by full topic name. From what Kafka told last."""
        lag = {self._source.full_name(topic): 0 for topic in self.sink.topics}
        for place, part in self._partitions.items():
            told = self._consumer.highwater(place) if self._consumer is not None else None
            part.end = max(part.end, told or 0)
            lag[place.topic] += max(0, part.end - part.stored)
        for topic in self.sink.topics:
            self._metrics.lag(self.sink.name, topic, lag[self._source.full_name(topic)])
        return lag

    def state(self) -> dict[str, Any]:
        """What to show of this sink, JSON-able."""
        waits_s = 0.0 if self.waiting_since is None else self._clock() - self.waiting_since
        error = None if self.last_error is None else str(self.last_error)
        return {
            "consuming": self.consuming,
            "waiting_records": self._pending,
            "waiting_s": round(waits_s, 3),
            "last_error": error,
        }

    async def run(self) -> None:
        """Work until stopped.

        Raises: PermanentError when no attempt can succeed.
        """
        try:
            await self._retrying(lambda: self.sink.open(self._source.identity))
            self.opened.set()
            await self._retrying(self._start_consumer)
            self._watching = asyncio.create_task(self._watch_ends(), name=f"{self.sink.name}-ends")
            self.consuming = True
            while not self._stop.is_set():
                self._take(await self._fetch(_FETCH_WAIT_S))
                if self._pending and self._due_in() <= 0:
                    while not self._is_full() and (more := await self._fetch(0)):  # what is here already goes along
                        self._take(more)
                    await self._retrying(self._write)
            if self._pending:
                await self._write()
        except (_Stopping, RetryableError) as error:
            # Only while stopping: an attempt is never given up before. The offsets make the next start take it up.
            logger.info("%s stops with %d records unwritten: %s", self.sink.name, self._pending, error or "not ready")
        finally:
            self.consuming = False
            await self._close()

    # Kafka

    async def _start_consumer(self) -> None:
        consumer = Consumer(
            **self._source.kafka,
            group_id=f"{self._source.prefix}-sinks-{self.sink.name}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_bytes=_FETCH_BYTES,
        )
        try:
            await consumer.start()
            await self._assign(consumer)
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise ClusterUnavailable(str(self._source.kafka["bootstrap_servers"]), _words(error)) from error
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def _assign(self, consumer: Consumer) -> None:
        # By hand and all of them: this process owns its stores, and a second one must not take half of the partitions
        # away from them. The group's balancing would do just that.
        places = {
            TopicPartition(self._source.full_name(topic), number): topic
            for topic in self.sink.topics
            for number in range(self._source.partitions[topic])
        }
        consumer.assign(list(places))
        begins = await consumer.beginning_offsets(list(places))
        ends = await consumer.end_offsets(list(places))
        for place, topic in places.items():
            stored, start = await self._start_of(topic, place.partition, begins[place], ends[place])
            consumer.seek(place, start)
            self._partitions[place] = _Partition(topic, place.partition, stored, start, ends[place])
        behind = sum(max(0, part.end - part.stored) for part in self._partitions.values())
        logger.info("%s reads %d partitions, %d records behind", self.sink.name, len(places), behind)

    async def _start_of(self, topic: str, partition: int, begin: int, end: int) -> tuple[int, int]:
        """Where the next range begins, and from where to read: later than that only over a permitted gap."""
        covered = await self.sink.covered(topic, partition)
        if covered is None:
            return begin, begin
        self._source.identity.check(self.sink.name, topic, partition, covered)
        return covered.next_offset, self._within(topic, partition, covered.next_offset, begin, end)

    def _within(self, topic: str, partition: int, offset: int, begin: int, end: int) -> int:
        if offset > end:
            raise OffsetPastEnd(self.sink.name, topic, partition, covered=offset, end=end)
        if offset >= begin:
            return offset
        gap = RecordsExpired(self.sink.name, topic, partition, covered=offset, start=begin)
        if not self._allow_gaps:
            raise gap
        logger.warning("%s", gap)
        self._metrics.expired(self.sink.name, topic, gap.lost)
        return begin

    async def _fetch(self, wait_s: float) -> Sequence[tuple[TopicPartition, list[ConsumerRecord]]]:
        assert self._consumer is not None, "fetches come after the start"
        wait_s = max(0.0, min(wait_s, self._due_in()))
        try:
            fetched = await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=_FETCH_RECORDS)
        except OffsetOutOfRangeError as error:
            places = list(error.args[0])
            await self._retrying(lambda: self._resume(places))
            return ()
        except KafkaError as error:
            self._failed(error)
            await self._sleep(_KAFKA_RETRY_S)
            return ()
        await asyncio.sleep(0)  # buffered records come without a pause, and others want to run
        return tuple(fetched.items())

    async def _resume(self, places: list[TopicPartition]) -> None:
        """Kafka has no record where we read: another topic by now, expired, truncated. Says which, or skips the gap."""
        assert self._consumer is not None, "fetches come after the start"
        now = await find(self._source.kafka, self._source.prefix, self.sink.topics)
        for place in places:
            part = self._partitions[place]
            ours = self._source.identity.offset(part.topic, part.position)
            now.identity.check(self.sink.name, part.topic, part.number, ours)
        try:
            begins = await self._consumer.beginning_offsets(places)
            ends = await self._consumer.end_offsets(places)
        except KafkaError as error:
            raise ClusterUnavailable(str(self._source.kafka["bootstrap_servers"]), _words(error)) from error
        for place in places:
            part = self._partitions[place]
            part.position = self._within(part.topic, part.number, part.position, begins[place], ends[place])
            self._consumer.seek(place, part.position)

    async def _watch_ends(self) -> None:
        """Keep the ends of the partitions: a sink that is stuck in writing fetches nothing, and its lag grows."""
        while True:
            await asyncio.sleep(_WATCH_ENDS_S)
            if self._consumer is None:
                return
            try:
                ends = await self._consumer.end_offsets(list(self._partitions))
            except Exception as error:  # whatever it is, the lag must go on
                logger.debug("%s: the ends of the topics are not known: %s", self.sink.name, _words(error))
                continue
            for place, end in ends.items():
                self._partitions[place].end = max(self._partitions[place].end, end)

    # Batches

    def _take(self, fetched: Sequence[tuple[TopicPartition, list[ConsumerRecord]]]) -> None:
        for place, messages in fetched:
            part = self._partitions[place]
            part.records += [SinkRecord(m.offset, m.key, m.value, tuple(m.headers)) for m in messages]
            part.position = messages[-1].offset + 1
            self._pending += len(messages)
            self._pending_bytes += sum(len(m.value) for m in messages if m.value is not None)
        if self._pending and self.waiting_since is None:
            self.waiting_since = self._clock()

    def _is_full(self) -> bool:
        return self._pending >= self._batching.records_max or self._pending_bytes >= self._batching.bytes_max

    def _due_in(self) -> float:
        """Seconds until what is pending should be written; infinite while nothing is."""
        batching = self._batching
        if self.waiting_since is None:
            return float("inf")
        if self._is_full():
            return 0.0
        since = self._written_at if batching.eager else self.waiting_since
        return since + batching.interval_s - self._clock()

    async def _write(self) -> None:
        """One attempt to make durable all that was read."""
        started = self._clock()
        await self.sink.write([part.batch() for part in self._partitions.values() if part.records])
        self._metrics.wrote(self.sink.name, self._clock() - started)
        self._written_at = started
        for part in self._partitions.values():
            if part.records:
                self._metrics.stored(self.sink.name, part.topic, len(part.records))
                part.stored = part.position
                part.records = []
        self._pending = self._pending_bytes = 0
        self.waiting_since = None
        self._show()

    def _show(self) -> None:
        """Commit to the group, for show: rarely, in the background, and whatever comes of it."""
        if self._clock() - self._shown_at < _SHOW_EVERY_S or (self._showing and not self._showing.done()):
            return
        self._shown_at = self._clock()
        assert self._consumer is not None, "writes come after the start"
        self._showing = asyncio.create_task(self._commit(self._consumer), name=f"{self.sink.name}-show")

    async def _commit(self, consumer: Consumer) -> None:
        try:
            async with asyncio.timeout(_SHOW_TIMEOUT_S):
                await consumer.commit({place: part.stored for place, part in self._partitions.items()})
        except (KafkaError, TimeoutError) as error:
            logger.debug("%s: group offsets not shown: %s", self.sink.name, _words(error))

    # Attempts

    async def _retrying(self, attempt: Callable[[], Awaitable[None]]) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            try:
                await attempt()
            except RetryableError as error:
                self._failed(error)
                self._metrics.retried(self.sink.name, type(error).__name__)
                wait_s = max(error.retry_after_s, backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)
                if await self._sleep(wait_s):
                    raise _Stopping from error
            else:
                self.last_error = None
                return

    def _failed(self, error: BaseException) -> None:
        if self.last_error is None or str(self.last_error) != str(error):
            logger.warning("%s: trying again: %s", self.sink.name, _words(error))
        self.last_error = error

    async def _sleep(self, seconds: float) -> bool:
        """Wait; True when asked to stop meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    async def _close(self) -> None:
        beside = [task for task in (self._showing, self._watching) if task is not None]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            if self._written_at > self._shown_at:
                await self._commit(consumer)
            await consumer.stop()
        await self.sink.close()


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
