"""What a candidate says of itself, and how it is run and reckoned.

A candidate reads a topic from its beginning. Its CPU seconds count from the moment when it had read `skip` records
until it has ended: everything it has put off is in them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from service.cluster import cluster_identity
from streams.engine import Cluster, Engine, EngineSettings, collector
from tests.bench.process import cpu_s, peak_mib
from tests.bench.streams import recovery
from tests.bench.streams.loads import Load

_TICK_S = 0.02


class Measured(NamedTuple):
    """records: of the counted part.  cpu_s: for them, whole process.  memory_mib: its peak."""

    records: int
    cpu_s: float
    memory_mib: int

    @property
    def per_cpu_s(self) -> float:
        """Not a number where the load was too small for the clock."""
        return self.records / self.cpu_s if self.cpu_s else math.nan


def said(candidate: str, arguments: Mapping[str, object]) -> bytes:
    """Run a candidate of this package in a process of its own; the last line that it says.

    Raises: CalledProcessError, with the candidate's last words on stderr.
    """
    words = [word for name, value in arguments.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", f"tests.bench.streams.{candidate}", *words]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    return lines[-1] if lines else b""


def run(candidate: str, arguments: Mapping[str, object]) -> Measured:
    """What a candidate's run came to.  Raises: as `said`."""
    return Measured(*json.loads(said(candidate, arguments)))


def parser() -> argparse.ArgumentParser:
    """What every candidate is told."""
    out = argparse.ArgumentParser()
    out.add_argument("--bootstrap", required=True)
    out.add_argument("--prefix", required=True, help="of the topics")
    out.add_argument("--app", required=True, help="consumer group, and first part of the changelogs' names")
    out.add_argument("--folder", type=Path, required=True, help="for the state; a kept one goes on where it ended")
    out.add_argument("--partitions", type=int, default=4)
    out.add_argument("--events", type=int, required=True, help="to read; then the candidate ends")
    out.add_argument("--skip", type=int, required=True, help="of these the first so many are not counted")
    out.add_argument("--load", type=json.loads, help="what the topic was filled with: a list of loads")
    out.add_argument("--recover", type=int, default=0, help="1: only read the rows back")
    out.add_argument("--chunk-records", type=int, default=EngineSettings.chunk_records)
    out.add_argument("--fetch-bytes", type=int, default=EngineSettings.fetch_bytes)
    return out


def loads_of(options: argparse.Namespace) -> list[Load]:
    return [Load(*one) for one in options.load]


class Meter:
    """Counts from `skip` records on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._events, self._skip = options.events, options.skip
        self._start: tuple[int, float] | None = None
        self._seen = 0

    def see(self, records: int) -> bool:
        """So many were read until now; False when it is enough."""
        self._seen = records
        if self._start is None and records >= self._skip:
            self._start = (records, cpu_s("self"))
        return records < self._events

    def tell(self) -> None:
        """Say what was counted, on stdout."""
        assert self._start is not None
        print(json.dumps(Measured(self._seen - self._start[0], cpu_s("self") - self._start[1], peak_mib("self"))))


async def run_engine(options: argparse.Namespace, topics: list[str], build: Callable[[Engine], None]) -> None:
    """A candidate on the engine.  topics: its sources, the first is counted.  build: registers the stage."""
    kafka = {"bootstrap_servers": options.bootstrap}
    cluster_id, ids = await cluster_identity(kafka, topics)

    async def ids_of(names: Sequence[str]) -> Mapping[str, str]:
        return (await cluster_identity(kafka, names))[1]

    settings = EngineSettings(
        app_id=options.app,
        bootstrap=options.bootstrap,
        datadir=options.folder,
        partitions=options.partitions,
        chunk_records=options.chunk_records,
        fetch_bytes=options.fetch_bytes,
    )
    engine = Engine(settings, Cluster(cluster_id, ids, ids_of))
    build(engine)
    collector.calm()
    if options.recover:
        await recovery.recover(engine)
        return
    meter = Meter(options)
    await engine.start()
    while meter.see(engine.status().sources[topics[0]].records):
        await asyncio.sleep(_TICK_S)
    await engine.stop()
    meter.tell()
