"""Faust's consumer, changed to hand whole fetched chunks to a stage and to commit only what is durable.

What each override is for stands beside it. Faust 0.15.3 and aiokafka 0.14 are pinned: private parts of both are used.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import aiokafka
from aiokafka.errors import GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.engine import lease, rows
from streams.engine.chunk import Chunk, Record, records_of
from streams.engine.errors import ChangelogCut, CutAhead, EngineError, SourceCut, StageFailed, StateLost, WorkerFenced
from streams.engine.fetched import bare_records
from streams.engine.lineage import Followed, Runs, epoch_at

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

logger = logging.getLogger(__name__)

# A stage slower than this per fetch is stuck: the member leaves the group.
_POLL_INTERVAL_MAX_MS = 1_000_000
# A partition that was taken over is fetched no later than this after its rows are recovered.
_LOOK_S = 0.1


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka, so that heartbeats go on while a stage computes."""

    app: EngineApp
    logger = logging.getLogger("faust.consumer")
    #: Of each partition: the leader epochs of the records that were fetched last.
    fetched_epochs: Mapping[TP, Runs] = {}

    def _create_worker_consumer(self, transport: Any) -> Any:
        # The stock one waits up to 1.5 s for a fetch, splits security into credentials objects
        # that lack SCRAM with a context of our own, and polls without a limit.
        settings = self.app.settings
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            client_id=settings.group,
            group_id=settings.group,
            group_instance_id=settings.instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=2 * settings.chunk_records,
            max_poll_interval_ms=_POLL_INTERVAL_MAX_MS,
            max_partition_fetch_bytes=settings.fetch_bytes,
            fetch_min_bytes=settings.fetch_min_bytes,
            fetch_max_wait_ms=int(settings.fetch_wait_s * 1000),
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            rebalance_timeout_ms=int(settings.rebalance_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1000),
            **settings.kafka,
        )

    def brokers(self) -> list[str]:
        """host:port of those that are known by now: the ones that we began with may be away."""
        consumer: Any = self._ensure_consumer()
        return [f"{broker.host}:{broker.port}" for broker in consumer._client.cluster.brokers()]

    async def on_start(self) -> None:
        await super().on_start()
        consumer: Any = self._ensure_consumer()
        self.fetched_epochs = bare_records(consumer)
        # Heartbeats renew the lease.
        coordinator = consumer._coordinator
        heartbeat = coordinator._do_heartbeat

        async def timed_heartbeat() -> Any:
            sent_at = lease.now()
            acknowledged = await heartbeat()
            if acknowledged:
                self.app.lease.renew(sent_at)
            return acknowledged

        coordinator._do_heartbeat = timed_heartbeat

        # What ends the membership is kept for a caller of aiokafka's own poll. There is none: we would stand still.
        push_error = coordinator._push_error_to_user

        def told(error: BaseException) -> Any:
            self.app.loop.call_soon_threadsafe(self.app.group_failed, error)
            return push_error(error)

        def ended(task: asyncio.Task[None]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                self.app.loop.call_soon_threadsafe(self.app.group_failed, error)

        coordinator._push_error_to_user = told
        coordinator._coordination_task.add_done_callback(ended)
        coordinator._send_req = looked_at(coordinator._send_req, coordinator.coordinator_dead)

    async def on_thread_stop(self) -> None:
        # aiokafka never gives up the place of a static member: for a session timeout nobody would have its partitions.
        if self.app.leaves and self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """Nothing where a rebalance goes on: aiokafka waits for its end, and nobody could move positions until then."""
        fetching = super()._fetch_records(consumer, active_partitions, timeout, max_records)
        try:
            # Records are taken and returned in one step: what is cancelled has none.
            return await asyncio.wait_for(fetching, _LOOK_S + (timeout or 0.0))
        except TimeoutError:
            return {}

    async def seek_to_committed(self) -> Any:
        """Nothing where the last partition went meanwhile: aiokafka asserts that there is one."""
        consumer = self._ensure_consumer()

        async def seek() -> Any:
            return await consumer.seek_to_committed() if consumer.assignment() else {}

        return await self.call_thread(seek)

    def is_member(self, generation: int) -> bool:
        """False once the coordinator has expelled us (aiokafka resets the generation to -1)."""
        coordinator: Any = self._ensure_consumer()._coordinator
        return bool(coordinator.generation == generation)

    def moves(self) -> bool:
        """Whether the group's partitions are being given out anew."""
        return bool(self._ensure_consumer()._subscription.reassignment_in_progress)

    async def committed(self, tps: list[TP]) -> dict[TP, int | None]:
        """The group's next offsets to read, None for none."""
        consumer = self._ensure_consumer()

        async def ask() -> dict[TP, int | None]:
            return {tp: await consumer.committed(aiokafka.TopicPartition(tp.topic, tp.partition)) for tp in tps}

        found: dict[TP, int | None] = await self.call_thread(ask)
        return found


def looked_at(
    send: Callable[[Any], Awaitable[Any]], coordinator_dead: Callable[[], None]
) -> Callable[[Any], Awaitable[Any]]:
    """aiokafka's way to the coordinator, with an error of a whole answer about committed offsets.

    aiokafka reads those of partitions alone. An answer of a broker that is no coordinator any more has no partitions:
    it would say that nothing was ever committed.
    """

    async def sent(request: Any) -> Any:
        response = await send(request)
        if response.API_KEY == OffsetFetchResponse_v3.API_KEY and getattr(response, "error_code", 0):
            error = for_code(response.error_code)
            if error in (NotCoordinatorForGroupError, GroupCoordinatorNotAvailableError):
                coordinator_dead()
            raise error()
        return response

    return sent


class Fetch(NamedTuple):
    """Records of one fetch.

    active: partitions that were asked.  generation: of the group, before it.  seek: number of the last one before it.
    """

    records: Mapping[TP, list[Any]]
    active: set[TP]
    generation: int
    seek: int


class Consumer(driver.Consumer):
    """One message per (partition, chunk); commits follow applied chunks."""

    app: EngineApp
    _thread: ConsumerThread
    logger = logging.getLogger("faust.consumer")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Next offset to fetch, and next to apply (= to commit), per source partition. perform_seek() sets both;
        #: a chunk that does not continue them is never applied.
        self._fetch_position: dict[TP, int] = {}
        self._applied: dict[TP, int] = {}
        #: Number of the present seek: what was fetched before it is void.
        self._seek_number = 0
        #: Held by what moves positions. So does a fetch: in the middle of a seek it would move one that was just set,
        #: and its records be void. A partition stood still until the next record came, a standby's rows had a hole.
        self.moving = asyncio.Lock()
        self._gap_seen: dict[TP, int] = {}
        #: Of sources since the last seek, of a standby's changelog since it came: is it still the log that we read?
        self._followed: dict[TP, Followed] = {}
        #: What the broker has accepted (Faust's own record is updated on a failed commit, too).
        self._durable: dict[TP, int] = {}
        #: For the status alone: Kafka's time of the last record applied, ms; since when something is not committed.
        self._applied_ms: dict[TP, int] = {}
        self._uncommitted_since: float | None = None

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """The engine makes its changelogs itself, before it joins the group."""

    def moves(self) -> bool:
        """Whether the group's partitions are being given out anew."""
        return self._thread.moves()

    # -- fetching -----------------------------------------------------------------
    async def _fetch(self, timeout: float) -> Fetch:
        """Instead of Faust's _wait_next_records, which looks only once a second which partitions there are to fetch."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # it takes any event
        active = self._get_active_partitions()
        if not active:
            await self.sleep(_LOOK_S)
            return Fetch({}, active, self.app.consumer_generation_id, self._seek_number)
        async with self.moving:
            generation = self.app.consumer_generation_id
            records = await self._getmany(active_partitions=active, timeout=min(timeout, _LOOK_S))
            return Fetch(records, active, generation, self._seek_number)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        records, active, generation, seek = await self._fetch(timeout)
        app = self.app
        if self.should_stop:
            return
        if not self.flow_active:
            try:
                await self.perform_seek()
            except Exception as error:
                logger.warning("seek while the flow is stopped failed: %r", error)
            return
        changelogs = app.tables.changelog_topics

        # What is dropped is read again: before partitions flow in a new generation, all positions are set, and a seek
        # sets those of the sources alone.
        def moved() -> bool:
            return not self.flow_active or app.consumer_generation_id != generation

        def stale() -> bool:
            return moved() or self._seek_number != seek

        for tp, fetched in records.items():
            if moved():
                break
            if tp not in active:
                continue
            if tp.topic in app.stage_topics:
                if stale() or not await self._continues(tp, fetched[0].offset) or stale():
                    continue
                if not await self._is_same_log(tp, fetched) or stale():
                    continue
                for chunk in self._chunks(tp, fetched, seek):
                    if stale():
                        break
                    last = chunk.records[-1]
                    self._fetch_position[tp] = last.offset + 1
                    self._followed[tp].read_to(self._thread.fetched_epochs[tp], last.offset)
                    yield tp, _message(tp, last, chunk, generation)
            elif tp.topic in changelogs and tp in app.standbys.standby_tps:
                if not await self._is_whole(tp, fetched) or moved():
                    continue
                if not await self._is_same_log(tp, fetched) or moved():
                    continue
                self._followed[tp].read_to(self._thread.fetched_epochs[tp], fetched[-1].offset)
                message = self._apply_changelog(tp, fetched)
                if message is not None:
                    yield tp, message

    def _chunks(self, tp: TP, fetched: list[Any], seek: int) -> Iterator[Chunk]:
        size, epochs = self.app.settings.chunk_records, self._thread.fetched_epochs[tp]
        for start in range(0, len(fetched), size):
            records = records_of(fetched[start : start + size])
            # Without one the partition went meanwhile, and the chunk with it.
            follows = min(self._fetch_position.get(tp, records[0].offset), records[0].offset)
            leader_epoch = epoch_at(epochs, records[-1].offset)
            yield Chunk(tp.topic, tp.partition, records, follows=follows, seek=seek, leader_epoch=leader_epoch)

    async def _is_same_log(self, tp: TP, fetched: list[Any]) -> bool:
        """Whether the log that these records are of has all that was read of it before. Else the worker ends.

        Kafka is asked when a leader shows that we have not met: a log that was cut has one.
        """
        followed = self._followed.get(tp)
        if followed is None:
            followed = self._followed[tp] = Followed(*self.app.read_to(tp))
        news = followed.news(self._thread.fetched_epochs[tp], fetched[0].offset, fetched[-1].offset)
        if news and followed.epoch >= 0:
            ends = await self.app.epoch_ends(tp.topic, {tp.partition: followed.epoch}, self._thread.brokers())
            if ends.get(tp.partition, followed.offset + 1) <= followed.offset:
                self.app.fatal(self._cut(tp, followed.offset, ends[tp.partition]))
                return False
        followed.seen |= news
        return True

    def _cut(self, tp: TP, offset: int, kept: int) -> EngineError | CutAhead:
        if tp.topic in self.app.stage_topics:
            where, (applied, _) = f"source {tp.topic}[{tp.partition}]", self.app.read_to(tp)
            if applied < kept:  # what was read beyond it is in no row; should it get there yet, the next start sees it
                return CutAhead(where, read=offset, kept=kept)
            return SourceCut(where, tp.topic, applied=applied, kept=kept, epoch=self.app.settings.epoch)
        return self.app.table_of(tp.topic).cut(tp.partition, offset)

    async def _is_whole(self, tp: TP, fetched: list[Any]) -> bool:
        """Whether a standby's changelog goes on from its rows; asked once an assignment. Else the worker ends.

        Faust begins at the record that the rows go up to, not at the next one: it can be looked at.
        """
        standbys = self.app.standbys
        if tp in standbys.whole:
            return True
        begins = await self.app.begins(tp.topic, [tp.partition])
        if tp not in standbys.standby_tps:  # it went meanwhile
            return False
        table, begin = self.app.table_of(tp.topic), begins[tp.partition]
        self._followed.pop(tp, None)
        try:
            table.check_beginning(tp.partition, begin)
            if (was := table.store.seen(tp.partition)[1]) is not None:
                if fetched[-1].offset < was.offset:  # not there yet
                    return True
                now = next((rows.place_of(record) for record in fetched if record.offset == was.offset), None)
                if not table.check_place(tp.partition, was, now, begin):
                    standbys.standby_offsets[tp] = -1
                    standbys.whole.add(tp)  # before a wait in which it could be taken from us and given anew
                    async with self.moving:
                        if tp in standbys.standby_tps:
                            await self.seek_wait({tp: 0})
                    return False
        except (StateLost, ChangelogCut) as error:
            self.app.fatal(error)
            return False
        standbys.whole.add(tp)
        return True

    def _apply_changelog(self, tp: TP, fetched: list[Any]) -> ConsumerMessage | None:
        """Apply a fetched stretch of a changelog to a standby, here and at once.

        Everything is applied and counted before the last record is passed on. Faust finds that record already seen and
        applies nothing. (Passed on unapplied it would be lost: the next stretch can raise the seen offset before
        Faust's queue is drained.)
        """
        standbys = self.app.standbys
        if tp not in standbys.standby_tps:
            return None
        offsets = standbys.standby_offsets
        seen = offsets.get(tp)
        todo = [record for record in fetched if seen is None or record.offset > seen]
        if todo:
            store = self.app.table_of(tp.topic).store
            store.apply_changelog(tp.partition, rows.changelog_records(todo), upto=rows.place_of(todo[-1]))
            offsets[tp] = todo[-1].offset
        (last,) = records_of(fetched[-1:])
        return _message(tp, last, last.value, self.app.consumer_generation_id, key=last.key)

    async def verify_all_partitions_active(self) -> None:
        """Faust would take a partition without new messages for a stuck one, and say so every few seconds."""

    # A full queue simply holds up the fetching: all stages share one thread, so nothing is gained by going on with
    # other topics, and Faust's way (partitions taken out of the fetch, and back) lets a revoked partition back in.
    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: the put into the queue waits."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing was taken out."""

    # -- order --------------------------------------------------------------------
    # A row's version only recognises a redelivery if a partition is applied strictly in order:
    # applying offset 200 before 100 would make 100 look like a duplicate.
    async def _continues(self, tp: TP, first: int) -> bool:
        """May records starting at `first` be handed on?"""
        expected = self._fetch_position.get(tp)
        if expected is None:
            return False  # assigned, but perform_seek() has not run
        if first <= expected:
            return True  # in order, or read again
        if self._gap_seen.get(tp) == first:  # still there after a seek: there are no such records
            start = (await self.earliest_offsets(tp))[tp]
            if start > expected:
                self.app.lost[tp.topic] += start - expected
                logger.error("records of %s were deleted before they were read, %s to %s", tp, expected, start - 1)
            return True
        # Fetched before a seek, handed over after it. Read from the right place.
        async with self.moving:
            if self._fetch_position.get(tp) == expected:
                self._gap_seen[tp] = first
                await self.seek_wait({tp: expected})
        return False

    async def perform_seek(self) -> None:
        """Go back to the committed offsets, also where nothing (or 0) is committed.

        aiokafka's seek_to_committed() does not move a partition whose committed offset is 0 or missing: records that
        were fetched and dropped before would be lost.
        """
        async with self.moving:
            self._fetch_position.clear()
            self._applied.clear()
            self._applied_ms.clear()
            self._uncommitted_since = None
            self._followed = {tp: log for tp, log in self._followed.items() if tp.topic not in self.app.stage_topics}
            self._seek_number += 1
            await super().perform_seek()
            positions = {
                ensure_TP(tp): self._read_offset.get(tp)
                for tp in self.assignment()
                if tp.topic in self.app.stage_topics
            }
            missing = [tp for tp, offset in positions.items() if not offset]
            if missing:
                first = await self.earliest_offsets(*missing)
                positions.update((ensure_TP(tp), offset) for tp, offset in first.items())
                await self.seek_wait({tp: positions[tp] or 0 for tp in missing})
            self._gap_seen.clear()
            self._seek_number += 1
            known = {tp: offset or 0 for tp, offset in positions.items()}
            self._fetch_position.update(known)
            self._applied.update(known)

    def in_order(self, chunk: Chunk) -> bool:
        """Whether a chunk may be applied now: False for one fetched before a seek, it will come again."""
        if chunk.seek != self._seek_number:
            return False
        applied = self._applied.get(TP(chunk.topic, chunk.partition), -1)
        if applied < chunk.follows:
            cause = f"the chunk follows offset {chunk.follows}, applied only to {applied}"
            self.app.fatal(StageFailed(chunk.topic, chunk.partition, chunk.first_offset, chunk.last_offset, cause))
            return False
        return True

    def void_queued(self) -> None:
        """What was fetched before is never applied here."""
        self._seek_number += 1

    def chunk_applied(self, chunk: Chunk) -> None:
        tp = TP(chunk.topic, chunk.partition)
        self._applied[tp] = chunk.last_offset + 1
        self._applied_ms[tp] = chunk.records[-1].timestamp_ms
        if self._uncommitted_since is None:
            self._uncommitted_since = time.monotonic()

    def applied(self) -> dict[TP, int]:
        """Next offset to apply, per source partition of ours."""
        return dict(self._applied)

    def applied_ms(self, tp: TP) -> int | None:
        """Kafka's time of the last record applied, ms since epoch; None before the first since the partition came."""
        return self._applied_ms.get(tp)

    def commit_age_s(self) -> float:
        """Seconds since the oldest chunk was applied that is not committed; 0 when all is."""
        return 0.0 if self._uncommitted_since is None else time.monotonic() - self._uncommitted_since

    async def source_offsets(self, topic: str, partitions: list[int]) -> tuple[dict[int, int | None], dict[int, int]]:
        """Of a topic's partitions: the group's next offsets (None for none), and the ends."""
        tps = [TP(topic, partition) for partition in partitions]
        committed = await self._thread.committed(tps)
        ends = await self.highwaters(*tps)
        return {tp.partition: committed[tp] for tp in tps}, {tp.partition: ends[tp] for tp in tps}

    # -- commits ------------------------------------------------------------------
    # Faust acknowledges a chunk whose stage raised, and takes a failed commit for done: hence own bookkeeping.
    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """A chunk is no gap."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._applied) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._applied.get(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > self._durable.get(tp, -1)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit only what is durable: everything sent is acknowledged, nothing failed, and we are a member."""
        app, began = self.app, time.monotonic()
        await app.outbox.settle()
        if app.failure is not None or not self._thread.is_member(app.consumer_generation_id):
            return False
        done = await super()._commit(offsets)
        if done:
            self._durable.update(offsets)
            if self._uncommitted_since is not None:  # what was applied during the commit waits for the next one
                behind = any(offset > self._durable.get(tp, -1) for tp, offset in self._applied.items())
                self._uncommitted_since = began if behind else None
        return done

    async def commit_now(self) -> None:
        """Commit what is applied. (commit() alone does nothing while an earlier one is under way.)"""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    # -- rebalance ----------------------------------------------------------------
    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Finish the running chunk, flush and commit BEFORE the partitions can move.

        The stock method forgets what is acknowledged first, so that every rebalance would replay.
        """
        app = self.app
        self.stop_flow()
        app.flow_control.suspend()
        app.flow_control.clear()
        if self._thread.is_member(app.consumer_generation_id):
            await app.quiesce()
            await self.commit_now()
        elif revoked and app.lease.enabled:
            # Somebody else owns the partitions already, what is still buffered here is stale: do not flush it.
            app.fatal(WorkerFenced("expelled from the group"))
        else:
            await app.quiesce()
        self._fetch_position.clear()
        self._applied.clear()
        self._applied_ms.clear()
        self._uncommitted_since = None
        self._durable.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        self.app.lease.renew(lease.now())
        await super().on_partitions_assigned(assigned, generation_id)


def _message(tp: TP, last: Record, value: Any, generation: int, *, key: bytes | None = None) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        offset=last.offset,
        timestamp=last.timestamp_ms / 1000.0,
        timestamp_type=0,
        headers=None,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        tp=tp,
        generation_id=generation,
    )


class Producer(driver.Producer):
    """One idempotent producer, behind the lease."""

    app: EngineApp
    logger = logging.getLogger("faust.producer")

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        settings = self.app.settings
        return aiokafka.AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap,
            client_id=settings.group,
            acks="all",
            enable_idempotence=True,
            # The default of 16 KiB would cut a chunk's rows into many requests.
            max_batch_size=settings.batch_bytes,
            compression_type=settings.compression,
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            **settings.kafka,
        )

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """As with the consumer: the engine makes its changelogs itself."""

    async def on_start(self) -> None:
        await super().on_start()
        lease.guard_producer(self._producer, self.app.lease, self.app.lease_expired)


class Transport(driver.Transport):
    Consumer = Consumer
    Producer = Producer
