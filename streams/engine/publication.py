"""Publishing what was made in shadow: all rows of a partition, then the sweep, then the partition's mark says so.

The sweep takes back what the epoch before has published under keys that the new one does not have (a window of a user
whom the new logic knows by another name). Otherwise it would count beside what replaces it.

A crash in between publishes the partition again; versions make that harmless. Chunks are folded between the slices, and
publish what they change as always, whether the cursor has passed it or not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from streams.engine.outbox import partition_of
from streams.engine.recovery import read_back

if TYPE_CHECKING:
    from streams.engine.app import EngineApp
    from streams.engine.table import Table

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
_SLICE = 100
"""Rows in one go: while they are sent, chunks and rebalances wait."""
_RETRY_S = 1.0
_NEVER_MS = 1 << 53
Exclusively = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class Moved(Exception):
    """The partition is not ours any more, or will be again."""


class Publication:
    """The task of a worker that is not in shadow.

    Args: internal: topics that are no sources of the rebuild, but made by it.
    """

    def __init__(self, app: EngineApp, internal: Container[str]) -> None:
        self._app = app
        self._internal = internal
        #: The sources' ends when publishing was first to begin here: what stood before is folded before anything is.
        self._switch: dict[TP, int] = {}
        self._reached = False
        #: Ends of internal partitions when all of that had been folded, and so sent to them.
        self._fed: dict[TP, int] = {}

    async def run(self) -> None:
        """Publish what is unpublished once its partition is ours and has all that the sources had at the switch."""
        while True:
            for table in self._app.stage_tables:
                for partition in sorted(table.unpublished):
                    try:
                        if await self._complete(table, partition):
                            await self._publish(table, partition)
                        elif not self._reached:
                            await asyncio.sleep(_RETRY_S)
                    except Moved:
                        pass  # begins anew with the partition's next owner
                    except (KafkaError, OSError, TimeoutError) as error:
                        logger.warning("publishing was interrupted and will begin again: %r", error)
                        await asyncio.sleep(_RETRY_S)
            await asyncio.sleep(_LOOK_S)

    async def _complete(self, table: Table, partition: int) -> bool:
        """Whether a rebuild that the switch came too early for is complete meanwhile.

        Half of it published would stand in place of whole rows, and the sweep would take back what it is still to read.
        """
        self._reached = self._reached or await self._sources_reached()
        if not self._reached or table.source.topic not in self._internal:
            return self._reached
        tp = TP(table.source.topic, partition)
        if tp not in self._fed:
            self._fed[tp] = (await self._app.ends(tp.topic, [partition]))[partition]
        return self._app.consumer.applied().get(tp, -1) >= self._fed[tp]

    async def _sources_reached(self) -> bool:
        """Whether the group has committed all that the sources had: its output, to internal topics too, is in Kafka."""
        reached = True
        for topic, count in self._external().items():
            committed, ends = await self._app.source_offsets(topic, range(count))
            begins = await self._app.begins(topic, range(count))
            for partition, offset in committed.items():
                switch = self._switch.setdefault(TP(topic, partition), ends[partition])
                reached = reached and max(offset or 0, begins[partition]) >= switch
        return reached

    def _external(self) -> dict[str, int]:
        """The sources of the rebuild, with their partitions."""
        return {topic: count for topic, count in self._app.stage_topics.items() if topic not in self._internal}

    async def _publish(self, table: Table, partition: int) -> None:
        generation = table.generation

        async def exclusively(act: Callable[[], Awaitable[None]]) -> None:
            """Act, and have it acknowledged, while no chunk is folded and the partition is ours."""
            async with self._app.apply_lock:
                if table.generation != generation or not self._flows(table, partition):
                    raise Moved
                await act()
                await self._app.outbox.settle()
                self._app.check_running()

        count = await self._rows(table, partition, exclusively)
        await self._sweep(table, partition, exclusively)
        await exclusively(lambda: table.note_published(partition))
        logger.info("published %s rows of table %s, partition %s", count, table.name, partition)

    async def _rows(self, table: Table, partition: int, exclusively: Exclusively) -> int:
        """Publish every row that something is published of; returns how many."""
        prefix, publish = table.publisher
        cursor, count, more = prefix, 0, True

        async def one_slice() -> None:
            nonlocal cursor, count, more
            found = table.scan(partition, cursor, _after(prefix), _SLICE)
            if more := bool(found):
                cursor = found[-1][0] + b"\x00"
                count += len(found)
                await publish(partition, found)

        while more:
            await exclusively(one_slice)
        return count

    async def _sweep(self, table: Table, partition: int, exclusively: Exclusively) -> None:
        """Hand every message of the output topics to their sweepers."""
        if not table.sweepers:
            return
        since_ms = await complete_since_ms(self._app, self._external())
        count = table.source.partitions
        for topic, (partitions, owner, sweep) in table.sweepers.items():
            # Only where the numbers are equal do messages lie where their rows do.
            tps = [TopicPartition(topic, n) for n in ([partition] if partitions == count else range(partitions))]
            async with self._app.plain_consumer() as consumer:
                stretches = {tp.partition: stretch for tp, stretch in (await _stretches(consumer, tps)).items()}
            async with aclosing(read_back(self._app, topic, stretches)) as read:
                async for found in read:
                    messages = {key: value for key, value, _ in found.records if value is not None}
                    ours = [item for item in messages.items() if partition_of(owner(item[0]), count) == partition]
                    for start in range(0, len(ours), _SLICE):
                        await exclusively(partial(sweep, partition, dict(ours[start : start + _SLICE]), since_ms))

    def _flows(self, table: Table, partition: int) -> bool:
        """Whether the partition of the table's source, and so of those that are read beside it, is ours to work on."""
        app = self._app
        return (
            not app.rebalancing
            and app.failure is None
            and bool(app.tables.actives_ready)
            and TP(table.source.topic, partition) in app.consumer.applied()
        )


def _after(prefix: bytes) -> bytes:
    """The first key beyond those that begin with a prefix, whose last byte is not 0xFF."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


async def _stretches(consumer: Any, tps: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Where these partitions begin and end."""
    consumer.assign(tps)  # only then their leaders are known
    begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    return {tp: (begins[tp], ends[tp]) for tp in tps}


async def complete_since_ms(app: EngineApp, sources: Mapping[str, int]) -> int:
    """Kafka's time (ms) from which on no record of the sources was deleted; 0 where none ever was.

    Of a partition that has lost all of its records nobody knows: the end of all time.

    Args: sources: topic -> partitions.
    """
    newest = 0
    async with app.plain_consumer() as consumer:
        tps = [TopicPartition(topic, n) for topic, count in sources.items() for n in range(count)]
        for tp, (begin, end) in (await _stretches(consumer, tps)).items():
            if begin == end > 0:
                return _NEVER_MS
            if begin > 0:
                consumer.seek(tp, begin)
                newest = max(newest, (await consumer.getone(tp)).timestamp)
    return newest
