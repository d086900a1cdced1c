"""Break the streams processes under load, then compare everything they hold with what was acknowledged.

    make chaos [SEED=n]
    python -m tests.chaos [--seed N] [--minutes 4] [--workers 2] [--brokers 1] [--rate 2500] [--without ids|versions]

Workers have static names in their group, as the product gives them; without in one run of three, by its seed. In every
other one a changelog loses its end when all has been compared: every worker must refuse to go on, with what mends it.
A seed draws the same faults in the same order; what they hit is never the same twice. The last line is EXACT or WRONG
(exit code 1); before it stand the faults, what ended a worker that we did not end, and the rows that are wrong. A run
that breaks off, or does not even come up, is WRONG. `--results FILE` appends one line of JSON a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.topics import CATALOGUE, Sizing, Topic
from service.cluster import ensure_topics
from streams.errors import EXIT_REFUSED, EXIT_TRY_AGAIN
from tests.chaos.brokers import Brokers
from tests.chaos.load import Load
from tests.chaos.unprotected import OFF
from tests.chaos.verify import TABLES, differences, repaired
from tests.chaos.workers import Worker, without_folders
from tests.kafka import jars

#: What happens, and how often beside the others.
FAULTS = {
    "kill": 6,
    "wipe": 2,
    "damage": 2,
    "full disk": 2,
    "term": 2,
    "pause": 2,
    "zombie": 4,
    "clock step": 2,
    "scale": 1,
    "broker kill": 1,
    "broker freeze": 1,
    "broker slow": 1,
    "majority kill": 1,
    "majority freeze": 1,
}
PARTITIONS = 4
SESSION_TIMEOUT_S = 6.0
_READY_S = 180.0
_DRAIN_S = 900.0
_REPAIRED_S = 60.0
_CALM_S = (0.5, 4.0)
_CLOCK_H = 6.0
# Not before an audit has found and mended what a zombie wrote: the older copy would be the only one left.
_COMPACTION_LAG_MS = "20000"
_SHOWN = 5
_ERRORS_MAX = 20
# Refused that often while nothing happens any more, it will be refused for ever.
_REFUSED_MAX = 5
_NAMELESS_EVERY = 3
_CUT_EVERY = 2
_REFUSED_S = 90.0
MENDED_BY = "start with a higher epoch (MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true)"


class Chaos:
    """One run: brokers, workers, load, faults."""

    def __init__(self, options: argparse.Namespace, brokers: Brokers, folder: Path) -> None:
        self.options = options
        self.brokers = brokers
        self.folder = folder
        self.prefix = f"c{uuid.uuid4().hex[:8]}"
        self.random = random.Random(options.seed)
        self.counts: Counter[str] = Counter()
        #: What ended workers that neither we nor a passing trouble ended, in their own words.
        self.errors: list[str] = []
        self.began = time.monotonic()
        self.environment = {
            "MILLRACE_BOOTSTRAP": brokers.bootstrap,
            "MILLRACE_PREFIX": self.prefix,
            "MILLRACE_STREAMS_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "MILLRACE_STREAMS_STANDBY_REPLICAS": str(options.standbys),
        }
        self.load = Load(
            brokers.bootstrap,
            self.prefix,
            PARTITIONS,
            seed=options.seed,
            rate=options.rate,
            sessions=options.sessions,
        )
        self.workers = [self._worker(number) for number in range(options.workers)]

    def _worker(self, number: int) -> Worker:
        arguments = ["tests.chaos.unprotected", self.options.without] if self.options.without else ["tests.chaos.clock"]
        # As millrace.stack names them. Who is scaled away gives its place up: SIGTERM is a stop for good.
        named = {"MILLRACE_STREAMS_INSTANCE_ID": f"chaos-{number}"} if self.options.static else {}
        return Worker(number, self.folder, {**self.environment, **named}, arguments)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    def end(self) -> dict[str, list[str]]:
        """The whole run, with its brokers.

        Returns: by reading: what is wrong, in words (all lists are empty when everything is exact).
        """
        try:
            with self.brokers:
                try:
                    return asyncio.run(self.run())
                finally:
                    for worker in self.workers:
                        worker.kill()
        except Exception as error:  # whatever it was: a run without a verdict would not be counted
            traceback.print_exc()
            words = f"{type(error).__name__}: {error}"
            self.errors.append(without_folders(words.splitlines()[0]))
            return {"run": [words]}

    async def run(self) -> dict[str, list[str]]:
        """Between the start of the brokers and their end.  Returns: as `end`.  Raises: whatever breaks it off."""
        options, load = self.options, self.load
        sizing = Sizing(PARTITIONS, self.brokers.replication, min(2, self.brokers.replication))
        await ensure_topics({"bootstrap_servers": self.brokers.bootstrap}, _sized(sizing), self.prefix, "local")
        for worker in self.workers:
            worker.start()
        await self._ready()
        await self._compacted()
        enough = asyncio.Event()
        loading = asyncio.create_task(load.run(enough, most=options.events))
        ends = time.monotonic() + options.minutes * 60
        while time.monotonic() < ends and not loading.done():
            await asyncio.sleep(self.random.uniform(*_CALM_S))
            await self._fault()
            self._revive()
        enough.set()
        await loading
        self.say(f"{load.sent:,} records acknowledged, {len(load.records):,} of them distinct")
        await self._drained()
        await repaired(self.brokers.bootstrap, self.prefix, _REPAIRED_S)
        await self._drained()
        for worker in self.workers:  # together, or partitions would move in between
            worker.ask_to_end()
        for worker in self.workers:
            worker.wait()
            self._note_exit(worker)
        self.say("comparing")
        found, compacted = await differences(self.brokers.bootstrap, self.prefix, load.records.values(), self.workers)
        self.counts["compacted records"] = compacted
        self.counts["writes refused by brokers"] = self.brokers.refused_writes()
        if options.cut:
            found["changelog without its end"] = await self._cut()
        return found

    async def _compacted(self) -> None:
        """Have Kafka compact soon what it would compact after hours: old copies go while everything runs."""
        soon = {"min.compaction.lag.ms": _COMPACTION_LAG_MS, "segment.ms": "5000", "max.compaction.lag.ms": "30000"}
        names = [f"{self.prefix}-streams-{table}-changelog" for table in TABLES]
        names += [f"{self.prefix}.{topic}.v1" for topic in ("sessions", "user-windows")]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers.bootstrap)
        await admin.start()
        try:
            for name in names:
                # All that is not named goes back to the broker's default.
                policy = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime", **soon}
                await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, policy)])
        finally:
            await admin.close()

    # -- faults ---------------------------------------------------------------------
    async def _fault(self) -> None:
        rnd = self.random
        # Not one that was scaled away: nothing would be hit, and it would count.
        worker = rnd.choice([one for one in self.workers if not one.retired])
        chosen = [name for name in FAULTS if name in self.options.faults]
        name = rnd.choices(chosen, [FAULTS[name] for name in chosen])[0]
        does: dict[str, Callable[[Worker], Awaitable[str]]] = {
            "kill": self._kill,
            "wipe": self._kill_wiped,
            "damage": self._kill_damaged,
            "full disk": self._fill,
            "term": self._term,
            "pause": self._pause,
            "zombie": self._zombie,
            "clock step": self._clock_step,
            "scale": self._scale,
            "broker kill": self._of_brokers(self.brokers.restart),
            "broker freeze": self._of_brokers(self.brokers.freeze),
            "broker slow": self._of_brokers(self.brokers.slow),
            "majority kill": self._of_brokers(self.brokers.kill_most),
            "majority freeze": self._of_brokers(self.brokers.freeze_most),
        }
        self.counts[name] += 1
        self.say(await does[name](worker))

    async def _kill(self, worker: Worker) -> str:
        worker.kill()
        return f"{worker.name} killed"

    async def _kill_wiped(self, worker: Worker) -> str:
        worker.kill()
        worker.wipe()
        return f"{worker.name} killed, its folder wiped"

    async def _kill_damaged(self, worker: Worker) -> str:
        worker.kill()
        # Of its own: how many files there are must not change the faults that follow.
        worker.damage(random.Random(self.random.getrandbits(32)))
        return f"{worker.name} killed, its folder half-written"

    async def _fill(self, worker: Worker) -> str:
        worker.limit_files(self.random.choice([0, 4096, 65_536]))
        await asyncio.sleep(self.random.uniform(1, 4))
        if not worker.alive:
            return f"{worker.name} could not write and ended with code {worker.exit_code}"
        worker.limit_files(None)
        return f"{worker.name} could not have written for a while"

    async def _term(self, worker: Worker) -> str:
        if not worker.alive:
            return f"{worker.name} had ended with code {worker.exit_code}"
        seconds = await asyncio.to_thread(worker.terminate)
        return f"{worker.name} stopped in {seconds:.1f} s, exit code {worker.exit_code}"

    async def _pause(self, worker: Worker) -> str:
        seconds = self.random.uniform(0.2, 0.7 * SESSION_TIMEOUT_S)
        worker.pause()
        await asyncio.sleep(seconds)
        worker.resume()
        return f"{worker.name} paused for {seconds:.1f} s"

    async def _zombie(self, worker: Worker) -> str:
        seconds = SESSION_TIMEOUT_S + self.random.uniform(1, 5)
        worker.pause()
        await asyncio.sleep(seconds)
        worker.resume()
        return f"{worker.name} paused for {seconds:.1f} s, past the session timeout"

    async def _clock_step(self, worker: Worker) -> str:
        hours = self.random.uniform(-_CLOCK_H, _CLOCK_H)
        worker.step_clock(hours * 3600)
        return f"{worker.name} has its clock set {abs(hours):.1f} h {'ahead' if hours > 0 else 'behind'}"

    async def _scale(self, _: Worker) -> str:
        if len(self.workers) > self.options.workers:
            leaving = self.workers[-1]
            if leaving.alive:
                await asyncio.to_thread(leaving.terminate)
            if not leaving.retired:
                self._note_exit(leaving)
            leaving.retired = not leaving.retired
            if not leaving.retired:
                leaving.start()
            return f"{leaving.name} {'leaves' if leaving.retired else 'comes back'}"
        self.workers.append(self._worker(len(self.workers)))
        self.workers[-1].start()
        return f"{self.workers[-1].name} comes"

    def _of_brokers(self, fault: Callable[[random.Random], str]) -> Callable[[Worker], Awaitable[str]]:
        return lambda _: asyncio.to_thread(fault, self.random)

    async def _cut(self) -> list[str]:
        """A changelog loses its end, and nothing can be exact any more: who does not refuse to go on, in words."""
        table = random.Random(self.options.seed).choice(TABLES)
        await asyncio.to_thread(self.brokers.cut, f"{self.prefix}-streams-{table}-changelog")
        self.counts["changelog cut"] += 1
        self.say(f"the changelog of {table} has lost its end")
        workers = [worker for worker in self.workers if not worker.retired]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + _REFUSED_S
        # Who has none of its partitions gets them from those that have ended.
        while any(worker.exit_code in (None, EXIT_TRY_AGAIN) for worker in workers) and time.monotonic() < deadline:
            for worker in workers:
                if worker.exit_code == EXIT_TRY_AGAIN:
                    worker.start()
            await asyncio.sleep(0.5)
        return [wrong for worker in workers if (wrong := not_refused(worker))]

    # -- waiting --------------------------------------------------------------------
    def _revive(self) -> None:
        for worker in self.workers:
            if not worker.alive and not worker.retired:
                self._note_exit(worker)
                worker.start()

    def _note_exit(self, worker: Worker) -> None:
        code = worker.exit_code
        if code in (None, 0, -signal.SIGKILL):
            return
        self.counts[f"exit code {code}"] += 1
        if code in (EXIT_TRY_AGAIN, -signal.SIGTERM):  # the latter is ours, too, before anybody listens to it
            return
        error = f"{worker.name}, exit code {code}: {worker.last_error()}"
        self.say(error)
        if len(self.errors) < _ERRORS_MAX:
            self.errors.append(error)

    async def _ready(self) -> None:
        await self._until(lambda state: bool(state["ready"]), _READY_S)

    async def _drained(self) -> None:
        await self._until(lambda state: bool(state["ready"]) and state.get("lag_total") == 0, _DRAIN_S)

    async def _until(self, done: Callable[[dict[str, object]], bool], seconds: float) -> None:
        """Until all workers say so, three times in a row."""
        deadline, often = time.monotonic() + seconds, 0
        refused = f"exit code {EXIT_REFUSED}"
        hopeless = self.counts[refused] + _REFUSED_MAX
        while often < 3:
            await asyncio.sleep(0.5)
            self._revive()
            active = [worker for worker in self.workers if not worker.retired]
            often = often + 1 if all(done(worker.state()) for worker in active) else 0
            if time.monotonic() > deadline or self.counts[refused] >= hopeless:
                tails = "\n".join(f"--- {worker.name}\n{worker.tail()[-3000:]}" for worker in self.workers)
                raise TimeoutError(f"the workers did not come to that within {seconds:.0f} s, or refuse to\n{tails}")


def not_refused(worker: Worker) -> str:
    """What is wrong with a worker that should have ended for a lost changelog; an empty text for nothing."""
    if worker.alive:
        return f"{worker.name} goes on"
    error = worker.last_error()
    refused = worker.exit_code == EXIT_REFUSED and MENDED_BY in error
    return "" if refused else f"{worker.name}, exit code {worker.exit_code}: {error}"


def _sized(sizing: Sizing) -> list[Topic]:
    return [replace(topic, local=sizing) for topic in CATALOGUE.values()]


def _commit() -> str:
    """What ran, as git names it; an empty text outside of a clone."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or time.time()))
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--events", type=int, default=10**9, help="stop at so many acknowledged records")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--standbys", type=int, default=0)
    parser.add_argument("--static", action=argparse.BooleanOptionalAction, help="static names, whatever the seed says")
    parser.add_argument("--cut", action=argparse.BooleanOptionalAction, help="cut a changelog, whatever the seed says")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--rate", type=int, default=2_500)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--faults", type=lambda text: text.split(","), default=list(FAULTS))
    parser.add_argument("--without", choices=sorted(OFF))
    parser.add_argument("--results", type=Path, help="append a line of JSON to this file")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it there")
    options = parser.parse_args(arguments)
    if options.static is None:
        options.static = options.seed % _NAMELESS_EVERY != 0
    if options.cut is None:
        options.cut = options.seed % _CUT_EVERY != 0 and not options.without
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that brokers are away is what we want
    names = "static names" if options.static else "no static names"
    print(f"seed {options.seed}, {options.workers} workers with {names}, {options.brokers} brokers", flush=True)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="millrace-chaos-"))
    keep = options.keep is not None
    try:
        chaos = Chaos(options, Brokers(jars(), folder, options.brokers), folder)
        load, found = chaos.load, chaos.end()
        verdict = "WRONG" if any(found.values()) else "EXACT"
        keep = keep or (verdict == "WRONG" and not options.without)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        print(f"what it left is in {folder}")
    for reading, wrong in found.items():
        print(f"{reading}: {len(wrong)} wrong" if wrong else f"{reading}: exact")
        for text in wrong[:_SHOWN]:
            print(f"    {text[:600]}")
    counts = ", ".join(f"{name} {count}" for name, count in sorted(chaos.counts.items()) if count)
    print(f"{len(load.records):,} records, {load.resent:,} re-sent; {counts}")
    if options.results:
        line = {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": _commit(),
            "seed": options.seed,
            "workers": options.workers,
            "standbys": options.standbys,
            "static": options.static,
            "brokers": options.brokers,
            "without": options.without,
            "records": len(load.records),
            "resent": load.resent,
            "faults": {name: count for name, count in sorted(chaos.counts.items()) if count},
            "errors": chaos.errors,
            "wrong": {reading: len(wrong) for reading, wrong in found.items() if wrong},
            "verdict": verdict,
        }
        with options.results.open("a") as results:
            results.write(json.dumps(line) + "\n")
    print(verdict)
    return int(verdict != "EXACT")


if __name__ == "__main__":
    sys.exit(main())
