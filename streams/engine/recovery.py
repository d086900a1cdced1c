"""Reading changelogs back: the rows of partitions that become ours, and what somebody else wrote meanwhile.

Faust's own recovery of active partitions is not used. It shares its high watermarks, offsets and its signal of the end
between generations of the group, and two rebalances in quick succession can end it before its time: a worker then folds
records into rows that lack the last ones (found by `make chaos` with three workers). Here a partition is recovered by a
consumer of its own, from the offset that stands beside the rows to the changelog's end, or not at all. Standbys follow
the changelog as Faust does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from faust.tables import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP

from streams.engine.errors import RecoveryStuck, StateLost
from streams.engine.rows import ChangelogRecord, Place, changelog_records, place_of

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

_WAIT_MS = 1000
_ASK_S = 5.0
_SURE_S = 3.0


class Read(NamedTuple):
    """Records of a partition, read back.  last: of them, None where compaction has left none.  next: offset to read."""

    partition: int
    records: list[ChangelogRecord]
    last: Place | None
    next: int


async def read_back(app: EngineApp, topic: str, stretches: Mapping[int, tuple[int, int]]) -> AsyncGenerator[Read, None]:
    """The records of a changelog, in order within each partition. A wait that brings none yields none, too.

    Args:   stretches: partition -> (first offset, offset to stop before), not beyond the partition's end.
    Raises: StateLost: a partition has lost its end since: what is waited for does not come.  OffsetOutOfRangeError: it
            had, and others may have written on in its place: who begins anew sees whether that is so.
    """
    left = {TopicPartition(topic, partition): stop for partition, (start, stop) in stretches.items() if start < stop}
    if not left:
        return
    reached = {tp: stretches[tp.partition][0] for tp in left}
    async with app.plain_consumer() as consumer:
        consumer.assign(list(left))
        for tp, start in reached.items():
            consumer.seek(tp, start)
        while left:
            fetched = await consumer.getmany(*left, timeout_ms=_WAIT_MS)
            for tp, stop in list(left.items()):
                found = fetched.get(tp, ())
                if found and found[-1].offset >= stop:
                    found = [record for record in found if record.offset < stop]
                position = min(await consumer.position(tp), stop)
                if position < reached[tp]:  # a reset of the client, from beyond the end back to the beginning
                    await _check_ends(app, consumer, {tp: stop})
                    raise OffsetOutOfRangeError({tp: reached[tp]})
                reached[tp] = position
                if position == stop:
                    del left[tp]
                    consumer.pause(tp)
                last = place_of(found[-1]) if found else None
                yield Read(tp.partition, changelog_records(found), last, position)
            if not fetched:
                await _check_ends(app, consumer, left)


async def _check_ends(app: EngineApp, consumer: Any, stops: Mapping[TopicPartition, int]) -> None:
    """Whether partitions go as far as they did. Asked twice: a leader that slept may not know yet that it is none.

    Raises: StateLost.
    """
    ends: Mapping[TopicPartition, int] = {}
    for pause_s in (0.0, _SURE_S):
        await asyncio.sleep(pause_s)
        ends = await _ends(consumer, stops)
        stops = {tp: stops[tp] for tp, end in ends.items() if end < stops[tp]}
        if not stops:
            return
    tp, stop = next(iter(stops.items()))
    what = (
        f"it ended at offset {stop - 1} when its reading began, and has lost its end since: offset {ends[tp]} is gone"
    )
    raise StateLost(f"{tp.topic}[{tp.partition}]", what, app.settings.epoch)


async def _ends(consumer: Any, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The offsets that the next records of these partitions get; none while Kafka does not say."""
    try:
        async with asyncio.timeout(_ASK_S):
            ends: dict[TopicPartition, int] = await consumer.end_offsets(list(tps))
    except (KafkaError, TimeoutError):
        return {}
    return ends


async def places(app: EngineApp, topic: str, offsets: Mapping[int, int]) -> dict[int, Place]:
    """What stands at one offset of each of these partitions of a changelog; without those that compaction took.

    Args:   offsets: partition -> offset, below the partition's end.
    Raises: as read_back.
    """
    stretches = {partition: (offset, offset + 1) for partition, offset in offsets.items()}
    async with aclosing(read_back(app, topic, stretches)) as read:
        return {some.partition: some.last async for some in read if some.last is not None}


@dataclass(frozen=True)
class Standby:
    """A partition that is kept warm for another worker.

    unread: records of its changelog still to be read; None while that is not known.
    ready: everything is here that the changelog held when it was first looked at since the assignment.
    """

    unread: int | None
    ready: bool


class Progress:
    """How far a standby is, since its assignment."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._end = 0
        self._ready = False

    def note_end(self, end: int) -> None:
        """The changelog's next record gets this offset."""
        self._first = end if self._first is None else self._first
        self._end = end

    def at(self, offset: int | None) -> Standby:
        """offset: of the last record applied, None while that is not known."""
        if offset is None or self._first is None:
            return Standby(None, False)
        self._ready = self._ready or offset + 1 >= self._first
        return Standby(max(0, self._end - 1 - offset), self._ready)


class Standbys(Recovery):
    """Faust's recovery, left with the standby partitions alone; Table.recover does the active ones."""

    app: EngineApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Those whose changelog was found to have all that their rows lack, since the assignment.
        self.whole: set[TP] = set()
        self._progress: dict[TP, Progress] = {}

    def add_active(self, table: Any, tp: TP) -> None:
        """Nothing: without active partitions Faust takes them for recovered and calls the tables at once."""

    def add_standby(self, table: Any, tp: TP) -> None:
        """What an earlier generation had read means nothing: the database may be another one."""
        self.standby_offsets.pop(tp, None)
        self.whole.discard(tp)
        self._progress[tp] = Progress()
        super().add_standby(table, tp)

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        """Faust takes a wait that timed out for its stop, and ends for good: partitions would be held and never read.

        Raises: RecoveryStuck.  RebalanceAgain: partitions move meanwhile, a recovery begins anew when they have.
        """
        try:
            await super()._wait(coro, timeout)
        except ServiceStopped:
            if timeout is None or self.should_stop:
                raise
            if self.app.consumer.moves() or self.app.consumer_generation_id != self._generation_id:
                raise RebalanceAgain from None
            raise RecoveryStuck(timeout) from None

    async def _seek_offsets(self, consumer: Any, *args: Any, **kwargs: Any) -> None:
        """Not in the middle of a fetch, which would move a position that was just set."""
        async with consumer.moving:
            await super()._seek_offsets(consumer, *args, **kwargs)

    def note_ends(self, ends: Mapping[TP, int]) -> None:
        """Of changelogs: the offsets that their next records get."""
        for tp in self.standby_tps & ends.keys():
            self._progress[tp].note_end(ends[tp])

    def standbys(self, changelog: str) -> dict[int, Standby]:
        """The partitions of a table that are kept here for other workers."""
        return {
            tp.partition: self._progress[tp].at(self.standby_offsets.get(tp))
            for tp in sorted(self.standby_tps)
            if tp.topic == changelog
        }


class Tables(TableManager):
    """Faust's table manager, with the recovery above."""

    async def on_start(self) -> None:
        """Without the second that Faust waits for tables to be added: ours, and the agents, are all there by now."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> Standbys:
        """Made when it is first asked for."""
        if self._recovery is None:
            self._recovery = Standbys(self.app, self, beacon=self.beacon, loop=self.loop)
        assert isinstance(self._recovery, Standbys)
        return self._recovery
