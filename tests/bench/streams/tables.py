"""Runs the candidates in turns and prints what they cost."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas import topics
from tests.bench.process import row
from tests.bench.streams import kafka_streams, loads, meter, recovery, takeover
from tests.bench.streams.loads import Load
from tests.bench.streams.meter import Measured

PARTS = ("engine", "small", "stage", "flat", "flat_stage", "recovery", "takeover")
SMALL = {"chunk_records": 20_000, "fetch_bytes": 2 << 20}
"""For the engine's own candidates: with small rows, larger chunks write a row less often. The session stage runs with
the settings of the product; it gains nothing by larger chunks."""


@dataclass
class Topic:
    """The topics of a load, and the loads that were put on its events so far."""

    bootstrap: str
    partitions: int
    prefix: str = field(default_factory=lambda: f"b{uuid.uuid4().hex[:8]}")
    held: list[Load] = field(default_factory=list)

    def make(self) -> Topic:
        asyncio.run(loads.make_topics(self.bootstrap, self.prefix, self.partitions))
        return self

    def publish(self, load: Load) -> Topic:
        """In a process of its own, whose memory and time are nobody's."""
        words = [self.bootstrap, self.prefix, *map(str, load), str(self.partitions)]
        subprocess.run([sys.executable, "-m", "tests.bench.streams.loads", *words], check=True)
        self.held.append(load)
        return self


class Bench:
    """One run.  rounds: turns of every candidate.  scale: of the loads; at 7 (2 million events) a JIT is warm."""

    def __init__(self, bootstrap: str, folder: Path, rounds: int, scale: float) -> None:
        self.bootstrap, self.folder, self.rounds, self.scale = bootstrap, folder, rounds, scale
        self._numbers = itertools.count()

    def arguments(self, topic: Topic, events: int, skip: int, **more: object) -> dict[str, Any]:
        """For a candidate that begins anew: an app and a folder that were never used."""
        app = f"{topic.prefix}-{next(self._numbers)}"
        return {
            "bootstrap": self.bootstrap,
            "prefix": topic.prefix,
            "app": app,
            "folder": self.folder / app,
            "partitions": topic.partitions,
            "events": events,
            "skip": skip,
            "load": json.dumps(topic.held),
            **more,
        }

    def turns(self, candidates: dict[str, Callable[[], Measured | None]]) -> dict[str, Measured]:
        """The median run of each; one that is not at hand is left out."""
        runs: dict[str, list[Measured]] = {}
        for _ in range(self.rounds):
            for name, run in candidates.items():
                if (measured := run()) is not None:
                    runs.setdefault(name, []).append(measured)
        middle = {name: sorted(some, key=lambda one: one.per_cpu_s)[len(some) // 2] for name, some in runs.items()}
        spread = {name: [f"{one.per_cpu_s:,.0f}" for one in some] for name, some in runs.items()}
        if self.rounds > 1:
            print(f"<!-- every run, records per CPU s: {spread} -->", file=sys.stderr, flush=True)
        return middle

    # -- speed --------------------------------------------------------------------
    def engine(self) -> None:
        events = int(400_000 * self.scale)
        topic = Topic(self.bootstrap, 4).make()
        meter.said("alone", self.arguments(topic, events, 0, publish=1))
        measured = self.turns(
            {"alone": lambda: meter.run("alone", self.arguments(topic, events, events // 10, **SMALL))}
        )
        tell("engine alone: nine sums per key, decoding left out", measured["alone"])

    def loads(self) -> tuple[Load, ...]:
        """Bursts, no bursts, and more sessions than events that follow soon: those rows are cold."""
        events = int(300_000 * self.scale)
        return Load(events, 20_000, 10), Load(events, 20_000, 1), Load(max(600_000, events // 2), 500_000, 1)

    def small(self) -> None:
        for load in self.loads():
            self._small(Topic(self.bootstrap, 4).make().publish(load), load)

    def stage(self) -> None:
        for load in self.loads():
            self._full(Topic(self.bootstrap, 4).make().publish(load), load)

    def _small(self, topic: Topic, load: Load) -> None:
        half = load.events // 2
        measured = self.turns(
            {
                "peer": lambda: kafka_streams.run(self.arguments(topic, load.events, half)),
                "ours": lambda: meter.run("small", self.arguments(topic, load.events, half, **SMALL)),
            }
        )
        ours, peer = measured["ours"], measured.get("peer")
        if peer is None:
            tell(f"small aggregate on the engine, {load}", ours, f"Kafka Streams not given ({kafka_streams.GIVEN})")
        else:
            tell(f"small aggregate in Kafka Streams, {load}", peer)
            tell(f"small aggregate on the engine, {load}", ours, f"{ours.per_cpu_s / peer.per_cpu_s:.2f} of that")

    def _full(self, topic: Topic, load: Load) -> None:
        half, bursts = load.events // 2, load.burst > 1
        candidates: dict[str, Callable[[], Measured | None]] = {
            "stage": lambda: meter.run("stage", self.arguments(topic, load.events, half))
        }
        if bursts:
            few = min(load.events, 8000)
            candidates["decoded"] = lambda: meter.run("stage", self.arguments(topic, load.events, half, decoded=1))
            candidates["stock"] = lambda: meter.run("stock", self.arguments(topic, few, few // 2))
        measured = self.turns(candidates)
        note = ""
        if bursts:
            share = 1 - measured["stage"].per_cpu_s / measured["decoded"].per_cpu_s
            faster = measured["stage"].per_cpu_s / measured["stock"].per_cpu_s
            tell(f"session stage the stock Faust way, {load}", measured["stock"])
            tell(f"session stage, decoded before, {load}", measured["decoded"])
            note = f"decoding is {share:.0%}; {faster:.1f} times stock Faust"
        tell(f"session stage, {load}", measured["stage"], note)

    # -- flat ---------------------------------------------------------------------
    def flat(self, candidate: str = "small", sessions: Iterable[int] = (10_000, 2_000_000)) -> None:
        """The same events of 10,000 sessions, beside more and more sessions at rest, and in more partitions."""
        self._by_state(candidate, sessions)
        self._by_partitions(candidate, (1, 4, 16))

    def flat_stage(self) -> None:
        """The same of the session stage."""
        self.flat("stage")

    def _by_state(self, candidate: str, sessions: Iterable[int]) -> None:
        """All are filled before the first is measured: in turns, what else the machine does is in each of them."""
        measured = self.turns({f"{at_rest:,}": self._beside(candidate, at_rest) for at_rest in sessions})
        for at_rest, one in measured.items():
            tell(f"{NAMES[candidate]}, {at_rest} sessions in state", one)

    def _beside(self, candidate: str, at_rest: int) -> Callable[[], Measured]:
        """Fill with sessions at rest; what is given works off other events, new ones each time."""
        topic = Topic(self.bootstrap, 4).make().publish(Load(at_rest, at_rest, 1))
        filling = self.arguments(topic, at_rest, at_rest // 2, **(SMALL if candidate == "small" else {}))
        meter.run(candidate, filling)
        seeds = itertools.count(2)

        def run() -> Measured:
            load = Load(int(300_000 * self.scale), 10_000, 10, next(seeds))
            topic.publish(load)
            going_on = {**filling, "events": load.events, "skip": load.events // 3, "load": json.dumps([load])}
            return meter.run(candidate, going_on)

        return run

    def _by_partitions(self, candidate: str, counts: Iterable[int]) -> None:
        more = SMALL if candidate == "small" else {}
        load = Load(int(300_000 * self.scale), 10_000, 10)
        held = {count: Topic(self.bootstrap, count).make().publish(load) for count in counts}

        def runner(topic: Topic) -> Callable[[], Measured]:
            return lambda: meter.run(candidate, self.arguments(topic, load.events, load.events // 3, **more))

        measured = self.turns({str(count): runner(topic) for count, topic in held.items()})
        for count, one in measured.items():
            tell(f"{NAMES[candidate]}, {count} partition{'s' if count != '1' else ''}", one)

    # -- times --------------------------------------------------------------------
    def recovery(self, sessions: int = 500_000) -> list[str]:
        """What the rows of so many sessions take to be read back into an empty folder."""
        topic = Topic(self.bootstrap, 4).make().publish(Load(sessions, sessions, 1))
        small = self._recovery("small", self.arguments(topic, sessions, 0, **SMALL))
        made = self.arguments(topic, sessions, 0)
        stage = self._recovery("stage", made)
        rows = Topic(self.bootstrap, topic.partitions).make()
        name = topics.full_name(rows.prefix, "events")
        count = asyncio.run(recovery.copy_session_rows(self.bootstrap, made["app"], name, topic.partitions))
        return [small, self._recovery("session_rows", self.arguments(rows, count, 0)), stage]

    def _recovery(self, candidate: str, made: dict[str, Any]) -> str:
        meter.run(candidate, made)
        count, size = asyncio.run(recovery.changelogs(self.bootstrap, made["app"], candidate, made["partitions"]))
        runs = [
            recovery.run(candidate, {**made, "folder": self.folder / f"again-{next(self._numbers)}"})
            for _ in range(self.rounds)
        ]
        took, used = (statistics.median(values) for values in zip(*(run[:2] for run in runs), strict=True))
        return (
            f"recovery, {NAMES[candidate]}: {count:,} rows, {size / 1e6:,.0f} MB of "
            f"changelog in {took:.1f} s; {used:.1f} CPU s, {size / 1e6 / used:.0f} MB per CPU s, "
            f"{max(run.memory_mib for run in runs)} MiB at most"
        )

    def takeover(self) -> list[str]:
        gaps = [
            asyncio.run(
                takeover.measure(self.bootstrap, f"b{uuid.uuid4().hex[:8]}", self.folder / f"takeover-{number}")
            )
            for number in range(self.rounds)
        ]
        took, again = (statistics.median(values) for values in zip(*gaps, strict=True))
        return [
            f"kill -9 of one of two workers, with a standby and {takeover.SESSIONS:,} sessions: its partitions move "
            f"again after {took:.1f} s, at a session timeout of {takeover.SESSION_TIMEOUT_S:.0f} s",
            f"kill -9 of a worker that is started again at once: every partition moves after {again:.1f} s",
        ]


NAMES = {"small": "small aggregate on the engine", "session_rows": "full session rows", "stage": "session stage"}


def tell(what: str, measured: Measured, note: str = "") -> None:
    memory = f"{measured.memory_mib} MiB at most"
    row(what, measured.records, measured.cpu_s, f"{memory}; {note}" if note else memory)


def run(bench: Bench, parts: Iterable[str]) -> list[str]:
    """Print the rows of these parts; returns the lines to print below the table."""
    lines: list[str] = []
    for part in PARTS:
        if part in parts:
            lines += getattr(bench, part)() or []
    return lines
