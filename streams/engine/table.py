"""One table: rows in RocksDB, their changelog, and the repair of what a foreign writer left there."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import faust
from faust.types import TP

from streams.engine import marks, rows
from streams.engine.cache import RowCache
from streams.engine.chunk import Chunk
from streams.engine.errors import ChangelogCut, NotCopartitioned, SendFailed, StateLost, WrongRow
from streams.engine.marks import Mark
from streams.engine.outbox import NO_HEADERS, Message
from streams.engine.recovery import places, read_back
from streams.engine.rows import ChangelogRecord, Place, Row
from streams.engine.store import Store

if TYPE_CHECKING:
    from streams.engine.app import EngineApp
    from streams.engine.engine import Source

logger = logging.getLogger(__name__)

Put = Row | tuple[int, bytes]
Publish = Callable[[int, Sequence[tuple[bytes, Row]]], Awaitable[None]]
"""Sends what is published of some rows (key, row) of a partition."""
Sweep = Callable[[int, Mapping[bytes, bytes], int], Awaitable[None]]
"""Takes back what of some published messages (key -> value) stands on no row: see Engine.sweeper."""
_offset = itemgetter(-2)
_MANY_RECORDS = 5_000
"""More than that of a changelog are read back in bulk; to begin and end that costs some milliseconds."""


def source_end(highwater: int | None, last: int) -> int:
    """The offset after the newest record known.

    Kafka takes the high watermark of an answer before it reads the records, so some can be beyond it.
    Args: highwater: what the last answer told; None: there was none.  last: offset of a record that was read.
    """
    return max(highwater or 0, last + 1)


class Sweeper(NamedTuple):
    """What sweeps an output topic.  partitions: of the topic.  owner: message key -> partition key of its row."""

    partitions: int
    owner: Callable[[bytes], bytes]
    sweep: Sweep


class Table:
    """Rows of one source's partitions: key -> (epoch, offset, payload). Made by Engine.table."""

    def __init__(self, app: EngineApp, name: str, source: Source, logic: int) -> None:
        self.name = name
        self.source = source
        self.logic = logic
        #: What sends all that is published of rows whose keys begin with this prefix.
        self.publisher: tuple[bytes, Publish] = (rows.RESERVED, _nothing)
        #: Output topic -> what takes back messages of a lower epoch that our rows do not account for.
        self.sweepers: dict[str, Sweeper] = {}
        self._app = app
        self._epoch = app.settings.epoch
        self._faust = ChangelogTable(app, self)
        self.changelog = str(self._faust.changelog_topic_name)
        #: Kafka's, as it was asked for last: at the start, and at each recovery.
        self.changelog_id = ""
        #: Partitions whose rows are recovered and ours -> last source offset applied, -1 for none.
        self._applied: dict[int, int] = {}
        #: Kafka's leader epoch of that record, -1 where it is not known.
        self._leader_epochs: dict[int, int] = {}
        #: Those of them whose rows were made in shadow and never published as a whole.
        self.unpublished: set[int] = set()
        self._cached: defaultdict[int, RowCache] = defaultdict(self._cache)
        #: Partition -> offset that our next record in the changelog gets if we are alone.
        self._next_offset: dict[int, int] = {}
        #: Partition -> ranges of the changelog that somebody else wrote, not merged yet.
        self.gaps: dict[int, list[tuple[int, int]]] = {}
        #: While partitions are recovered: partition -> records of the changelog still to be read.
        self.unread: dict[int, int] = {}
        #: Grows whenever the partitions may move; what began in an earlier one must not go on.
        self._generation = 0
        self._recovering = asyncio.Lock()
        self.rows_written = 0
        self.foreign_rows = 0
        self.repaired_rows = 0

    def _cache(self) -> RowCache:
        shares = len(self._app.stage_tables) * self.source.partitions
        return RowCache(self._app.settings.row_cache_bytes // shares)

    # -- for stages ---------------------------------------------------------------
    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[Row | None]:
        """The rows of these keys, in their order; None for an unknown one.

        Raises: NotCopartitioned: the partition's rows are not here.  WrongRow: written by a newer release.
        """
        self._check_owned(partition)
        return self._cached[partition].get_many(
            keys, lambda missing: rows.unpack_all(self.store.get_many(partition, missing))
        )

    def scan(self, partition: int, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, Row]]:
        """Ordered (key, row) with start <= key < stop, at most `limit`.

        Raises: as get_many.
        """
        self._check_owned(partition)
        return [(key, rows.unpack(stored)) for key, stored in self.store.scan(partition, start, stop, limit)]

    def scan_keys(self, partition: int, start: bytes, stop: bytes, limit: int) -> list[bytes]:
        """As scan, the keys alone.

        Raises: NotCopartitioned.
        """
        self._check_owned(partition)
        return self.store.scan_keys(partition, start, stop, limit)

    async def apply(self, chunk: Chunk, puts: Mapping[bytes, Put], deletes: Iterable[bytes] = ()) -> None:
        """Write rows: to the changelog in the order of `puts`, then the deletes; acknowledged, then here, in one write.

        So the rows here are never ahead of the changelog, and after any crash a table is a prefix of its changelog.
        That prefix can end anywhere in `puts`: put rows that others depend on first.
        Args:   puts: key -> (offset of the last record folded into the row, payload); a Row's epoch is not looked at.
                deletes: no key of `puts`; deleted rows must be dead to every later record.
        Raises: WrongRow: chunk of another source, a reserved key, or an offset that the source does not have.
                RowTooLarge.  After either nothing was written.  SendFailed: the worker ends.
        """
        partition, last = chunk.partition, chunk.last_offset
        if chunk.topic != self.source.topic:
            raise WrongRow(f"table {self.name} is fed by {self.source.topic}, not by {chunk.topic}")
        self._app.check_running()
        self._check_owned(partition)
        # A chunk read again can find rows that are ahead of it, and of the mark, which comes last in the changelog.
        end = source_end(self._app.consumer.highwater(TP(chunk.topic, partition)), last)
        self._check_puts(chunk, puts, end)
        prefix, epoch, layout, new_row = rows.pack_prefix, self._epoch, rows.FORMAT, rows.new_row
        fresh = {key: new_row((epoch, row[-2], row[-1])) for key, row in puts.items()}
        stored = {key: prefix(epoch, row[1], layout) + row[2] for key, row in fresh.items()}
        self._check_sizes(stored)
        gone = [key for key in deletes if key not in stored]
        newest, leader_epoch = self.read_to(partition)
        if last >= newest:
            newest, leader_epoch = last, chunk.leader_epoch
        published = partition not in self.unpublished
        stored[rows.MARK_KEY] = self._mark(newest, published=published, leader_epoch=leader_epoch).pack()
        await self._write(partition, stored, gone, newest)
        self._cached[partition].put(fresh)
        self._cached[partition].drop(gone)
        self._applied[partition], self._leader_epochs[partition] = newest, leader_epoch
        self.rows_written += len(puts)
        await self.rewrite_stale(partition)

    def applied(self, partition: int) -> int:
        """The last source offset whose rows are all written; -1 for none.

        A record up to it whose row is not there was folded, and its row has been deleted since.
        """
        self._check_owned(partition)
        return self._applied[partition]

    def _check_puts(self, chunk: Chunk, puts: Mapping[bytes, Put], end: int) -> None:
        """Raises: WrongRow."""
        if not puts:
            return
        offsets = list(map(_offset, puts.values()))
        for offset in (min(offsets), max(offsets)):
            if not 0 <= offset < end:
                raise WrongRow(f"table {self.name}: a row with offset {offset}, {chunk.topic} ends at {end}")
        if (key := min(puts)) < b"\x01":
            raise WrongRow(f"table {self.name}: key {key!r} is empty or reserved")

    def _check_sizes(self, stored: Mapping[bytes, bytes]) -> None:
        """Raises: RowTooLarge."""
        limit = self._app.outbox.limit
        if max(map(len, stored), default=0) + max(map(len, stored.values()), default=0) > limit:
            for key, value in stored.items():
                self._app.outbox.check_size(self.name, key, value)

    # -- for the engine -----------------------------------------------------------
    @property
    def store(self) -> Store:
        store: Any = self._faust.data
        assert isinstance(store, Store)
        return store

    async def finish(self, chunk: Chunk) -> None:
        """Note the chunk as applied where the stage wrote nothing to this table."""
        if self._applied[chunk.partition] < chunk.last_offset:
            await self.apply(chunk, {})

    def check_source(self, partition: int, mark: Mark) -> None:
        """Raises: StateMismatch, LogicChanged, AlreadyPublished: rows that are not ours to go on with."""
        marks.check_source(self._where(partition), mark, self._mark(-1, published=self._publishing))

    def read_to(self, partition: int) -> tuple[int, int]:
        """The last source offset applied and the leader epoch of it; -1 for none, also where the partition is not here.

        What is not here yet is looked at when it is recovered.
        """
        return self._applied.get(partition, -1), self._leader_epochs.get(partition, -1)

    def check_place(self, partition: int, was: Place, now: Place | None, begin: int) -> bool:
        """Whether the rows can be read on from the record they go up to. A cut log has another one in its place.

        Where compaction took that record nobody can tell, and the rows are forgotten: True as long as there are some.
        Args:   was: here.  now: in the changelog, None for none.  begin: offset of the changelog's first record.
        Raises: ChangelogCut.
        """
        if now is None and begin == 0:
            logger.warning(
                "%s: the record at offset %s has been compacted, all is read back", self._where(partition), was.offset
            )
            self.store.make_anew(partition)
            return False
        if now is not None and not was.holds(now):
            raise self.cut(partition, was.offset)
        return True

    def cut(self, partition: int, offset: int) -> ChangelogCut:
        """The changelog was cut below a record that we had."""
        return ChangelogCut(self._where(partition), offset=offset, folder=self.store.partition_path(partition))

    def check_beginning(self, partition: int, begin: int) -> None:
        """Whether the changelog has all that our rows lack: compaction leaves its beginning where it is.

        Raises: StateLost.
        """
        if begin > (have := self._have(partition)) + 1:
            rest = f"local rows go up to {have}" if have >= 0 else "there are no local rows"
            what = f"the changelog begins at offset {begin}, what stood before was deleted, and {rest}"
            raise StateLost(self._where(partition), what, self._epoch)

    async def recover(self, partitions: Sequence[int]) -> None:
        """Read back what the changelog has of these partitions and we have not; from then on they are ours.

        A rebalance in between ends it: the partitions may be others then, and it is called again.
        Raises: StateLost, StateMismatch, ChangelogReplaced, ChangelogCut.
        """
        self.forget()
        generation = self._generation
        if not partitions:
            return
        async with self._recovering:
            # In this order: what was committed before stands below the end that is asked for after.
            committed, source_ends = await self._app.source_offsets(self.source.topic, partitions)
            ends = await self._app.ends(self.changelog, partitions)
            begins = await self._app.begins(self.changelog, partitions)
            ids = await self._app.cluster.ids_of([self.changelog])
            if generation != self._generation:
                return
            self.changelog_id = ids[self.changelog]
            for partition in partitions:
                self.store.check_changelog(partition)
                self.check_beginning(partition, begins[partition])
            have = await self._goes_on(ends, begins)
            if generation != self._generation:
                return
            stretches = {partition: (have[partition] + 1, ends[partition]) for partition in partitions}
            self.unread = {partition: stop - start for partition, (start, stop) in stretches.items()}
            many = [partition for partition, unread in self.unread.items() if unread > _MANY_RECORDS]
            with self.store.reading_back(many):
                async with aclosing(read_back(self._app, self.changelog, stretches)) as read:
                    async for some in read:
                        if generation != self._generation:
                            return
                        if some.records:
                            self.store.apply_changelog(some.partition, some.records, upto=some.last)
                        self.unread[some.partition] = ends[some.partition] - some.next
            if generation != self._generation:
                return
            marks_of = {partition: self.store.mark(partition) for partition in partitions}
            for partition, mark in marks_of.items():
                if mark is not None:
                    self.check_source(partition, mark)
            known = {
                p: mark.leader_epoch for p, mark in marks_of.items() if mark is not None and mark.leader_epoch >= 0
            }
            kept = await self._app.epoch_ends(self.source.topic, known)
            async with self._app.apply_lock:  # a revocation waits for it
                if generation == self._generation:
                    await self._own(ends, committed, source_ends, kept)

    async def _goes_on(self, ends: Mapping[int, int], begins: Mapping[int, int]) -> dict[int, int]:
        """Partition -> changelog offset up to which all is here, -1 for none; of the log that there is now.

        Raises: StateLost, ChangelogCut.
        """
        generation = self._generation
        have = {partition: self._have(partition) for partition in ends}
        seen = {partition: self.store.seen(partition) for partition in ends}
        for partition, (offset, _) in seen.items():
            if offset >= ends[partition]:
                what = f"local rows go up to changelog offset {offset}, the changelog ends at {ends[partition] - 1}"
                raise StateLost(self._where(partition), what, self._epoch)
        noted = {partition: was for partition, (_, was) in seen.items() if was is not None}
        found = await places(self._app, self.changelog, {partition: was.offset for partition, was in noted.items()})
        for partition, was in noted.items():
            if generation != self._generation:  # the databases are closed
                break
            if not self.check_place(partition, was, found.get(partition), begins[partition]):
                have[partition] = -1
        return have

    async def _own(
        self,
        ends: Mapping[int, int],
        committed: Mapping[int, int | None],
        sources: Mapping[int, int],
        kept: Mapping[int, int],
    ) -> None:
        """Look at what was recovered, and remember where our own writes begin."""
        marks_of = {partition: self.store.mark(partition) for partition in ends}
        for partition, mark in marks_of.items():
            marks.check_progress(
                self._where(partition),
                mark,
                epoch=self._epoch,
                committed=committed[partition],
                end=sources[partition],
                kept=kept.get(partition),
            )
        for partition, mark in marks_of.items():
            self._cached.pop(partition, None)
            self._applied[partition] = -1 if mark is None else mark.applied
            self._leader_epochs[partition] = -1 if mark is None else mark.leader_epoch
            self._next_offset[partition] = ends[partition]
            if not (self._publishing if mark is None else mark.published):
                self.unpublished.add(partition)
            if mark is None:
                await self._write_mark(partition)

    async def note_published(self, partition: int) -> None:
        """Everything that the partition's rows say was acknowledged."""
        self.unpublished.discard(partition)
        await self._write_mark(partition)

    def _have(self, partition: int) -> int:
        """The changelog offset up to which everything is in the local rows; -1 for none."""
        offset = self.store.persisted_offset(TP(self.changelog, partition))
        return -1 if offset is None else int(offset)

    def forget(self) -> None:
        """The partitions may move: none is ours until it was recovered again."""
        self._generation += 1
        self.unread.clear()
        self._applied.clear()
        self._leader_epochs.clear()
        self.unpublished.clear()
        self._cached.clear()
        self._next_offset.clear()
        self.gaps.clear()

    @property
    def generation(self) -> int:
        """Another number whenever the partitions may have moved."""
        return self._generation

    def owned(self) -> list[int]:
        """Partitions whose rows are recovered and ours."""
        return list(self._applied)

    def note_end(self, partition: int, end: int) -> None:
        """The changelog ends here while nothing of ours is under way: what we did not write is foreign."""
        expected = self._next_offset.get(partition)
        if expected is not None and end > expected:
            self._next_offset[partition] = end
            self._found_gap(partition, expected, end)

    def merge_foreign(self, partition: int, gap: tuple[int, int], records: Sequence[ChangelogRecord]) -> None:
        """Newer copies are adopted, keys with older copies will be written again.

        While no chunk holds rows that it has read. Nothing happens where the partition has moved since.
        """
        if gap not in self.gaps.get(partition, ()):
            return
        applied = self._applied[partition]
        complete_to = b"" if applied < 0 else rows.pack(self._epoch, applied, b"")[: rows.VERSION_BYTES]
        self.foreign_rows += len(records)
        self.store.apply_changelog(partition, records, upto=None, complete_to=complete_to)
        self._cached[partition].drop(key for key, _, _ in records)
        self.gaps[partition].remove(gap)
        if not self.gaps[partition]:
            self.store.set_persisted_offset(TP(self.changelog, partition), self._next_offset[partition] - 1)

    async def rewrite_stale(self, partition: int) -> None:
        """Write the rows again whose last copy in the changelog is not the right one."""
        stale = self.store.stale.get(partition)
        if not stale:
            return
        keys = sorted(stale)
        stale.clear()
        puts: dict[bytes, bytes] = {}
        gone: list[bytes] = []
        for key, stored in zip(keys, self.store.get_many(partition, keys), strict=True):
            if stored is None:
                gone.append(key)
            else:
                puts[key] = stored
        self.repaired_rows += len(keys)
        await self._write(partition, puts, gone, max(self._applied[partition], 0))

    # -- changelog ----------------------------------------------------------------
    async def _write(self, partition: int, puts: Mapping[bytes, bytes], deletes: Sequence[bytes], offset: int) -> None:
        """To the changelog, acknowledged, then to RocksDB.  offset: of the source, the version of the deletes."""
        messages: list[Message] = [(key, row, NO_HEADERS) for key, row in puts.items()]
        if deletes:
            # Behind the mark, which is the last of the rows: what a chunk that is folded again has to know (ids of
            # records that come again) is not gone before the mark says that the chunk is in.
            headers = rows.tombstone_headers(self._epoch, offset)
            messages += [(key, None, headers) for key in deletes]
        appended_ms = -1
        for sent in await self._app.outbox.send(self.changelog, partition, messages, name=self.name):
            metadata = await sent.acknowledged
            self._acknowledged(partition, metadata.offset, sent.records)
            appended_ms = metadata.timestamp if metadata.timestamp_type == 1 else -1
        # The stored changelog offset promises that everything before it is here. With an unread gap it would hide
        # the other writer's rows from our next recovery (1,597 records lost in a test).
        upto = None
        if not self.gaps.get(partition):
            key, row, headers = messages[-1]
            last = (key, row, b"" if row is not None else rows.tombstone_version(headers))
            upto = rows.place(last, self._next_offset[partition] - 1, appended_ms)
        self.store.write(partition, puts, deletes, upto=upto)

    def _acknowledged(self, partition: int, offset: int, count: int) -> None:
        if offset < 0:  # Kafka had it already, from a try whose answer was lost, and does not say where
            raise SendFailed(self.changelog, partition, "the offset of a batch that was sent twice is not known")
        expected = self._next_offset[partition]
        self._next_offset[partition] = offset + count
        if offset < expected:
            what = f"the changelog goes on at offset {offset}, though {expected - 1} had been acknowledged"
            raise StateLost(self._where(partition), what, self._epoch)
        if offset > expected:
            # The offsets of a single writer are contiguous.
            self._found_gap(partition, expected, offset)

    def _found_gap(self, partition: int, start: int, stop: int) -> None:
        logger.warning("%s: foreign rows in the changelog, offsets %s to %s", self._where(partition), start, stop - 1)
        self.gaps.setdefault(partition, []).append((start, stop))
        self._app.audit_now.set()

    async def _write_mark(self, partition: int) -> None:
        applied, leader_epoch = self.read_to(partition)
        mark = self._mark(applied, published=partition not in self.unpublished, leader_epoch=leader_epoch)
        await self._write(partition, {rows.MARK_KEY: mark.pack()}, (), max(applied, 0))

    @property
    def _publishing(self) -> bool:
        return not self._app.settings.shadow

    def _mark(self, applied: int, *, published: bool, leader_epoch: int = -1) -> Mark:
        source = self.source
        return Mark(
            self._app.cluster.cluster_id,
            source.topic,
            source.topic_id,
            source.partitions,
            self._epoch,
            applied,
            self.logic,
            published,
            leader_epoch,
        )

    def _check_owned(self, partition: int) -> None:
        if partition not in self._applied:
            raise NotCopartitioned((self.source.topic,), f"partition {partition} of table {self.name} is not here")

    def _where(self, partition: int) -> str:
        return f"table {self.name}[{partition}] in {self._app.settings.datadir} and changelog {self.changelog}"


async def _nothing(partition: int, found: Sequence[tuple[bytes, Row]]) -> None:
    """Of a table without a publisher nothing is published."""


class ChangelogTable(faust.Table):  # type: ignore[type-arg]
    """What Faust sees of a Table: a store, and the moment when partitions are to be recovered."""

    logger = logging.getLogger("faust.tables")

    def __init__(self, app: EngineApp, table: Table) -> None:
        self._table = table
        super().__init__(
            app,
            name=table.name,
            partitions=table.source.partitions,
            key_type=bytes,
            value_type=bytes,
            beacon=app.beacon,
        )
        app.tables.add(self)

    def _new_store_by_url(self, url: Any) -> Any:
        return Store(
            url,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
            opener=self.app.rocks_options,  # type: ignore[attr-defined]
            check=self._table.check_source,
            changelog_id=lambda: self._table.changelog_id,
            epoch=self.app.settings.epoch,  # type: ignore[attr-defined]
        )

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        assigned = self.app.assignor.assigned_actives()
        try:
            await self._table.recover([tp.partition for tp in assigned if tp.topic == self._table.changelog])
            await super().on_recovery_completed(active_tps, standby_tps)
        except Exception as error:  # Faust drops what this raises
            self.app.fatal(error)  # type: ignore[attr-defined]
