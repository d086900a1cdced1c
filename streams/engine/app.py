"""The Faust app under the engine: one lock around a chunk, barriers before partitions move, one way to fail."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiokafka
import faust
from faust.types import TP

from schemas.errors import MillraceError, RetryableError
from streams.engine.chunk import Chunk
from streams.engine.consumer import Consumer, Transport
from streams.engine.errors import EngineError, GroupFailed, NotCopartitioned, StageFailed, WorkerFenced
from streams.engine.fetched import bare_records
from streams.engine.lease import Lease
from streams.engine.lineage import ends_of
from streams.engine.outbox import Outbox
from streams.engine.recovery import Standbys, Tables
from streams.engine.settings import Cluster, EngineSettings
from streams.engine.store import RocksOptions
from streams.engine.table import Table

logger = logging.getLogger(__name__)

Apply = Callable[[Chunk], Awaitable[tuple[Chunk, Chunk | None]]]
"""Applies a chunk, or its first records; returns what it applied, and what it left."""

# The lease ends before the broker's clock does.
_LEASE_SHARE = 0.8
# After the rebalance timeout the group goes on without us.
_QUIESCE_SHARE = 0.5


class ChunkSchema(faust.Schema[Any, Any]):
    """The message's value is the Chunk itself: nothing to deserialise."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return None

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.value


class EngineApp(faust.App):
    """A faust.App whose consumer, producer and tables are the engine's."""

    logger = logging.getLogger("faust.app")
    consumer: Consumer

    def __init__(self, settings: EngineSettings, cluster: Cluster, on_fatal: Callable[[BaseException], None]) -> None:
        self.settings = settings
        self.cluster = cluster
        self.failure: BaseException | None = None
        #: Whether a stop gives up our place in the group; a member without a static name always does.
        self.leaves = True
        self._on_fatal = on_fatal
        self.stage_topics: dict[str, int] = {}
        self.stage_tables: list[Table] = []
        #: Records of a topic that its retention took before they were read.
        self.lost: Counter[str] = Counter()
        self.rocks_options = RocksOptions(settings)
        # One lock around a chunk: rows that a stage has read stand still until it has written.
        self.apply_lock = asyncio.Lock()
        self.audit_now = asyncio.Event()
        self.outbox = Outbox(lambda: self.producer._producer, self.fatal, settings.batch_bytes)  # type: ignore[attr-defined]
        self.lease = Lease(settings.session_timeout_s * _LEASE_SHARE, enabled=settings.fencing)
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._running: set[asyncio.Task[None]] = set()
        super().__init__(
            settings.group,
            broker=[f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
            datadir=settings.datadir / settings.group,
            store="rocksdb://",
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_partitions=settings.partitions,
            table_standby_replicas=settings.standby_replicas,
            broker_session_timeout=settings.session_timeout_s,
            broker_heartbeat_interval=settings.heartbeat_interval_s,
            broker_rebalance_timeout=settings.rebalance_timeout_s,
            broker_request_timeout=settings.request_timeout_s,
            broker_commit_interval=settings.commit_interval_s,
            TableManager=Tables,
            # Table.recover looks, and says what to do.
            recovery_consistency_check=False,
        )

    def _new_transport(self) -> Any:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return Transport(self.conf.broker_producer, self)

    # -- stages -------------------------------------------------------------------
    def stage(self, topic: str, partitions: int, apply: Apply, name: str) -> None:
        """Let `apply` have every chunk of a topic, one after the other, and what it leaves of one as the next."""
        self.stage_topics[topic] = partitions
        channel: Any = self.topic(topic, schema=ChunkSchema(), partitions=partitions)
        # It counts chunks and bounds what waits between the fetch and the stage. (topic() drops its argument of this
        # name: a backlog then grew the process without end.)
        channel.maxsize = self.settings.queued_chunks

        async def loop(stream: Any) -> None:
            async for chunk in stream:
                left: Chunk | None = chunk
                while left is not None:
                    left = await self._apply(left, apply)

        loop.__name__ = name
        self.agent(channel, name=name)(loop)

    async def _apply(self, chunk: Chunk, apply: Apply) -> Chunk | None:
        """What is left of it to apply. Partitions can move in between."""
        async with self.apply_lock:
            # in_order() is false for a chunk fetched before a rebalance. (Faust's own flag, `rebalancing`, falls after
            # the first chunks have come: to drop those would be a hole.)
            if self.failure is not None or not self.consumer.in_order(chunk):
                return None
            try:
                done, left = await apply(chunk)
            except Exception as error:
                # Faust would acknowledge the chunk and go on.
                if isinstance(error, EngineError | RetryableError):
                    self.fatal(error)
                else:
                    logger.exception("%r failed", chunk)
                    cause = f"{type(error).__name__}: {error}"
                    self.fatal(StageFailed(chunk.topic, chunk.partition, chunk.first_offset, chunk.last_offset, cause))
                return None
            if self.failure is None:
                self.consumer.chunk_applied(done)
            return left

    @property
    def standbys(self) -> Standbys:
        tables: Any = self.tables
        assert isinstance(tables, Tables)
        return tables.recovery

    def table_of(self, changelog: str) -> Table:
        return next(table for table in self.stage_tables if table.changelog == changelog)

    # -- failing ------------------------------------------------------------------
    def fatal(self, error: BaseException) -> None:
        """End the worker without a flush: what is not committed is read again. Only the first error counts."""
        if self.failure is None:
            self.failure = error
            logger.critical("%s", error, exc_info=None if isinstance(error, MillraceError) else error)
            self._on_fatal(error)

    def group_failed(self, error: BaseException) -> None:
        """The membership in the group ended by an error: nothing is assigned to us any more, or taken from us."""
        if not self.should_stop:
            self.fatal(GroupFailed(self.settings.group, str(error) or type(error).__name__))

    def lease_expired(self) -> None:
        # At once: a graceful stop would flush the very batches that must not be sent.
        self.fatal(WorkerFenced(f"last heartbeat was acknowledged {self.lease.age:.1f} s ago"))

    def check_running(self) -> None:
        """Raises: EngineError: the worker has failed, nothing may be written any more."""
        if self.failure is not None:
            raise EngineError(f"the worker has failed: {self.failure}")

    def _crash(self, reason: BaseException) -> None:
        """A service of Faust ended by an exception: so does the worker."""
        if not self._stopped.is_set():
            self.fatal(reason)
        super()._crash(reason)

    # -- barriers -----------------------------------------------------------------
    async def quiesce(self) -> None:
        """Let the running chunk end and its output be acknowledged; then no partition's rows are ours any more.

        Both under one lock: a recovery or a repair that waits for it must not write rows of partitions that move.
        """
        self.consumer.void_queued()

        async def barrier() -> None:
            async with self.apply_lock:
                await self.outbox.settle()
                for table in self.stage_tables:
                    table.forget()

        try:
            await asyncio.wait_for(barrier(), self.settings.rebalance_timeout_s * _QUIESCE_SHARE)
        except TimeoutError:
            self.fatal(WorkerFenced("a chunk did not end before its partitions were revoked"))

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        # Called on revocation and on shutdown, before tables are closed.
        await self.quiesce()
        await consumer.commit_now()

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        try:
            self._check_copartitioned()
        except NotCopartitioned as error:
            self.fatal(error)
            return
        await super()._on_partitions_assigned(assigned, generation_id)

    def _check_copartitioned(self) -> None:
        """Sources of equal partition count, and their changelogs, are owned together, or a stage would read holes.

        Faust assigns topics of equal partition count and equal subscribers as one group; a topic that the group's
        leader does not know yet falls out of it.
        """
        owned: dict[str, set[int]] = {}
        for tp in self.assignor.assigned_actives():
            owned.setdefault(tp.topic, set()).add(tp.partition)
        for count in set(self.stage_topics.values()):
            topics = [topic for topic, partitions in self.stage_topics.items() if partitions == count]
            topics += [table.changelog for table in self.stage_tables if table.source.partitions == count]
            for topic in topics[1:]:
                if owned.get(topic) != owned.get(topics[0]):
                    have = [sorted(owned.get(name, ())) for name in (topics[0], topic)]
                    raise NotCopartitioned((topics[0], topic), f"partitions {have[0]} and {have[1]}")

    async def source_offsets(
        self, topic: str, partitions: Iterable[int]
    ) -> tuple[dict[int, int | None], dict[int, int]]:
        return await self.consumer.source_offsets(topic, list(partitions))

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Of a topic's partitions: the offset that the next record gets."""
        ends = await self.consumer.highwaters(*(TP(topic, partition) for partition in partitions))
        return {tp.partition: end or 0 for tp, end in ends.items()}

    async def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Of a topic's partitions: the offset of the first record that is there, or will be."""
        begins = await self.consumer.earliest_offsets(*(TP(topic, partition) for partition in partitions))
        return {tp.partition: begin or 0 for tp, begin in begins.items()}

    def read_to(self, tp: TP) -> tuple[int, int]:
        """The last offset of a source's partition that tables hold, and its leader epoch; -1 for none or not known."""
        tables = [table for table in self.stage_tables if table.source.topic == tp.topic]
        return max((table.read_to(tp.partition) for table in tables), default=(-1, -1))

    async def epoch_ends(self, topic: str, epochs: Mapping[int, int], brokers: Sequence[str] = ()) -> dict[int, int]:
        """Where the logs of a topic's partitions leave these leader epochs: see lineage.ends_of."""
        return await ends_of(self.settings, topic, epochs, brokers)

    # -- life ---------------------------------------------------------------------
    async def on_started(self) -> None:
        await super().on_started()
        for function in self.background:
            task = asyncio.ensure_future(function())
            self._running.add(task)
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fatal(error)

    async def on_stop(self) -> None:
        for task in list(self._running):
            task.cancel()
        await super().on_stop()

    @asynccontextmanager
    async def plain_consumer(self) -> AsyncIterator[Any]:
        """A consumer outside the group, for reading a stretch of a changelog; its records are bare (fetched.py)."""
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **self.settings.kafka,
        )
        await consumer.start()
        bare_records(consumer)
        try:
            yield consumer
        finally:
            # While Kafka is away aiokafka's stop passes on the cancellation of a fetch, as if we were cancelled.
            stopping = asyncio.ensure_future(consumer.stop())
            await asyncio.wait({stopping})
            if stopping.cancelled():
                await consumer._client.close()
            else:
                stopping.result()
