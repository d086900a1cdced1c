"""What the engine looks after besides chunks: foreign rows in the changelogs, and the lag of the sources."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from faust.types import TP

from streams.engine.recovery import read_back

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

logger = logging.getLogger(__name__)

_WATCH_INTERVAL_S = 1.0
_WATCH_FIRST_S = 0.2


class Audit:
    """A paused worker that wakes (a zombie) writes into our changelogs: adopt what is newer there, repair the rest."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app
        self._ends: Mapping[TP, int] = {}
        #: When a partition was last seen with nothing waiting, seconds since epoch.
        self._caught_up: dict[TP, float] = {}

    @property
    def _quiet(self) -> bool:
        app = self._app
        return app.rebalancing or not app.tables.actives_ready or app.failure is not None

    async def run(self) -> None:
        """At each interval, and at once when a gap shows in the offsets of our own writes."""
        app = self._app
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(app.audit_now.wait(), app.settings.audit_interval_s)
            app.audit_now.clear()
            if self._quiet:
                continue
            try:
                await self.look()
            except (KafkaError, OSError, TimeoutError) as error:
                logger.warning("audit of the changelogs failed, will be tried again: %r", error)

    async def look(self) -> None:
        """One audit: the ends of the changelogs against what we wrote, foreign stretches read and merged.

        Raises: StateLost: a foreign stretch is gone before it was read.
        """
        app = self._app
        async with app.apply_lock:
            await app.outbox.settle()
            tps = [TP(table.changelog, partition) for table in app.stage_tables for partition in table.owned()]
            ends = await app.consumer.highwaters(*tps) if tps else {}
            for tp, end in ends.items():
                app.table_of(tp.topic).note_end(tp.partition, end)
        for table in app.stage_tables:
            for partition, gaps in list(table.gaps.items()):
                for gap in list(gaps):
                    records = []
                    async with aclosing(read_back(app, table.changelog, {partition: gap})) as read:
                        async for some in read:
                            if gap not in table.gaps.get(partition, ()):  # the partition has moved
                                break
                            records += some.records
                    async with app.apply_lock:  # not while a chunk holds rows that it has read
                        table.merge_foreign(partition, gap, records)
            for partition in table.owned():  # recovery finds stale copies, too
                async with app.apply_lock:
                    if partition in table.owned() and not self._quiet:
                        await table.rewrite_stale(partition)

    async def watch(self) -> None:
        """Keep the ends of our partitions of the sources, and of the changelogs that we follow for others."""
        app = self._app
        while True:
            mine = {} if self._quiet else app.consumer.applied()
            others = set() if self._quiet else set(app.standbys.standby_tps)
            asked = time.time()
            try:
                self._ends = await app.consumer.highwaters(*mine, *others) if mine or others else {}
                app.standbys.note_ends(self._ends)
                applied = app.consumer.applied()
                caught_up = [tp for tp, end in self._ends.items() if applied.get(tp, -1) >= end]
                self._caught_up = {
                    **{tp: at for tp, at in self._caught_up.items() if tp in mine},
                    **dict.fromkeys(caught_up, asked),
                }
            except (KafkaError, OSError, TimeoutError) as error:
                logger.warning("the ends of the topics are not known: %r", error)
            await asyncio.sleep(_WATCH_INTERVAL_S if self._ends else _WATCH_FIRST_S)

    def lag(self, topic: str) -> tuple[list[int], int | None]:
        """Our partitions of a source, and how many of their records are not applied; None while that is not known."""
        mine = {} if self._quiet else self._app.consumer.applied()
        applied = {tp: offset for tp, offset in mine.items() if tp.topic == topic}
        partitions = sorted(tp.partition for tp in applied)
        if any(tp not in self._ends for tp in applied):
            return partitions, None
        return partitions, sum(max(0, self._ends[tp] - offset) for tp, offset in applied.items())

    def lag_s(self, topic: str, now: float) -> float | None:
        """How long the longest-waiting of our partitions of a source has waited at most; 0 when nothing waits.

        The age of the last record applied, by Kafka's time of it; but a partition seen with nothing waiting since then
        waits no longer than since that look: after a quiet night the first record is not hours behind.
        Args:    now: seconds since epoch.
        Returns: seconds; None before the first record of a waiting partition is applied.
        """
        consumer = self._app.consumer
        mine = {} if self._quiet else consumer.applied()
        waiting = [tp for tp, offset in mine.items() if tp.topic == topic and offset < self._ends.get(tp, 0)]
        since = []
        for tp in waiting:
            applied_ms, caught_up = consumer.applied_ms(tp), self._caught_up.get(tp)
            if applied_ms is None and caught_up is None:
                return None
            since.append(max((applied_ms or 0) / 1000, caught_up or 0))
        return max(0.0, now - min(since, default=now))
