"""One table of the lake: rows and the offsets behind them in one Iceberg commit.

Why this is exact: a commit is one compare-and-swap on the catalog's row of the table, and ours holds the new data files
and the new offsets (table properties, one key a partition) together. It names the snapshot that it was made upon, so of
two writers one loses, reads the winner's offsets and drops what they cover. A crash before the commit leaves files that
no snapshot names; `upkeep.py` removes them after a day.
"""

import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
)
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, Or
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update.snapshot import ExpireSnapshots
from sqlalchemy.exc import DBAPIError

from schemas.routing import DROP
from sinks.errors import CommitLost, TableMismatch
from sinks.lake.rows import Rows, identity, rows
from sinks.lake.seen import Seen
from sinks.lake.tables import DAY, DAYS_BEFORE, OFFSET, PARTITION, RECEIVED, TableSpec, columns
from sinks.metrics import SinkMetrics
from sinks.protocol import Batch, Identity, Offset, uncovered

logger = logging.getLogger(__name__)

NAME = "lake"
# What a disk, a network or a catalog's database raises when it cannot now and may later.
UNAVAILABLE = (OSError, DBAPIError, RESTError, CommitStateUnknownException)

_OFFSET_KEY = "millrace.offset"
_RACES_MAX = 20
_RACE_WAIT_S = 0.05
# An expiry copies the metadata once per snapshot: a foreign writer's thousand must not hold up one commit.
_EXPIRE_AT_ONCE = 10
_DAY_US = 86_400_000_000

# Column statistics cost more than the rows of a small commit, and a wild clock (year 12000) in the statistics of a
# time breaks PyIceberg; so only what finds rows: the day, and what `_remember` and audits ask for.
_WITH_STATISTICS = ("tenant", DAY, RECEIVED, PARTITION, OFFSET)

PROPERTIES = {
    "commit.retry.num-retries": "0",  # PyIceberg would commit again without asking what the winner stored
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.metrics.default": "none",
    **{f"write.metadata.metrics.column.{name}": "full" for name in _WITH_STATISTICS},
}


@dataclass(frozen=True)
class Limits:
    """dedup_horizon_us: microseconds of received time.  dedup_ids_max: per topic.  snapshots_max: kept per table."""

    dedup_horizon_us: int = 3_600_000_000
    dedup_ids_max: int = 4_000_000
    snapshots_max: int = 100


@dataclass(frozen=True)
class _Stored:
    """What the table says of one partition.  received_us: the latest received time of its rows; None before any."""

    offset: Offset
    received_us: int | None


class LakeTable:
    """One table and its offsets. Blocking; used by one thread."""

    def __init__(
        self,
        spec: TableSpec,
        catalog: Catalog,
        namespace: str,
        *,
        identity: Identity,
        limits: Limits,
        metrics: SinkMetrics,
    ) -> None:
        self.spec = spec
        self._catalog = catalog
        self._name = (namespace, spec.name)
        self._identity = identity
        self._limits = limits
        self._metrics = metrics
        self._stored: dict[int, _Stored] = {}
        self._seen = Seen(horizon_us=limits.dedup_horizon_us, ids_max=limits.dedup_ids_max)
        self._table = self._opened()
        self._stale = False
        self._read_back()

    @property
    def table(self) -> Table:
        """The table as of our last commit or reload."""
        return self._table

    def offset(self, partition: int) -> Offset | None:
        """The first offset that is not stored; None when nothing of this partition is."""
        stored = self._stored.get(partition)
        return None if stored is None else stored.offset

    def append(self, batches: Sequence[Batch]) -> None:
        """Store what of these ranges is not stored yet, in one commit.

        Raises: CommitLost; RangeGap; TableMismatch; whatever is in UNAVAILABLE, after which the next call looks
        first at what the table really holds.
        """
        if self._stale:
            self._reload()
        for _ in range(_RACES_MAX):
            missing = [part for batch in batches if (part := self._uncovered(batch)) is not None]
            if not missing:
                return
            found = rows(self.spec, missing, self._seen, self._unreadable)
            try:
                stored = self._commit(missing, found)
            except CommitFailedException as error:
                logger.info("table %s: another writer committed first: %s", self.spec.name, error)
                self._metrics.conflict(self.spec.name)
                time.sleep(random.uniform(0, _RACE_WAIT_S))
                self._reload()
                continue
            except BaseException:
                self._stale = True  # it may have landed all the same
                raise
            self._committed(stored, found)
            return
        raise CommitLost(self.spec.name, _RACES_MAX)

    def _uncovered(self, batch: Batch) -> Batch | None:
        offset = self.offset(batch.partition)
        return uncovered(NAME, batch, None if offset is None else offset.next_offset)

    def _commit(self, batches: Sequence[Batch], found: Rows) -> dict[int, _Stored]:
        received = {mark.partition: mark.last_us for mark in found.marks}
        stored = {}
        for batch in batches:
            before = self._stored.get(batch.partition)
            times = [received.get(batch.partition), before.received_us if before is not None else None]
            offset = self._identity.offset(batch.topic, batch.next_offset)
            stored[batch.partition] = _Stored(offset, max((t for t in times if t is not None), default=None))
        try:
            with self._table.transaction() as transaction:
                # Even without rows: only a snapshot makes the commit fail when another writer was here meanwhile.
                transaction.append(_fitted(found.table, self._table))
                transaction.set_properties({self._key(p): _to_json(entry) for p, entry in stored.items()})
                self._expire(transaction)
        except ValueError as error:
            raise TableMismatch(NAME, self.spec.name, str(error)) from error
        return stored

    def _expire(self, transaction: Transaction) -> None:
        metadata = self._table.metadata
        surplus = len(metadata.snapshots) + 1 - self._limits.snapshots_max
        if surplus <= 0:
            return
        named = {ref.snapshot_id for ref in metadata.refs.values()}  # branches and tags of other people too
        old = sorted((s for s in metadata.snapshots if s.snapshot_id not in named), key=lambda s: s.timestamp_ms)
        ids = [snapshot.snapshot_id for snapshot in old[: min(surplus, _EXPIRE_AT_ONCE)]]
        if ids:
            ExpireSnapshots(transaction=transaction).by_ids(ids).commit()

    def _committed(self, stored: dict[int, _Stored], found: Rows) -> None:
        self._stored |= stored
        for mark in found.marks:
            if mark.ids is not None:
                self._seen.add(mark.partition, mark.ids, first_us=mark.first_us, last_us=mark.last_us)
        topic = self.spec.topic
        self._metrics.resent(NAME, topic, found.resends)
        self._metrics.left_out(NAME, topic, DROP, found.dropped)
        self._metrics.dedup_ids(topic, len(self._seen))
        self._metrics.snapshots(self.spec.name, len(self._table.metadata.snapshots))

    def _unreadable(self, reason: str, records: int) -> None:
        self._metrics.unreadable(NAME, self.spec.topic, reason, records)

    # What the table holds

    def _opened(self) -> Table:
        try:
            table = self._catalog.load_table(self._name)
        except NoSuchTableError:
            try:
                properties = {**PROPERTIES, "format-version": "2"}
                with (
                    self._catalog.create_table_transaction(
                        self._name, columns(self.spec), properties=properties
                    ) as new,
                    new.update_spec() as partitions,
                ):
                    partitions.add_identity(DAY)
                logger.info("created table %s", ".".join(self._name))
            except TableAlreadyExistsError:
                pass  # another process was faster
            table = self._catalog.load_table(self._name)
        self._evolve(table)
        wanted = {key: value for key, value in PROPERTIES.items() if table.properties.get(key) != value}
        if wanted:
            with table.transaction() as transaction:
                transaction.set_properties(wanted)
        return table

    def _evolve(self, table: Table) -> None:
        """Add the columns that a newer .avsc brought; nothing is ever dropped or retyped."""
        present = table.schema().as_arrow()
        missing = []
        for field in columns(self.spec):
            if field.name not in present.names:
                missing.append(field.with_nullable(True))  # the rows that are there have no value for it
            elif _plain(present.field(field.name).type) != _plain(field.type):
                cause = f"column {field.name} is {present.field(field.name).type}, the schema says {field.type}"
                raise TableMismatch(NAME, self.spec.name, cause)
        if missing:
            with table.update_schema() as update:
                update.union_by_name(pa.schema(missing))
            logger.info("table %s: added %s", self.spec.name, ", ".join(field.name for field in missing))

    def _reload(self) -> None:
        before = self._stored
        self._table.refresh()
        self._stored = self._offsets()
        self._stale = False
        if self._stored != before:
            self._remember()  # rows that another writer stored, or our own commit that seemed to fail

    def _read_back(self) -> None:
        self._stored = self._offsets()
        self._remember()

    def _offsets(self) -> dict[int, _Stored]:
        found = {}
        head = f"{_OFFSET_KEY}.{self.spec.topic}."
        for key, text in self._table.properties.items():
            if key.startswith(head):
                partition = int(key.removeprefix(head))
                found[partition] = _from_json(text)
                self._identity.check(NAME, self.spec.topic, partition, found[partition].offset)
        return found

    def _remember(self) -> None:
        """Read the ids within the horizon back from the table's own rows."""
        self._seen.clear()
        windows = {
            partition: stored.received_us - self._limits.dedup_horizon_us
            for partition, stored in self._stored.items()
            if stored.received_us is not None
        }
        if not self.spec.identity or not windows:
            return
        started = time.monotonic()
        received = self.spec.received
        wanted = (*self.spec.identity, received, PARTITION)
        lately = self._table.scan(row_filter=_any_of(windows, received), selected_fields=wanted).to_arrow()
        lately = lately.sort_by(received)
        for partition in windows:
            part = lately.filter(pc.equal(lately[PARTITION], partition))
            times = part[received].cast(pa.int64())
            for start in range(0, part.num_rows, 20_000):
                run = part.slice(start, 20_000)
                last = start + run.num_rows - 1
                self._seen.add(
                    partition, identity(self.spec, run), first_us=times[start].as_py(), last_us=times[last].as_py()
                )
        self._metrics.dedup_ids(self.spec.topic, len(self._seen))
        seconds = time.monotonic() - started
        logger.info("table %s: remembered %d ids in %.1f s", self.spec.name, len(self._seen), seconds)

    def _key(self, partition: int) -> str:
        return f"{_OFFSET_KEY}.{self.spec.topic}.{partition}"


def _any_of(windows: dict[int, int], received: str) -> BooleanExpression:
    """Rows of each partition since its own time; the days only spare the reader manifests."""
    parts = [
        And(
            EqualTo(term=PARTITION, value=partition),
            GreaterThanOrEqual(term=received, value=_iso(since_us)),
            GreaterThanOrEqual(term=DAY, value=_iso(since_us - (DAYS_BEFORE + 1) * _DAY_US)[:10]),
        )
        for partition, since_us in windows.items()
    ]
    return parts[0] if len(parts) == 1 else Or(*parts)


def _iso(us: int) -> str:
    seconds, rest = divmod(us, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}+00:00"


def _fitted(found: pa.Table, table: Table) -> pa.Table:
    """The rows with nulls for columns that the table has and our schema does not (a newer writer's)."""
    for field in table.schema().as_arrow():
        if field.name not in found.column_names:
            found = found.append_column(field.with_nullable(True), pa.nulls(found.num_rows, field.type))
    return found


def _plain(kind: pa.DataType) -> pa.DataType | tuple[str, pa.DataType, pa.DataType] | tuple[str, pa.DataType]:
    """A type without Arrow's choice of 32 or 64 bit offsets and without the names of nested fields."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return ("map", _plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return ("list", _plain(kind.value_type))
    return kind


def _to_json(stored: _Stored) -> str:
    offset = stored.offset
    return json.dumps(
        {
            "next": offset.next_offset,
            "cluster_id": offset.cluster_id,
            "topic_id": offset.topic_id,
            "received_us": stored.received_us,
        }
    )


def _from_json(text: str) -> _Stored:
    entry = json.loads(text)
    return _Stored(Offset(entry["cluster_id"], entry["topic_id"], entry["next"]), entry.get("received_us"))
