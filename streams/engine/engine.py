"""The engine as a stage sees it: sources, tables, one agent a source, emitting; and how the worker does."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from streams.engine.app import EngineApp
from streams.engine.audit import Audit
from streams.engine.changelogs import ensure_topics
from streams.engine.chunk import Chunk, Output
from streams.engine.publication import Publication
from streams.engine.recovery import Standby
from streams.engine.settings import Cluster, EngineSettings
from streams.engine.table import Publish, Sweep, Sweeper, Table

logger = logging.getLogger(__name__)

Fold = Callable[[Chunk], Awaitable[Chunk | None]]
"""Applies a chunk, or its first records; returns what it left."""
ChunkSeen = Callable[[str, int, float], None]
"""Told of every chunk that was folded: topic, records, seconds."""
_FAILED_EXIT_CODE = 70
_SIZES_EVERY_S = 5.0


@dataclass
class Source:
    """One input topic.  topic: full name.  topic_id: Kafka's."""

    topic: str
    topic_id: str
    partitions: int
    tables: list[Table] = field(default_factory=list)
    records: int = 0
    chunks: int = 0
    duplicates: int = 0
    late: int = 0
    newest_event_us: int | None = None


@dataclass(frozen=True)
class SourceStatus:
    """lag: records of our partitions that are not yet applied; None until it is known, which takes a moment.
    lag_s: how long records have waited, by Kafka's time of the last one applied; 0 when none waits, None as above.
    event_age_s: how long ago the newest event applied here happened, as its stage tells; None where it told none yet.
    late: records that their stage found late, re-reads included.
    lost: records that the topic's retention took before they were read.
    """

    partitions: tuple[int, ...]
    lag: int | None
    lag_s: float | None
    event_age_s: float | None
    records: int
    chunks: int
    duplicates: int
    late: int
    lost: int


@dataclass(frozen=True)
class TableStatus:
    """Rows written by stages, found in the changelog from a foreign writer, and written again for that reason.

    unread: records of the changelog still to be read before the table's partitions are ours.
    unpublished: partitions whose rows were made in shadow and are not published yet.
    standbys: partitions that are kept here for other workers, and how far they are.
    rows, bytes: of its databases here, as Store.size tells them; some seconds old.
    """

    rows_written: int
    foreign_rows: int
    repaired_rows: int
    unread: int
    unpublished: int
    rows: int
    bytes: int
    standbys: Mapping[int, Standby]


@dataclass(frozen=True)
class Status:
    """How the worker does now. Counts are since its start.

    ready: in the group, every table recovered, chunks flow.  why: what it waits for, or what it owns and does.
    recovery_s: how long the last recovery took, from the assignment on.
    commit_age_s: how long the oldest chunk is applied that is not committed; 0 when all is.
    """

    ready: bool
    why: str
    failure: str | None
    recovery_s: float
    rebalances: int
    commit_age_s: float
    messages_sent: int
    sources: Mapping[str, SourceStatus]
    tables: Mapping[str, TableStatus]


def exit_at_once(error: BaseException) -> None:
    """End the process without a flush, exit code 70. `python -m streams` has finer codes."""
    logging.shutdown()
    os._exit(_FAILED_EXIT_CODE)


class Stop(asyncio.Event):
    """Set when the worker shall end."""

    again = False

    def for_good(self) -> None:
        """It leaves the group, and its partitions move at once."""
        self.again = False
        self.set()

    def for_a_restart(self) -> None:
        """A member with a static name keeps its place for a session timeout: a start until then moves no partition."""
        self.again = True
        self.set()


class Engine:
    """One worker. Declare sources, tables and agents, then start; build it in a running event loop."""

    def __init__(
        self,
        settings: EngineSettings,
        cluster: Cluster,
        *,
        on_fatal: Callable[[BaseException], None] = exit_at_once,
        on_chunk: ChunkSeen = lambda topic, records, seconds: None,
    ) -> None:
        """on_fatal: called once, with the error that ends the worker. Must end the process without a flush; if it
        returns, the engine stands still: it applies, sends and commits nothing any more.
        on_chunk: told of every chunk that was folded."""
        self.settings = settings
        self._app = EngineApp(settings, cluster, on_fatal)
        self._cluster = cluster
        self._sources: dict[str, Source] = {}
        self._audit = Audit(self._app)
        self._assigned_at: float | None = None
        self._recovery_s = 0.0
        self._folding: Source | None = None
        self._on_chunk = on_chunk
        self._sizes: dict[str, tuple[int, int]] = {}
        self._sized_at: float | None = None
        self._internal: dict[str, Source] = {}
        self._app.background += [self._audit.run, self._audit.watch, self._flush]
        if not settings.shadow:
            self._app.background.append(Publication(self._app, self._internal).run)
        self._app.on_partitions_assigned.connect(self._on_assigned)

    # -- declaring ----------------------------------------------------------------
    def source(self, topic: str, partitions: int, *, internal: bool = False) -> Source:
        """One input topic, read whole chunks at a time.

        Args:   topic: full name.  partitions: as Kafka has it.
                internal: other stages of this epoch emit to it, even in shadow; nobody else reads it, and the engine
                makes it. Its name is of settings.internal_topic.
        Raises: ValueError: declared before, or none of ours and the Cluster we were given does not tell its id.
        """
        if topic in self._sources:
            raise ValueError(f"source {topic} is declared twice")
        if not internal and topic not in self._cluster.topic_ids:
            raise ValueError(f"the id of topic {topic} is not known")
        # That of an internal one is asked for when it has been made.
        source = self._sources[topic] = Source(topic, self._cluster.topic_ids.get(topic, ""), partitions)
        if internal:
            self._internal[topic] = source
        return source

    def table(self, name: str, source: Source, *, logic: int = 1) -> Table:
        """One table fed by ONE source, with its partitions; folds of other sources may read it, never write it.

        Args: logic: version of what makes rows of records; rows of another version are refused.
        """
        if any(table.name == name for table in self._app.stage_tables):
            raise ValueError(f"table {name} is declared twice")
        table = Table(self._app, name, source, logic)
        source.tables.append(table)
        self._app.stage_tables.append(table)
        return table

    def agent(self, source: Source) -> Callable[[Fold], Fold]:
        """Decorates `async def fold(chunk: Chunk) -> Chunk | None`: exactly one for a source.

        Folds run one at a time in the whole worker, so rows that one has read do not change before it has written.
        One whose first records already come to much work applies those alone and returns the others (Chunk.split): they
        are its next chunk. In between partitions can move, so that no chunk holds them up for long.
        If it raises, the worker ends, nothing is committed, and the records come again.
        Raises: ValueError: the source has one already.
        """
        if source.topic in self._app.stage_topics:
            raise ValueError(f"source {source.topic} has two agents")

        def decorate(fold: Fold) -> Fold:
            async def counted(chunk: Chunk) -> tuple[Chunk, Chunk | None]:
                self._folding = source
                began = time.perf_counter()
                left = await fold(chunk)
                done, _ = chunk.split(None if left is None else left.first_offset)
                for table in source.tables:
                    await table.finish(done)
                source.chunks += 1
                source.records += len(done)
                self._on_chunk(source.topic, len(done), time.perf_counter() - began)
                return done, left

            self._app.stage(source.topic, source.partitions, counted, getattr(fold, "__name__", "fold"))
            return fold

        return decorate

    def publisher(self, table: Table, prefix: bytes) -> Callable[[Publish], Publish]:
        """Decorates `async def publish(partition, rows)`, which emits all that is published of these (key, row) pairs.

        Of a partition whose rows were made in shadow it is given all rows whose keys begin with the prefix, some at a
        time, while no fold runs; after a crash all of them again.
        """

        def decorate(publish: Publish) -> Publish:
            table.publisher = (prefix, publish)
            return publish

        return decorate

    def sweeper(
        self, table: Table, topic: str, partitions: int, owner: Callable[[bytes], bytes]
    ) -> Callable[[Sweep], Sweep]:
        """Decorates `async def sweep(partition, messages, since_ms)`, which takes back what no row of ours stands for.

        After the rows of a partition are published it is given the messages (key -> value) of this output topic whose
        rows would lie in it, some at a time: those of a lower epoch among them. This stage must be the only one that
        writes to the topic.
        since_ms: the rebuild had all records from this Kafka time on; older ones may be missing.

        Args: partitions: of the topic. Where the table's source has another number, every partition of the table reads
              the whole topic.
              owner: of a message's key, the partition key of its row's source records.
        """

        def decorate(sweep: Sweep) -> Sweep:
            table.sweepers[topic] = Sweeper(partitions, owner, sweep)
            return sweep

        return decorate

    # -- for folds ----------------------------------------------------------------
    async def emit(
        self,
        topic: str,
        partitions: int,
        items: Iterable[Output | tuple[bytes, bytes | None, bytes]],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Send messages (key, value, partition key[, headers]), at once and in this order within each partition.

        They are acknowledged before the offsets of the running chunk are committed; they do not wait for that commit.
        In shadow only what goes to internal topics is sent.
        Args:   partitions: of the topic; the partition key picks one by murmur2, as Java's producer does.
                headers: of every message, besides its own.
        Raises: RowTooLarge.  SendFailed.
        """
        self._app.check_running()
        if self.settings.shadow and topic not in self._internal:
            return
        await self._app.outbox.emit(topic, partitions, items, headers)

    def duplicates(self, count: int) -> None:
        """Count records of the running chunk that the rows already held (`offset <= row.offset`)."""
        assert self._folding is not None, "called outside a fold"
        self._folding.duplicates += count

    def late(self, count: int) -> None:
        """Count records of the running chunk that the stage takes for late."""
        assert self._folding is not None, "called outside a fold"
        self._folding.late += count

    def newest_event(self, time_us: int) -> None:
        """Say when the newest event of the running chunk happened, by the events' own time."""
        assert self._folding is not None, "called outside a fold"
        self._folding.newest_event_us = max(time_us, self._folding.newest_event_us or 0)

    # -- life ---------------------------------------------------------------------
    async def start(self) -> None:
        """Make missing topics of our own, join the group, recover; returns when the first recovery has ended.

        Raises: WrongChangelog.  EpochSuperseded.  KafkaError.
        """
        self.settings.datadir.mkdir(parents=True, exist_ok=True)
        await ensure_topics(
            self.settings,
            changelogs={table.changelog: table.source.partitions for table in self._app.stage_tables},
            internal={topic: source.partitions for topic, source in self._internal.items()},
        )
        tables = {table.changelog: table for table in self._app.stage_tables}
        for topic, topic_id in (await self._cluster.ids_of([*tables, *self._internal])).items():
            if topic in tables:
                tables[topic].changelog_id = topic_id
            else:
                self._internal[topic].topic_id = topic_id
        await self._app.start()

    async def stop(self, *, leave: bool = True) -> None:
        """Finish the running chunk, flush, commit, close the tables, leave the group. Does nothing after a failure.

        Args: leave: see Stop.
        """
        self._app.leaves = leave
        if self._app.failure is None:
            await self._app.stop()

    async def run(self, stop: Stop) -> None:
        """Start, wait for `stop`, stop.

        Raises: as start.
        """
        starting = asyncio.ensure_future(self.start())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
            await self.stop(leave=not stop.again)
        finally:
            stopping.cancel()
            starting.cancel()

    async def settle(self) -> None:
        """Wait until everything sent so far is acknowledged."""
        await self._app.outbox.settle()

    async def _flush(self) -> None:
        """Have rows written to files now and then that nothing else drives there: a trickle fills no buffer."""
        while True:
            await asyncio.sleep(self.settings.flush_interval_s)
            for table in self._app.stage_tables:
                table.store.flush()

    # -- status -------------------------------------------------------------------
    def _on_assigned(self, *_args: object, **_kwargs: object) -> None:
        self._assigned_at = time.monotonic()

    def status(self) -> Status:
        """How the worker does now. Cheap; call it from the event loop's thread."""
        app = self._app
        recovered = bool(app.tables.actives_ready) and not app.rebalancing and not app.should_stop
        if recovered and self._assigned_at is not None:
            self._recovery_s = time.monotonic() - self._assigned_at
            self._assigned_at = None
        now = time.time()
        sources = {}
        for topic, source in self._sources.items():
            partitions, lag = self._audit.lag(topic) if recovered else ([], None)
            sources[topic] = SourceStatus(
                partitions=tuple(partitions),
                lag=lag,
                lag_s=None if lag is None else self._audit.lag_s(topic, now),
                event_age_s=None if source.newest_event_us is None else max(now - source.newest_event_us / 1e6, 0.0),
                records=source.records,
                chunks=source.chunks,
                duplicates=source.duplicates,
                late=source.late,
                lost=app.lost[topic],
            )
        return Status(
            ready=recovered and app.failure is None,
            why=self._why(recovered),
            failure=None if app.failure is None else str(app.failure),
            recovery_s=self._recovery_s,
            rebalances=app.rebalancing_count,
            commit_age_s=app.consumer.commit_age_s() if app.started else 0.0,
            messages_sent=app.outbox.sent,
            sources=sources,
            tables={
                table.name: TableStatus(
                    rows_written=table.rows_written,
                    foreign_rows=table.foreign_rows,
                    repaired_rows=table.repaired_rows,
                    unread=sum(table.unread.values()),
                    unpublished=len(table.unpublished),
                    rows=size[0],
                    bytes=size[1],
                    standbys=app.standbys.standbys(table.changelog),
                )
                for table, size in self._with_sizes()
            },
        )

    def _with_sizes(self) -> Iterator[tuple[Table, tuple[int, int]]]:
        now = time.monotonic()
        if self._sized_at is None or now - self._sized_at >= _SIZES_EVERY_S:
            self._sized_at = now
            self._sizes = {table.name: table.store.size() for table in self._app.stage_tables}
        for table in self._app.stage_tables:
            yield table, self._sizes[table.name]

    def _why(self, recovered: bool) -> str:
        app = self._app
        if app.failure is not None:
            return str(app.failure)
        if not app.started:
            return "starting"
        if app.should_stop:
            return "stopping"
        if recovered:
            return f"owns {len(app.consumer.applied())} partitions{self._unpublished()}"
        if unread := sum(sum(table.unread.values()) for table in app.stage_tables):
            return f"recovering tables, {unread} changelog records to read"
        return "joining the group" if app.rebalancing or not app.rebalancing_count else "waiting for partitions"

    def _unpublished(self) -> str:
        if self.settings.shadow:
            return f", in shadow as epoch {self.settings.epoch}"
        left = sum(len(table.unpublished) for table in self._app.stage_tables)
        return f", publishing what {left} of the tables' partitions hold" if left else ""
