"""The lake as a sink: five Iceberg tables, appended only, each with its own offsets."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pyiceberg.catalog import Catalog, load_catalog

from sinks.errors import StoreUnavailable
from sinks.lake.latest import latest_sql
from sinks.lake.store import NAME, UNAVAILABLE, LakeTable, Limits
from sinks.lake.tables import TABLES
from sinks.lake.upkeep import remove_orphans
from sinks.metrics import SinkMetrics
from sinks.protocol import Batch, Identity, Offset

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_UPKEEP_AFTER_S = 60.0  # also on a laptop that runs it for an hour a day
_UPKEEP_EVERY_S = 86_400.0
ORPHAN_AGE_S = 86_400.0


class LakeSink:
    """Iceberg tables through PyIceberg (sinks.protocol.Sink).

    A write of several topics is one commit per table, so it can end after some of them: the offsets of each table move
    with its own rows, and what is stored is recognised when the same ranges come again.
    """

    name = NAME
    topics = tuple(spec.topic for spec in TABLES)

    def __init__(
        self,
        properties: Mapping[str, str],
        *,
        namespace: str,
        limits: Limits | None = None,
        metrics: SinkMetrics | None = None,
    ) -> None:
        """properties: PyIceberg's catalog properties: uri, warehouse, and those of the catalog and of file access."""
        self._properties = {"py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO", **properties}
        self._namespace = namespace
        self._limits = limits or Limits()
        self._metrics = metrics or SinkMetrics()
        self._upkeep: asyncio.Task[None] | None = None
        self._catalog: Catalog | None = None
        self._tables: dict[str, LakeTable] = {}
        self._thread: ThreadPoolExecutor | None = None

    async def open(self, identity: Identity) -> None:
        """Open the catalog, make what tables are missing, and read back offsets and recent ids.

        Raises: IdentityMismatch, TableMismatch; StoreUnavailable.
        """
        await self._on_thread(self._open, identity)
        self._upkeep = asyncio.create_task(self._upkeep_daily(), name="lake-upkeep")

    async def covered(self, topic: str, partition: int) -> Offset | None:
        """Where the lake ends in a partition."""
        return self._tables[topic].offset(partition)

    async def write(self, batches: Sequence[Batch]) -> None:
        """One commit per table. Raises: StoreUnavailable, CommitLost; RangeGap, TableMismatch."""
        await self._on_thread(self._write, batches)

    async def remove_orphans(self, age_s: float = ORPHAN_AGE_S) -> int:
        """Delete files that no snapshot names and that are older than age_s; it happens by itself once a day.

        Returns: how many were deleted.
        """
        return await asyncio.to_thread(self._remove_orphans, age_s)

    async def close(self) -> None:
        """Let go of the catalog."""
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=True)

    async def _on_thread(self, act: Callable[..., _T], *args: object) -> _T:
        if self._thread is None:
            # One thread: PyIceberg's tables are not made for several, and the event loop must not wait for Parquet.
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lake")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act, *args)
        except UNAVAILABLE as error:
            raise StoreUnavailable(NAME, _one_line(error)) from error

    def _open(self, identity: Identity) -> None:
        self._make_folders()
        if self._catalog is None:
            self._catalog = load_catalog("millrace", **self._properties)
        self._catalog.create_namespace_if_not_exists(self._namespace)
        tables = {}
        for spec in TABLES:
            tables[spec.topic] = LakeTable(
                spec, self._catalog, self._namespace, identity=identity, limits=self._limits, metrics=self._metrics
            )
        self._tables = tables

    def _make_folders(self) -> None:
        """SQLite makes its file but not the folder. Beside it goes the SQL of the view, for who opens the folder."""
        uri = self._properties.get("uri", "")
        if uri.startswith("sqlite:///"):
            folder = Path(uri.removeprefix("sqlite:///")).parent
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "sessions_latest.sql").write_text(latest_sql("session_versions"), encoding="utf-8")

    def _write(self, batches: Sequence[Batch]) -> None:
        by_topic: dict[str, list[Batch]] = {}
        for batch in batches:
            by_topic.setdefault(batch.topic, []).append(batch)
        for topic, ranges in by_topic.items():
            self._tables[topic].append(ranges)

    async def _upkeep_daily(self) -> None:
        await asyncio.sleep(_UPKEEP_AFTER_S)
        while True:
            try:
                await self.remove_orphans()
            except UNAVAILABLE as error:
                logger.warning("orphans of the lake stay for now: %s", _one_line(error))
            await asyncio.sleep(_UPKEEP_EVERY_S)

    def _remove_orphans(self, age_s: float) -> int:
        # A catalog of its own, so that no write waits while a large table is listed.
        catalog = load_catalog("millrace", **self._properties)
        removed = 0
        try:
            for spec in TABLES:
                files = remove_orphans(catalog.load_table((self._namespace, spec.name)), age_s=age_s)
                self._metrics.orphans_removed(spec.name, files)
                removed += files
        finally:
            catalog.close()
        return removed

    def _close(self) -> None:
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = None
        self._tables = {}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300]
