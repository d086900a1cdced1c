"""Load, faults and truth for the engine: topics and a ledger, workers as processes, and what Kafka holds in the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.admin import DeleteGroupsRequest

from streams.engine import rows
from tests.log import whole_topic
from tests.streams.engine.worker import HALF, JOINED, PARTITIONS, RECORD, TOTAL

ROOT = Path(__file__).parents[3]
_SLICE = 500
_NON_EMPTY_GROUP = 68  # aiokafka has no error for this code of Kafka's


@dataclass
class Ledger:
    """What was acknowledged: per source and key the records, their sum, and the last offset."""

    records: dict[str, Counter[bytes]] = field(default_factory=lambda: {"a": Counter(), "b": Counter()})
    sums: dict[str, Counter[bytes]] = field(default_factory=lambda: {"a": Counter(), "b": Counter()})
    last: dict[str, dict[bytes, int]] = field(default_factory=lambda: {"a": {}, "b": {}})
    partition: dict[bytes, int] = field(default_factory=dict)

    def half(self, name: str, key: bytes) -> tuple[int, int]:
        return self.records[name][key], self.sums[name][key]


class Pipeline:
    """One stage, its topics and its workers."""

    def __init__(self, bootstrap: str, folder: Path, app: str, stage: str = "count", **options: Any) -> None:
        self.bootstrap, self.folder, self.app = bootstrap, folder, app
        self.names = ["a"] if stage == "count" else ["a", "b"]
        self.options = {"stage": stage, "app": app, "bootstrap": bootstrap, **options}
        self.ledger = Ledger()
        self.workers: list[Worker] = []

    async def create_topics(self, out_config: dict[str, str] | None = None) -> None:
        async with Admin(self.bootstrap) as client:
            topics = [NewTopic(f"{self.app}-{name}", PARTITIONS, 1) for name in self.names]
            outs = self.options.get("out_partitions", PARTITIONS)
            await client.create_topics([*topics, NewTopic(f"{self.app}-out", outs, 1, topic_configs=out_config)])

    async def delete_topic(self, name: str) -> None:
        async with Admin(self.bootstrap) as client:
            await client.delete_topics([name])
            while name in await client.list_topics():  # deletion ends in the background
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)

    async def delete_group(self) -> None:
        """And with it the committed offsets; when the last member has left."""
        async with Admin(self.bootstrap) as client:
            while True:
                coordinator = await client.find_coordinator(self.app)
                answer = await client._send_request(DeleteGroupsRequest([self.app]), coordinator)
                if answer.results[0][1] != _NON_EMPTY_GROUP:
                    return
                await asyncio.sleep(0.2)

    async def produce(self, count: int, *, keys: int = 300, seed: int = 1, padding: int = 0) -> None:
        """Send records to every source and enter them in the ledger.  padding: bytes more each."""
        async with self._load(keys, seed, padding) as send:
            for start in range(0, count, _SLICE):
                await send(min(_SLICE, count - start))

    async def produce_until(self, stop: asyncio.Event, *, rate: int, keys: int = 300, seed: int = 1) -> None:
        """The same, so many a second."""
        async with self._load(keys, seed, 0) as send:
            while not stop.is_set():
                await send(rate // 10)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.1)

    @asynccontextmanager
    async def _load(self, keys: int, seed: int, padding: int) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        randomly, more = random.Random(seed), bytes(padding)
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, compression_type="snappy", enable_idempotence=True
        )

        async def send(count: int) -> None:
            sent = []
            for _ in range(count):
                key, number = b"k%d" % randomly.randrange(keys), randomly.randrange(1000)
                for name in self.names:
                    future = await producer.send(f"{self.app}-{name}", RECORD.pack(number) + more, key=key)
                    sent.append((name, key, number, future))
            await producer.flush()
            for name, key, number, future in sent:
                metadata = future.result()
                self.ledger.records[name][key] += 1
                self.ledger.sums[name][key] += number
                self.ledger.last[name][key] = metadata.offset
                self.ledger.partition[key] = metadata.partition

        await producer.start()
        try:
            yield send
        finally:
            await producer.stop()

    def worker(self, **options: Any) -> Worker:
        worker = Worker(self, len(self.workers), {**self.options, **options})
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()

    # -- what Kafka holds -----------------------------------------------------------
    async def committed(self) -> dict[str, int]:
        """Committed offsets of the group, summed over the partitions of each source."""
        async with Admin(self.bootstrap) as client:
            try:
                found = await client.list_consumer_group_offsets(self.app)
            except GroupCoordinatorNotAvailableError:  # Kafka is just making the topic for it
                found = {}
        total = dict.fromkeys(self.names, 0)
        for tp, offset in found.items():
            total[tp.topic.removeprefix(f"{self.app}-")] += max(offset.offset, 0)
        return total

    async def repaired(self, *, seconds: float = 60.0) -> None:
        """Until no changelog ends with an old copy of a row: audits come round every three seconds."""
        deadline = time.monotonic() + seconds
        for name in self.names:
            while (log := await self.changelog(name)).last != log.best:
                assert time.monotonic() < deadline, f"old copies were not written over\n{self.tails()}"
                await asyncio.sleep(1)

    async def drain(self, *, seconds: float = 120.0, revive: bool = True) -> None:
        """Until everything that was produced is committed."""
        wanted = {name: sum(self.ledger.records[name].values()) for name in self.names}
        deadline = time.monotonic() + seconds
        while (committed := await self.committed()) != wanted:
            if revive:
                self.revive()
            assert time.monotonic() < deadline, f"not drained: committed {committed} of {wanted}\n{self.tails()}"
            await asyncio.sleep(0.3)

    def revive(self) -> None:
        for worker in self.workers:
            if not worker.alive:
                worker.start()

    def tails(self) -> str:
        return "\n".join(worker.tail() for worker in self.workers)

    async def read(self, topic: str) -> list[tuple[int, bytes, bytes | None]]:
        """(partition, key, value) of a whole topic, in log order within each partition."""
        return [(r.partition, r.key, r.value) for r in await whole_topic(self.bootstrap, topic)]

    async def changelog(self, name: str, *, group: str | None = None) -> Changelog:
        last: dict[bytes, bytes] = {}
        best: dict[bytes, bytes] = {}
        stale = 0
        for _, key, value in await self.read(f"{group or self.app}-{name}-changelog"):
            if key in (rows.MARK_KEY, TOTAL):
                continue
            assert value is not None
            last[key] = value
            if key in best and value[: rows.VERSION_BYTES] < best[key][: rows.VERSION_BYTES]:
                stale += 1
            else:
                best[key] = value
        return Changelog(_halves(last), _halves(best), stale)

    def stored(self, name: str) -> dict[bytes, tuple[int, int]]:
        """Rows in the databases of the last owners; the workers must have stopped."""
        found: dict[bytes, tuple[int, int]] = {}
        for worker, partitions in zip(self.workers, self.owned(name), strict=True):
            found |= self.kept(worker, name, partitions)
        return found

    def owned(self, name: str) -> list[list[int]]:
        """The partitions that each worker had last."""
        return [worker.state["sources"][f"{self.app}-{name}"]["partitions"] for worker in self.workers]

    def kept(self, worker: Worker, name: str, partitions: Iterable[int]) -> dict[bytes, tuple[int, int]]:
        """Rows in these databases of a worker, which must have stopped."""
        from rocksdict import AccessType, Options, Rdict

        found: dict[bytes, bytes] = {}
        for partition in partitions:
            path = next(worker.folder.glob(f"data/**/tables/{name}-{partition}.db"))
            database = Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only())
            found.update((key, value) for key, value in database.items() if key >= b"\x01")
            database.close()
        return _halves(found)

    def wanted(self, name: str) -> dict[bytes, tuple[int, int]]:
        return {key: self.ledger.half(name, key) for key in self.ledger.records[name]}

    async def output(self) -> dict[bytes, bytes]:
        """Of each key the message with the highest version (its first 8 bytes), without padding."""
        size = RECORD.size + HALF.size if self.names == ["a"] else JOINED.size
        best: dict[bytes, bytes] = {}
        for _, key, value in await self.read(f"{self.app}-out"):
            if value is None:
                best.pop(key, None)
            elif key not in best or value[:8] >= best[key][:8]:
                best[key] = value[:size]
        return best

    async def check(self) -> None:
        """Every reading of the state equals the ledger, row by row."""
        for name in self.names:
            changelog, wanted = await self.changelog(name), self.wanted(name)
            assert _difference(changelog.best, wanted) == {}, f"{name}: changelog by version"
            assert _difference(changelog.last, wanted) == {}, f"{name}: changelog by last copy"
            lacking = _difference(self.stored(name), wanted)
            assert lacking == {}, f"{name}: RocksDB, of partitions {self.owned(name)}: {lacking}"
        assert _difference(await self.output(), self.wanted_output()) == {}, "output"

    def wanted_output(self) -> dict[bytes, bytes]:
        ledger = self.ledger
        if self.names == ["a"]:
            return {
                key: RECORD.pack(ledger.last["a"][key]) + HALF.pack(*ledger.half("a", key))
                for key in ledger.records["a"]
            }
        wanted = {}
        for key in ledger.partition:
            version = sum(ledger.last[name].get(key, -1) + 1 for name in self.names)
            wanted[key] = JOINED.pack(version, *ledger.half("a", key), *ledger.half("b", key))
        return wanted


@dataclass
class Changelog:
    """A changelog read in two ways: the last copy of a key (what compaction leaves), and the highest version."""

    last: dict[bytes, tuple[int, int]]
    best: dict[bytes, tuple[int, int]]
    stale: int


class Worker:
    """A worker process; only processes started here are signalled."""

    def __init__(self, pipeline: Pipeline, number: int, options: dict[str, Any]) -> None:
        self.folder = pipeline.folder / f"w{number}"
        self.folder.mkdir(parents=True)
        self.options = {
            **options,
            "datadir": str(self.folder / "data"),
            "status": str(self.folder / "status.json"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **options: Any) -> None:
        """Start it; options hold from now on."""
        self.options.update(options)
        (self.folder / "status.json").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.streams.engine.worker", json.dumps(self.options)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def state(self) -> dict[str, Any]:
        """Its last status; of an earlier start too."""
        with suppress(OSError, ValueError):
            self._state = json.loads((self.folder / "status.json").read_text())
        state: dict[str, Any] = getattr(self, "_state", {})
        return state

    def total(self, what: str, kind: str = "sources") -> int:
        return sum(entry[what] for entry in self.state.get(kind, {}).values())

    async def until(self, condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not come to that: {self.state}\n{self.tail()}"
            await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Until it owns its partitions, since its start."""
        assert self.process is not None
        pid = self.process.pid
        await self.until(lambda: self.state.get("pid") == pid and self.state["ready"])

    async def working(self) -> None:
        """Until it has applied something since its start."""
        assert self.process is not None
        pid = self.process.pid
        await self.until(lambda: self.state.get("pid") == pid and self.total("records") > 0)

    def kill(self) -> None:
        if self.alive:
            assert self.process is not None
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    async def stop(self, *, seconds: float = 10.0) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await self.ended(seconds=seconds)

    async def restart(self) -> None:
        """SIGUSR1, then started again; until it owns its partitions."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        assert await self.ended() == 0
        self.start()
        await self.ready()

    async def ended(self, *, seconds: float = 60.0) -> int:
        assert self.process is not None
        await self.until(lambda: not self.alive, seconds=seconds)
        return self.process.returncode

    def wipe(self) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def tail(self) -> str:
        return "\n".join(self.log().splitlines()[-12:])


class Admin:
    """An admin client for a while."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


def _halves(stored: dict[bytes, bytes]) -> dict[bytes, tuple[int, int]]:
    return {key: HALF.unpack_from(rows.unpack(value).payload) for key, value in stored.items() if key != TOTAL}


def _difference(got: dict[bytes, Any], wanted: dict[bytes, Any]) -> dict[bytes, tuple[Any, Any]]:
    keys = got.keys() | wanted.keys()
    return {key: (got.get(key), wanted.get(key)) for key in keys if got.get(key) != wanted.get(key)}
