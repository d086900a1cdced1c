"""A worker under test: one of two small stages on the engine.

    python -m tests.streams.engine.worker '{"stage": "count", "app": ..., "bootstrap": ..., "datadir": ..., ...}'

count   source <app>-a: every record adds 1 and its number to the row of its key; the row is emitted to <app>-out.
join    sources <app>-a and <app>-b fill one table each; a change of either emits the joined row of the key, whose
        version is the sum of both halves' offsets, each one higher.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faust.transport.drivers import aiokafka
from faust.types import TP

from service.cluster import cluster_identity
from streams.engine import Chunk, Cluster, Engine, EngineSettings, Row, Source, Stop, Table
from streams.engine import rows as engine_rows
from streams.engine.app import EngineApp
from streams.engine.audit import Audit
from streams.engine.consumer import Consumer
from streams.engine.lineage import Followed, Runs

HALF = struct.Struct(">qq")  # records, sum
JOINED = struct.Struct(">qqqqq")  # version, records and sum of a, records and sum of b
RECORD = struct.Struct(">q")
PARTITIONS = 4
TOTAL = b"~total"
"""One row a partition that sums up the others; written first, as a row that others depend on."""


def settings_of(options: dict[str, Any]) -> EngineSettings:
    return EngineSettings(
        app_id=options["app"],
        bootstrap=options["bootstrap"],
        datadir=Path(options["datadir"]),
        partitions=PARTITIONS,
        epoch=options.get("epoch", 1),
        shadow=options.get("shadow", False),
        instance_id=options.get("instance_id"),
        standby_replicas=options.get("standbys", 0),
        fencing=options.get("fencing", True),
        chunk_records=options.get("chunk_records", 2000),
        session_timeout_s=options.get("session_timeout_s", 6.0),
        request_timeout_s=options.get("request_timeout_s", max(30.0, options.get("session_timeout_s", 6.0))),
        audit_interval_s=3.0,
        commit_interval_s=options.get("commit_interval_s", 1.0),
        flush_interval_s=options.get("flush_interval_s", 900.0),
        rebalance_timeout_s=20.0,
    )


class Half:
    """Folds records of one source into its table."""

    def __init__(self, table: Table, options: dict[str, Any], seen: Callable[[int], None]) -> None:
        self.table, self.options, self.seen = table, options, seen

    async def fold(self, chunk: Chunk) -> dict[bytes, tuple[int, bytes]]:
        keys = list(dict.fromkeys([TOTAL, *(record.key for record in chunk.records)]))
        acc: dict[bytes, list[int]] = {}
        for key, row in zip(keys, self.table.get_many(chunk.partition, keys), strict=True):
            acc[key] = [-1, 0, 0] if row is None else [row.offset, *HALF.unpack_from(row.payload)]
        again = 0
        for record in chunk.records:
            number = RECORD.unpack_from(record.value)[0]
            if number == self.options.get("poison"):
                raise RuntimeError(f"poisoned by {number}")
            for row in (acc[record.key], acc[TOTAL]):
                if record.offset > row[0] or not self.options.get("check_versions", True):
                    row[:] = max(row[0], record.offset), row[1] + 1, row[2] + number
                else:
                    again += 1
        self.seen(again)
        compute(self.options.get("slow", 0.0))
        padding = b"x" * self.options.get("padding", 0)
        puts = {key: (row[0], HALF.pack(*row[1:]) + padding) for key, row in acc.items()}
        await self.table.apply(chunk, puts)
        del puts[TOTAL]
        return puts


def compute(seconds: float) -> None:
    """Hold the event loop as a long fold would."""
    time.sleep(seconds)


def build(options: dict[str, Any], cluster: Cluster, **kwargs: Any) -> Engine:
    engine = Engine(settings_of(options), cluster, **kwargs)
    app, out, outs = options["app"], f"{options['app']}-out", options.get("out_partitions", PARTITIONS)

    def source(name: str) -> tuple[Source, Half]:
        of = engine.source(f"{app}-{name}", PARTITIONS)
        table = engine.table(name, of, logic=options.get("logic", 1))
        return of, Half(table, options, engine.duplicates)

    def part(chunk: Chunk) -> tuple[Chunk, Chunk | None]:
        """Its first records, so many as stages fold at once, and the others."""
        most = options.get("part", len(chunk))
        return chunk.split(chunk.records[most].offset if most < len(chunk) else None)

    if options["stage"] == "count":
        a, half = source("a")

        @engine.agent(a)
        async def count(chunk: Chunk) -> Chunk | None:
            chunk, left = part(chunk)
            puts = await half.fold(chunk)
            await engine.emit(out, outs, [(k, RECORD.pack(v) + p, k) for k, (v, p) in puts.items()])
            return left

        @engine.publisher(half.table, b"k")
        async def publish(partition: int, found: Sequence[tuple[bytes, Row]]) -> None:
            items = [(key, RECORD.pack(row.offset) + row.payload, key) for key, row in found]
            await engine.emit(out, outs, items)

        @engine.sweeper(half.table, out, outs, owner=lambda key: key)
        async def sweep(partition: int, messages: Mapping[bytes, bytes], since_ms: int) -> None:
            found = half.table.get_many(partition, list(messages))
            gone = [(k, None, k) for k, row in zip(messages, found, strict=True) if row is None and not since_ms]
            await engine.emit(out, outs, gone)

        return engine

    halves = {name: source(name) for name in ("a", "b")}

    def joiner(name: str) -> Callable[[Chunk], Awaitable[Chunk | None]]:
        async def join(chunk: Chunk) -> Chunk | None:
            chunk, left = part(chunk)
            keys = list(await halves[name][1].fold(chunk))
            pairs = zip(*(half.table.get_many(chunk.partition, keys) for _, half in halves.values()), strict=True)
            items = [(key, joined(*pair), key) for key, pair in zip(keys, pairs, strict=True)]
            await engine.emit(out, PARTITIONS, items)
            return left

        join.__name__ = f"join_{name}"
        return join

    for name, (of, _) in halves.items():
        engine.agent(of)(joiner(name))
    return engine


def joined(a: Row | None, b: Row | None) -> bytes:
    version = sum(row.offset + 1 for row in (a, b) if row is not None)
    values = [value for row in (a, b) for value in ((0, 0) if row is None else HALF.unpack_from(row.payload))]
    return JOINED.pack(version, *values)


def without_versions() -> None:
    """The engine as it must not be: the last copy of a row wins, and nobody looks for foreign rows."""

    def last_wins(records: Any, stored: Any, **_: Any) -> engine_rows.Merge:
        latest = {key: value for key, value, _ in records}
        return engine_rows.Merge(
            {k: v for k, v in latest.items() if v is not None}, [k for k, v in latest.items() if v is None], set()
        )

    async def no_audit(self: Audit) -> None:
        for table in self._app.stage_tables:
            table.gaps.clear()

    engine_rows.merge = last_wins  # type: ignore[assignment]
    Audit.look = no_audit  # type: ignore[method-assign]


def without_lineage() -> None:
    """The engine as it must not be: it never asks whether a log is still the one that it read."""

    def no_news(self: Followed, runs: Runs, first: int, last: int) -> set[int]:
        return set()

    async def no_ends(self: EngineApp, topic: str, epochs: Mapping[int, int]) -> dict[int, int]:
        return {}

    Followed.news = no_news  # type: ignore[method-assign]
    EngineApp.epoch_ends = no_ends  # type: ignore[method-assign]
    engine_rows.Place.holds = lambda self, other: True  # type: ignore[method-assign]


def check_barriers() -> None:
    """Die where a partition is still held as ours when it is about to move: who waits for the lock would write rows."""
    commit_now = Consumer.commit_now

    async def checked(self: Consumer) -> None:
        if any(table.owned() for table in self.app.stage_tables):
            os._exit(9)
        await commit_now(self)

    Consumer.commit_now = checked  # type: ignore[method-assign]


def slow_seeks(seconds: float) -> None:
    """Seeks take time, and so does the first look at what was fetched of a standby's changelog."""
    perform_seek, is_whole = aiokafka.Consumer.perform_seek, Consumer._is_whole

    async def slow_seek(self: aiokafka.Consumer) -> None:
        await perform_seek(self)
        await asyncio.sleep(seconds)

    async def slow_look(self: Consumer, tp: TP, fetched: list[Any]) -> bool:
        await asyncio.sleep(0.0 if tp in self.app.standbys.whole else 1.5 * seconds)
        return await is_whole(self, tp, fetched)

    aiokafka.Consumer.perform_seek = slow_seek
    Consumer._is_whole = slow_look  # type: ignore[method-assign]


def cut_changelogs(engine: Engine, chunks: int, seed: int) -> None:
    """Die in the middle of a chunk's changelog: some of its rows are acknowledged, nothing else has happened."""
    outbox, randomly = engine._app.outbox, random.Random(seed)
    send, left = outbox.send, chunks

    async def cut(topic: str, partition: int, messages: Any, *, name: str) -> Any:
        nonlocal left
        messages = list(messages)
        left -= topic.endswith("-changelog") and len(messages) > 1
        if left > 0:
            return await send(topic, partition, messages, name=name)
        for sent in await send(topic, partition, messages[: randomly.randrange(len(messages))], name=name):
            await sent.acknowledged
        os._exit(9)

    outbox.send = cut  # type: ignore[method-assign]


def peak_rss_mib() -> int:
    """Of this process alone: `getrusage` also counts what the process that started it had grown to."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM:")) // 1024


async def report(engine: Engine, path: Path) -> None:
    while True:
        await asyncio.sleep(0.2)
        status = engine.status()
        if status.why == "stopping":
            return  # what it owned last stays told
        state = {
            "pid": os.getpid(),
            "ready": status.ready,
            "why": status.why,
            "max_rss_mib": peak_rss_mib(),
            "recovery_s": status.recovery_s,
            "rebalances": status.rebalances,
            "commit_age_s": status.commit_age_s,
            "sources": {name: vars(source) for name, source in status.sources.items()},
            "tables": {name: asdict(table) for name, table in status.tables.items()},
        }
        path.with_suffix(".tmp").write_text(json.dumps(state))
        path.with_suffix(".tmp").rename(path)


async def main(options: dict[str, Any]) -> None:
    check_barriers()
    if "slow_seeks" in options:
        slow_seeks(options["slow_seeks"])
    if not options.get("versions", True):
        without_versions()
    if not options.get("lineage", True):
        without_lineage()
    names = ["a"] if options["stage"] == "count" else ["a", "b"]
    topics = [f"{options['app']}-{name}" for name in names]
    kafka = {"bootstrap_servers": options["bootstrap"]}
    cluster_id, ids = await cluster_identity(kafka, topics)

    async def ids_of(names: Sequence[str]) -> Mapping[str, str]:
        return (await cluster_identity(kafka, names))[1]

    engine = build(options, Cluster(options.get("cluster_id", cluster_id), ids, ids_of))
    if "cut_after" in options:
        cut_changelogs(engine, options["cut_after"], options["cut_after"])
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.for_good)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop.for_a_restart)
    reporting = asyncio.ensure_future(report(engine, Path(options["status"])))
    await engine.run(stop)
    reporting.cancel()


if __name__ == "__main__":
    import logging

    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"
    )
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(os.environ.get("NOISY_LEVEL", "WARNING"))
    asyncio.run(main(json.loads(sys.argv[1])))
