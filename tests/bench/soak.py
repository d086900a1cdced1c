"""A streams process under a steady load for half an hour: its memory, open files and lag must not grow.

    python -m tests.bench.soak [--minutes 30] [--rate 400] [--sessions 2000] [--every 10]

The load is that of `make chaos` without its faults. The re-sends' horizon is five minutes here, so that ids expire as
they come for most of the time. The last line is FLAT, or GROWS with what does (exit code 1): the medians of the third
and of the last quarter are compared, as the caches take their first quarter of an hour to fill.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from millrace.kafka import Broker
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from tests.bench.process import cpu_s, idle, running
from tests.chaos.load import Load
from tests.kafka import jars
from tests.ports import free_port

_HORIZON_S = "300"
# The allowance for noise: a twentieth of the memory, some files of a compaction, seconds of a busy machine.
_MORE = {"memory_mib": 1.05, "files": 1.10, "lag_records": 1.5}
_SPARE = {"memory_mib": 8.0, "files": 6.0, "lag_records": 2000.0}


class Sample(NamedTuple):
    """One look at the process."""

    at_s: float
    memory_mib: float
    files: int
    lag_records: int
    state_mib: float
    cpu_s: float


def look(pid: int, folder: Path, lag: int, at_s: float) -> Sample:
    """Memory without what is shared with files, open files and sockets, size of the folder."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) / 1024
    stored = 0
    for path in folder.rglob("*"):
        try:
            stored += path.stat().st_size
        except OSError:  # a compaction took it away
            continue
    return Sample(at_s, memory, len(list(Path(f"/proc/{pid}/fd").iterdir())), lag, stored / (1 << 20), cpu_s(pid))


def grown(samples: list[Sample]) -> list[str]:
    """What the last quarter has clearly more of than the third."""
    quarter = len(samples) // 4
    out = []
    for name, more in _MORE.items():
        before, after = (
            statistics.median(getattr(sample, name) for sample in part)
            for part in (samples[2 * quarter : 3 * quarter], samples[-quarter:])
        )
        if after > before * more and after > before + _SPARE[name]:
            out.append(f"{name} from {before:.0f} to {after:.0f}")
    return out


async def soak(options: argparse.Namespace, bootstrap: str, folder: Path) -> list[Sample]:
    """Samples of the whole run; every line is printed as it is taken."""
    prefix = f"k{uuid.uuid4().hex[:8]}"
    await ensure_topics({"bootstrap_servers": bootstrap}, CATALOGUE.values(), prefix, "local")
    partitions = CATALOGUE["events"].local.partitions
    load = Load(bootstrap, prefix, partitions, seed=1, rate=options.rate, sessions=options.sessions)
    samples = []
    health = "MILLRACE_STREAMS_HEALTH_PORT"
    with running("streams", bootstrap, prefix, folder, health, MILLRACE_DEDUP_HORIZON_S=_HORIZON_S) as streams:
        await asyncio.to_thread(streams.wait, idle)
        enough = asyncio.Event()
        loading = asyncio.create_task(load.run(enough, most=sys.maxsize))
        began = time.monotonic()
        print("| minute | records | memory MiB | files | lag | state MiB | CPU s |\n|---|---|---|---|---|---|---|")
        while (at_s := time.monotonic() - began) < options.minutes * 60:
            await asyncio.sleep(options.every)
            lag = (await asyncio.to_thread(streams.state))["lag_total"]
            sample = await asyncio.to_thread(look, streams.process.pid, folder, lag, at_s)
            samples.append(sample)
            print(
                f"| {at_s / 60:.1f} | {load.sent:,} | {sample.memory_mib:.0f} | {sample.files} | {lag:,} "
                f"| {sample.state_mib:.0f} | {sample.cpu_s:.0f} |",
                flush=True,
            )
        enough.set()
        await loading
        await asyncio.to_thread(streams.wait, idle)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=400, help="records a second")
    parser.add_argument("--sessions", type=int, default=2000, help="that run at once")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millrace-soak-") as name:
        folder = Path(name)
        with Broker(jars(), folder / "kafka", log=folder / "kafka.log", port=free_port()) as kafka:
            found = grown(asyncio.run(soak(options, kafka.bootstrap, folder / "data")))
    print(f"GROWS: {', '.join(found)}" if found else "FLAT")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
