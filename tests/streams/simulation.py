"""Both stages on logs in memory, with crashes: what the engine promises them, and nothing more.

The stages are the product's own, from bytes to bytes; in place of the engine stands one that keeps its promises on
these logs. Partitions are read in any order. A crash keeps any prefix of the last chunk's changelog, loses any suffix
of what was emitted to a partition, and delivers again from the last commit, in chunks cut elsewhere. Workers share
nothing but logs, so it is enough that their folds alternate. Published rows are merged as the query tables do it: the
highest version of a key wins.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from schemas import codec, topics
from streams.engine import Chunk, Output, Record, Row, Source
from streams.engine.outbox import partition_of
from streams.engine.rows import MARK_KEY as MARK
from streams.rows import Stored
from streams.sessions import agent as sessions_stage
from streams.sessions.state import BY_EVENTS, BY_POINTS
from streams.stage import Stage
from streams.users import agent as users_stage
from streams.users.logic import TABLE as WINDOWS

Log = list[tuple[bytes, Any]]
Partition = tuple[str, int]
"""(full name of the topic, number)"""
PREFIX = "simulated"
EVENTS, POINTS, HOURS, SESSIONS, USER_WINDOWS = (
    topics.full_name(PREFIX, name) for name in ("events", "metrics", "session-hours", "sessions", "user-windows")
)
RECORDS = {HOURS: "session_hour", SESSIONS: "session", USER_WINDOWS: "user_window"}
"""Output topic -> what stands in it."""


class Crash(Exception):
    """The worker died."""


class SourceLog:
    """One partition of a topic, read in chunks from the last commit."""

    def __init__(self, topic: str, partition: int, appended: Callable[[Any], int]) -> None:
        self.topic = topic
        self.partition = partition
        self.log: Log = []
        self._appended = appended
        self.position = self.committed = 0

    def time(self, offset: int) -> float:
        """Received time of a record that a gateway took in."""
        return self.log[offset][1].received_time if offset < len(self.log) else math.inf

    def chunk(self, size: int, until: float) -> list[Record]:
        """until: what was received later is not there yet."""
        start, stop = self.position, min(len(self.log), self.position + size)
        while self.topic != HOURS and stop > start and self.time(stop - 1) > until:
            stop -= 1
        self.position = stop
        return [self._record(offset, *self.log[offset]) for offset in range(start, stop)]

    def _record(self, offset: int, key: bytes, value: Any) -> Record:
        if self.topic == HOURS:
            return Record(offset, 0, key, value or b"")
        said = {name: field for name, field in value._asdict().items() if field is not None}
        record = "claude_event" if self.topic == EVENTS else "metric_point"
        return Record(offset, self._appended(value) // 1000, key, codec.encode(record, said))


class Table:
    """Rows as the changelog has them, and the last offset whose rows are all there, by partition."""

    def __init__(self, partitions: int) -> None:
        self.partitions: list[dict[bytes, Stored]] = [{} for _ in range(partitions)]
        self.applied = [-1] * partitions

    @property
    def rows(self) -> dict[bytes, Stored]:
        return {key: stored for rows in self.partitions for key, stored in rows.items()}


class Owned:
    """A table as a worker has it: the partitions that are its own."""

    def __init__(self, worker: Worker, table: Table) -> None:
        self._worker = worker
        self._table = table

    def _rows(self, partition: int) -> dict[bytes, Stored]:
        assert self._worker.owns(partition)
        return self._table.partitions[partition]

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[Row | None]:
        found = map(self._rows(partition).get, keys)
        return [None if stored is None else Row(1, *stored) for stored in found]

    def scan_keys(self, partition: int, start: bytes, stop: bytes, most: int) -> list[bytes]:
        return sorted(key for key in self._rows(partition) if start <= key < stop)[:most]

    def applied(self, partition: int) -> int:
        assert self._worker.owns(partition)
        return self._table.applied[partition]

    async def apply(self, chunk: Chunk, puts: Mapping[bytes, Stored], deletes: Iterable[bytes]) -> None:
        """Returns when all of it is acknowledged. A worker that dies gets only the first so many of its rows there."""
        rows, applied = self._rows(chunk.partition), self._table.applied
        mark = max(applied[chunk.partition], chunk.last_offset)
        # The mark stands before the deletes: a record whose row is gone must not come as a new one.
        changes = [*puts.items(), (MARK, mark), *((key, None) for key in deletes if key not in puts)]
        dies = self._worker.dies()
        for key, stored in changes[: self._worker.random.randint(0, len(changes))] if dies else changes:
            if key == MARK:
                applied[chunk.partition] = mark
            elif stored is None:
                rows.pop(key, None)
            else:
                rows[key] = stored
        if dies:
            raise Crash


class Worker:
    """One process: the stages, and of the engine what they call.

    lives: so many calls that wait for Kafka, then it dies in the next one.
    """

    def __init__(self, world: World) -> None:
        self.random = world.random
        self.lives: float = math.inf
        self.folds: dict[str, Callable[[Chunk], Coroutine[Any, Any, Chunk | None]]] = {}
        self.unsent: dict[Partition, Log] = defaultdict(list)
        self._world = world
        partitions = dict.fromkeys(topics.CATALOGUE, world.partitions)
        stage = Stage(prefix=PREFIX, partitions=partitions, epoch=1)
        for register in (sessions_stage.register, users_stage.register):
            register(self, stage)  # type: ignore[arg-type]

    def owns(self, partition: int) -> bool:
        return self._world.owners[partition] is self

    def dies(self) -> bool:
        self.lives -= 1
        return self.lives < 0

    # -- declaring
    def source(self, topic: str, partitions: int, *, internal: bool = False) -> Source:
        return Source(topic, "", partitions)

    def table(self, name: str, source: Source, *, logic: int) -> Owned:
        return Owned(self, self._world.tables[name])

    def agent(self, source: Source) -> Callable[[Any], Any]:
        return lambda fold: self.folds.setdefault(source.topic, fold)

    def publisher(self, table: Owned, prefix: bytes) -> Callable[[Any], Any]:
        return lambda publish: publish

    def sweeper(self, table: Owned, topic: str, partitions: int, owner: Any) -> Callable[[Any], Any]:
        return lambda sweep: sweep

    # -- for folds
    async def emit(self, topic: str, partitions: int, items: Iterable[Output]) -> None:
        for item in items:
            self.unsent[topic, partition_of(item.partition_key, partitions)].append((item.key, item.value))
        if self.dies():
            raise Crash

    async def settle(self) -> None:
        if self.dies():
            raise Crash
        self.send()

    def duplicates(self, count: int) -> None: ...
    def late(self, count: int) -> None: ...
    def newest_event(self, time_us: int) -> None: ...

    # -- life
    def fold(self, chunk: Chunk) -> None:
        """Raises: Crash."""
        left: Chunk | None = chunk
        while left is not None:
            try:
                self.folds[chunk.topic](left).send(None)
            except StopIteration as end:
                left = end.value
            else:
                raise AssertionError("nothing here is waited for")

    def send(self) -> None:
        """Everything emitted is acknowledged."""
        for partition, messages in self.unsent.items():
            self._world.publish(partition, messages)
        self.unsent.clear()

    def lose(self) -> None:
        """Of what was emitted, each partition gets any prefix."""
        for partition, messages in self.unsent.items():
            self._world.publish(partition, messages[: self.random.randint(0, len(messages))])
        self.unsent.clear()


class World:
    """Workers that share the partitions of all topics; those of the same number lie together, as Faust assigns them.

    Args: emits_again: whether the stages are shown redelivered records; False stands for stages that skip them wholly.
          appended: when the broker wrote a record (µs), if not when the gateway says that it received it.
    """

    def __init__(
        self,
        events: Log,
        points: Log,
        seed: int,
        *,
        partitions: int = 1,
        workers: int = 1,
        emits_again: bool = True,
        appended: Callable[[Any], int] = attrgetter("received_time"),
    ) -> None:
        self.random = random.Random(seed)
        self.partitions = partitions
        self.sources = {
            topic: [SourceLog(topic, n, appended) for n in range(partitions)] for topic in (EVENTS, POINTS, HOURS)
        }
        for topic, log in ((EVENTS, events), (POINTS, points)):
            for key, record in log:
                self.sources[topic][partition_of(key, partitions)].log.append((key, record))
        self.tables = {name: Table(partitions) for name in (BY_EVENTS, BY_POINTS, WINDOWS)}
        self.of_events, self.of_points, self.users = self.tables.values()
        self._published: dict[Partition, dict[bytes, dict[str, Any]]] = defaultdict(dict)
        self._emits_again = emits_again
        self._workers = [Worker(self) for _ in range(workers)]
        self.owners = [self.random.choice(self._workers) for _ in range(partitions)]

    # -- what came of it
    def output(self, topic: str) -> dict[bytes, dict[str, Any]]:
        """Key -> published row. A key of two partitions would have no order."""
        parts = [self._published[topic, n] for n in range(self.partitions)]
        assert sum(map(len, parts)) == len(set().union(*parts))
        return {key: row for part in parts for key, row in part.items()}

    @property
    def sessions(self) -> dict[str, dict[str, Any]]:
        """By session id: for worlds of one tenant."""
        return {row["session_id"]: row for row in self.output(SESSIONS).values()}

    @property
    def windows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """By tenant, user, team, cost centre, grain and start."""
        names = ("tenant", "user_key", "team", "cost_center", "grain", "start")
        return {tuple(row[name] for name in names): row for row in self.output(USER_WINDOWS).values()}

    # -- how it comes about
    def run(self, *, crashes: int = 0, largest_chunk: int = 40, apart_us: int | None = None) -> World:
        """To the end of all logs, in any order.

        Args: apart_us: no record is read that was received so long after another one that is not yet committed.
        """
        while True:
            left = [s for parts in self.sources.values() for s in parts if s.position < len(s.log)]
            if not left and not any(worker.unsent for worker in self._workers):
                return self
            until = math.inf if apart_us is None else self._oldest() + apart_us
            ready = [source for source in left if source.topic == HOURS or source.time(source.position) <= until]
            if ready:
                source = self.random.choice(ready)
                worker = self.owners[source.partition]
                dies = crashes > 0 and self.random.random() < 0.3
                if dies:
                    crashes -= 1
                    worker.lives = self.random.randint(0, 4)
                with contextlib.suppress(Crash):
                    self._fold(source, self.random.randint(1, largest_chunk), until)
                if dies:
                    self._crash(worker)
            if self.random.random() < 0.3:
                self._commit(self.random.choice(self._workers))
            if len(self._workers) > 1 and self.random.random() < 0.1:
                self._move(self.random.randrange(self.partitions))

    def in_turn(self, largest_chunk: int) -> World:
        """One partition after the other, and one topic after the other."""
        for topic, parts in self.sources.items():
            for source in parts:
                while source.position < len(source.log):
                    self.step(topic, largest_chunk, source.partition)
                    self.settle()
        return self

    def step(self, topic: str, size: int, partition: int = 0) -> None:
        self._fold(self.sources[topic][partition], size, math.inf)

    def settle(self) -> None:
        """Everything emitted is acknowledged."""
        for worker in self._workers:
            worker.send()

    def commit(self) -> None:
        for worker in self._workers:
            self._commit(worker)

    def crash(self) -> None:
        for worker in list(self._workers):
            self._crash(worker)

    def publish(self, partition: Partition, messages: Log) -> None:
        """Messages arrive in a partition of an output topic."""
        topic, rows = partition[0], self._published[partition]
        for key, value in messages:
            if value is None:
                rows.pop(key, None)
                continue
            row = codec.decode(RECORDS[topic], value)
            if key not in rows or row["version"] > rows[key]["version"]:
                rows[key] = row
        if topic == HOURS:
            self.sources[HOURS][partition[1]].log += messages

    def _fold(self, source: SourceLog, size: int, until: float) -> None:
        follows, applied = source.position, self._applied(source)
        records = source.chunk(size, until)
        if not self._emits_again:
            records = [record for record in records if record.offset > applied]
        if records:
            chunk = Chunk(source.topic, source.partition, records, follows=follows, seek=0)
            self.owners[source.partition].fold(chunk)

    def _applied(self, source: SourceLog) -> int:
        table = {EVENTS: self.of_events, POINTS: self.of_points, HOURS: self.users}[source.topic]
        return table.applied[source.partition]

    def _oldest(self) -> float:
        """Received time of the first record that is not committed."""
        return min(source.time(source.committed) for topic in (EVENTS, POINTS) for source in self.sources[topic])

    def _of(self, worker: Worker) -> list[SourceLog]:
        return [s for parts in self.sources.values() for s in parts if self.owners[s.partition] is worker]

    def _commit(self, worker: Worker) -> None:
        """What was emitted is acknowledged, then the offsets are committed."""
        worker.send()
        for source in self._of(worker):
            source.committed = source.position

    def _move(self, partition: int) -> None:
        """Another worker gets a partition from one that lives: that one commits first."""
        self._commit(self.owners[partition])
        self.owners[partition] = self.random.choice(self._workers)

    def _crash(self, worker: Worker) -> None:
        """Everything since its last commit comes again, to a new process or to others."""
        worker.lose()
        for source in self._of(worker):
            source.position = source.committed
        self._workers[self._workers.index(worker)] = Worker(self)
        for partition, owner in enumerate(self.owners):
            if owner is worker:
                self.owners[partition] = self.random.choice(self._workers)
