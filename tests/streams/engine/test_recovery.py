"""Reading a changelog back that loses its end meanwhile, as an unclean election does it: it ends, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, OffsetOutOfRangeError
from faust.types import TP

from streams.engine import Cluster, EngineSettings, recovery
from streams.engine.app import EngineApp
from streams.engine.audit import Audit
from streams.engine.engine import Source
from streams.engine.errors import StateLost
from streams.engine.recovery import places, read_back
from streams.engine.table import Table

REBUILD = "start with a higher epoch (MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true)"
PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def soon_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_SURE_S", 0.0)


class Log:
    """Of one partition.  end: of what Kafka has; None: it does not answer.  step: records a fetch brings."""

    def __init__(self, end: int | None, step: int = 40) -> None:
        self.end, self.step = end, step
        self.waits = 0
        #: Called at each fetch that brings nothing, at each that begins anew, after each question for the end.
        self.at_a_wait: Callable[[], None] = lambda: None
        self.at_a_reset: Callable[[], None] = lambda: None
        self.at_a_question: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def plain_consumer(self) -> AsyncIterator[Any]:
        yield Consumer(self)


class Consumer:
    """As aiokafka's: beyond the end it begins anew, at the end it waits."""

    def __init__(self, log: Log) -> None:
        self.log, self.at = log, 0

    def assign(self, tps: list[TopicPartition]) -> None:
        (self.tp,) = tps

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at = offset

    def pause(self, tp: TopicPartition) -> None:
        pass

    async def getmany(self, *tps: TopicPartition, timeout_ms: int) -> Mapping[TopicPartition, list[Any]]:
        await asyncio.sleep(0.001)
        end = self.at if self.log.end is None else self.log.end
        if self.at > end:
            self.at = 0
            self.log.at_a_reset()
        if not (found := [record(offset) for offset in range(self.at, min(end, self.at + self.log.step))]):
            self.log.waits += 1
            self.log.at_a_wait()
            return {}
        self.at = found[-1].offset + 1
        return {self.tp: found}

    async def position(self, tp: TopicPartition) -> int:
        return self.at

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.log.end is None:
            raise KafkaTimeoutError
        ends = dict.fromkeys(tps, self.log.end)
        self.log.at_a_question()
        return ends


def record(offset: int) -> Any:
    return SimpleNamespace(offset=offset, key=b"k%d" % offset, value=bytes(13), timestamp=-1, timestamp_type=0)


def around(log: Log) -> Any:
    return SimpleNamespace(plain_consumer=log.plain_consumer, settings=SimpleNamespace(epoch=1))


async def offsets_of(log: Log, start: int, stop: int) -> list[int]:
    """What is read back between two offsets, by key."""
    async with asyncio.timeout(PATIENCE_S):
        found = [one async for some in read_back(around(log), "log", {0: (start, stop)}) for one in some.records]
    return [int(key[1:]) for key, _, _ in found]


async def test_all_is_read_once_and_in_order() -> None:
    assert await offsets_of(Log(end=120), 50, 100) == list(range(50, 100))


@pytest.mark.parametrize("start", [50, 90, 95])
async def test_an_end_that_is_gone_is_not_waited_for(start: int) -> None:
    """Whether the reading stands before the new end, at it or beyond it."""
    with pytest.raises(StateLost, match="log\\[0\\]: it ended at offset 99 when its reading began") as error:
        await offsets_of(Log(end=90), start, 100)
    assert REBUILD in str(error.value)


async def test_an_end_that_goes_while_it_is_read_is_noticed_also_where_others_write_on() -> None:
    """The client begins anew and gets as far as it should: over records that are others now. The next start judges."""
    log = Log(end=100)
    read = read_back(around(log), "log", {0: (50, 100)})
    assert (await anext(read)).next == 90
    log.end = 70

    def written_on() -> None:
        log.end = 120

    log.at_a_reset = written_on
    with pytest.raises(OffsetOutOfRangeError):
        async with asyncio.timeout(PATIENCE_S):
            await anext(read)


async def test_a_leader_that_slept_and_says_an_old_end_has_lost_nothing() -> None:
    log = Log(end=90)

    def knows_better() -> None:
        log.end = 100

    log.at_a_question = knows_better
    assert await offsets_of(log, 50, 100) == list(range(50, 100))


async def test_a_record_that_is_gone_is_no_place() -> None:
    assert (await places(around(Log(end=100)), "log", {0: 95}))[0].offset == 95
    with pytest.raises(StateLost):
        async with asyncio.timeout(PATIENCE_S):
            await places(around(Log(end=90)), "log", {0: 95})


async def test_a_kafka_that_does_not_answer_has_lost_nothing() -> None:
    log = Log(end=None)

    def comes_back() -> None:
        if log.waits == 3:
            log.end = 100

    log.at_a_wait = comes_back
    assert await offsets_of(log, 50, 100) == list(range(50, 100))


# -- who reads ------------------------------------------------------------------------
class Worker(EngineApp):
    """One with a table of one partition, whose changelog had 100 records when it asked.  recoveries: that asked."""

    def __init__(self, log: Log, folder: Path) -> None:
        async def ids_of(topics: Sequence[str]) -> dict[str, str]:
            return dict.fromkeys(topics, "id")

        settings = EngineSettings(app_id="app", bootstrap="h:1", datadir=folder, partitions=1)
        super().__init__(settings, Cluster("cluster", {}, ids_of), on_fatal=lambda error: None)
        self.log, self.recoveries = log, 0
        self.table = Table(self, "counts", Source("source", "id", 1), logic=1)
        self.stage_tables.append(self.table)

    def plain_consumer(self) -> AbstractAsyncContextManager[Any]:
        return self.log.plain_consumer()

    async def source_offsets(
        self, topic: str, partitions: Iterable[int]
    ) -> tuple[dict[int, int | None], dict[int, int]]:
        self.recoveries += 1
        return dict.fromkeys(partitions), dict.fromkeys(partitions, 0)

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 100)

    async def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)


@pytest.fixture
async def recovering(tmp_path: Path) -> Worker:
    return Worker(Log(end=90), tmp_path)


async def test_a_recovery_of_a_changelog_that_loses_its_end_says_how_to_go_on(recovering: Worker) -> None:
    with pytest.raises(StateLost, match="app-counts-changelog") as error:
        async with asyncio.timeout(PATIENCE_S):
            await recovering.table.recover([0])
    assert REBUILD in str(error.value)


async def test_a_recovery_that_waits_for_kafka_ends_when_the_partitions_move(recovering: Worker) -> None:
    """The next one waits for it."""
    recovering.log.end = None
    recovering.log.at_a_wait = recovering.table.forget
    async with asyncio.timeout(PATIENCE_S):
        await recovering.table.recover([0])
        assert recovering.table.owned() == []
        recovering.log = Log(end=90)
        with pytest.raises(StateLost):
            await recovering.table.recover([0])
    assert recovering.recoveries == 2


class Ends:
    """What a consumer says of a changelog that had 100 records."""

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, 100)


def with_a_gap(worker: Worker) -> Table:
    """Its table, where somebody else has written the last half of the changelog."""
    worker.consumer = Ends()  # type: ignore[assignment]
    table = worker.table
    table._applied[0], table._next_offset[0], table.gaps[0] = 0, 100, [(50, 100)]
    return table


async def test_an_audit_does_not_wait_for_foreign_rows_that_are_gone(recovering: Worker) -> None:
    with_a_gap(recovering)
    with pytest.raises(StateLost, match="app-counts-changelog"):
        async with asyncio.timeout(PATIENCE_S):
            await Audit(recovering).look()


async def test_an_audit_that_waits_for_kafka_ends_when_the_partitions_move(recovering: Worker) -> None:
    table = with_a_gap(recovering)
    recovering.log.end = None
    recovering.log.at_a_wait = table.forget
    async with asyncio.timeout(PATIENCE_S):
        await Audit(recovering).look()
    assert table.foreign_rows == 0
