"""The query tables as a sink: one writer thread, one transaction per file with rows and the offsets behind them."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import pyarrow as pa

from schemas.errors import PermanentError, RetryableError
from schemas.routing import ARCHIVE, DROP
from sinks import routes
from sinks.errors import StoreUnavailable
from sinks.metrics import SinkMetrics
from sinks.protocol import Batch, Identity, Offset, uncovered
from sinks.query import ddl, people, rows
from sinks.query.database import Database
from sinks.query.decode import Load, Unreadable, load, rejected_rows
from sinks.query.tables import BY_TOPIC, CATALOGS, TOPICS, File, file_of

logger = logging.getLogger(__name__)


def _now_us() -> int:
    return time.time_ns() // 1000


class QueryStore:
    """The sink of every SQL name (sinks.protocol.Sink).

    Text of class content, and originals that may hold it, go into a file of their own, with the offsets of their
    topics. DuckDB commits one file at a time, so a write of both is two transactions, each whole in itself.

    What routing archived or dropped is in no table. Only `people` learns from archived records: the aggregates count
    them.
    """

    name = "query"
    topics = TOPICS

    def __init__(
        self, database: Database, metrics: SinkMetrics | None = None, clock: Callable[[], int] = _now_us
    ) -> None:
        """database: not yet open; the SQL service reads the same one.  clock: microseconds since the epoch, UTC."""
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._thread: ThreadPoolExecutor | None = None
        self._cursor: Any = None
        self._identity: Identity | None = None
        self._offsets: dict[tuple[str, int], Offset] = {}

    async def open(self, identity: Identity) -> None:
        """Open both files and check whose offsets they hold.

        Raises: IdentityMismatch, TableMismatch; StoreUnavailable.
        """
        if self._thread is None:
            # DuckDB's writers conflict with each other, so there is exactly one, and it never blocks the event loop.
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="query-store")
        await self._on_thread(self._open, identity)

    async def covered(self, topic: str, partition: int) -> Offset | None:
        """How far a partition is stored; None when nothing of it ever was."""
        return self._offsets.get((topic, partition))

    async def write(self, batches: Sequence[Batch]) -> None:
        """Store ranges of several partitions at once. Raises: StoreUnavailable; PermanentError."""
        await self._on_thread(self._write, batches)

    async def close(self) -> None:
        """Write everything into the files and close them. May come without `open`, and twice."""
        if self._thread is None:
            return
        await self._on_thread(self._close)
        self._thread.shutdown()
        self._thread = None

    async def _on_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        assert self._thread is not None, "open comes first"
        # Shielded: a write cannot be taken back half-way, and whoever is cancelled must not run on beside it.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments))

    def _open(self, identity: Identity) -> None:
        if not self._database.is_open:
            self._database.open(self.name)
        try:
            self._restore()
            for (topic, partition), offset in self._offsets.items():
                if topic in identity.topic_ids:
                    identity.check(self.name, topic, partition, offset)
        except BaseException:
            self._close()
            raise
        self._identity = identity

    def _close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        self._database.close()
        self._offsets = {}

    def _load_offsets(self, cursor: Any) -> None:
        self._offsets = {
            (topic, partition): Offset(cluster_id, topic_id, next_offset)
            for file in CATALOGS
            for topic, partition, next_offset, cluster_id, topic_id in cursor.execute(
                f"SELECT topic, partition, next_offset, cluster_id, topic_id FROM {ddl.offsets_path(file)}"
            ).fetchall()
        }

    def _write(self, batches: Sequence[Batch]) -> None:
        if self._cursor is None:
            self._restore()
        ranges = [rest for batch in batches if (rest := self._rest(batch)) is not None]
        loads: dict[str, Load] = {}
        unreadable: list[Unreadable] = []
        for topic in dict.fromkeys(batch.topic for batch in ranges):
            loads[topic], bad = load(topic, [batch for batch in ranges if batch.topic == topic])
            unreadable += bad
        # First the file that takes what could not be read: once the offsets have moved on it would be lost.
        for file in ("content", "events"):
            moved = [batch for batch in ranges if file_of(batch.topic) == file]
            bad = unreadable if file == "content" else []
            if moved or bad:
                self._transaction(file, [loads[t] for t in loads if file_of(t) == file], moved, bad)
        for item in unreadable:
            logger.warning(
                "%s[%d] offset %d cannot be read (%s), kept in `rejected`: %s",
                item.topic,
                item.partition,
                item.record.offset,
                item.reason,
                item.error,
            )
            if self._metrics is not None:
                self._metrics.unreadable(self.name, item.topic, item.reason)

    def _rest(self, batch: Batch) -> Batch | None:
        stored = self._offsets.get((batch.topic, batch.partition))
        return uncovered(self.name, batch, None if stored is None else stored.next_offset)

    def _transaction(
        self, file: File, loads: Sequence[Load], moved: Sequence[Batch], unreadable: Sequence[Unreadable]
    ) -> None:
        assert self._identity is not None, "open comes first"
        offsets = {(b.topic, b.partition): self._identity.offset(b.topic, b.next_offset) for b in moved}
        resent: dict[str, int] = {}
        left_out: dict[tuple[str, str], int] = {}
        seen: list[pa.Table] = []
        try:
            self._cursor.execute("BEGIN TRANSACTION")
            if unreadable:
                rows.add_unreadable(self._cursor, rejected_rows(unreadable, self._clock()))
            for part in loads:
                for table in BY_TOPIC[part.topic]:
                    if table.versioned:
                        rows.replace(self._cursor, table, part)
                    elif part.rows.num_rows:
                        kept, dropped = routes.apart(part.rows, DROP)
                        hot, archived = routes.apart(kept, ARCHIVE)
                        added = rows.add(self._cursor, table, hot)
                        resent[part.topic] = hot.num_rows - added.num_rows
                        left_out[part.topic, DROP] = dropped.num_rows
                        left_out[part.topic, ARCHIVE] = archived.num_rows
                        if table in people.SOURCES:
                            seen += [people.seen(table, who) for who in (added, archived) if who.num_rows]
            if seen:
                rows.merge_people(self._cursor, pa.concat_tables(seen))
            self._store_offsets(file, offsets)
            self._cursor.execute("COMMIT")
        except BaseException as error:
            # A COMMIT that failed may have happened: what is durable is read anew before anything else is written.
            self._cursor.close()
            self._cursor = None
            if isinstance(error, duckdb.Error):
                raise _wrapped(self.name, error) from error
            raise
        finally:
            self._database.wrote()
        self._offsets |= offsets
        if self._metrics is not None:
            for topic, count in resent.items():
                self._metrics.resent(self.name, topic, count)
            for (topic, route), count in left_out.items():
                self._metrics.left_out(self.name, topic, route, count)

    def _store_offsets(self, file: File, offsets: dict[tuple[str, int], Offset]) -> None:
        if not offsets:
            return
        path = ddl.offsets_path(file)
        arriving = pa.table(
            {
                "topic": [topic for topic, _ in offsets],
                "partition": pa.array([partition for _, partition in offsets], pa.int32()),
                "next_offset": pa.array([offset.next_offset for offset in offsets.values()], pa.int64()),
                "cluster_id": [offset.cluster_id for offset in offsets.values()],
                "topic_id": [offset.topic_id for offset in offsets.values()],
            }
        )
        rows.replace_all(self._cursor, path, arriving, ("topic", "partition"))

    def _restore(self) -> None:
        """After a failed write: a new cursor, and the offsets as they are."""
        cursor = self._database.cursor()
        try:
            self._load_offsets(cursor)
        except duckdb.Error as error:
            cursor.close()
            raise _wrapped(self.name, error) from error
        self._cursor = cursor


def _wrapped(sink: str, error: duckdb.Error) -> RetryableError | PermanentError:
    """What a failed transaction means to the worker."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, duckdb.FatalException | duckdb.InternalException):
        return PermanentError(f"{sink}: the store must be opened anew: {text}", reason="store_broken")
    if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException | duckdb.TransactionException):
        return StoreUnavailable(sink, text)
    return PermanentError(f"{sink}: the store refuses the rows: {text}", reason="store_refused")
