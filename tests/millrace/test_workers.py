"""Several streams workers under one supervisor, as an operator runs and restarts them, against a real Kafka."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from millrace.kafka import Broker
from millrace.supervisor import ask_health
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from tests.chaos.load import Load
from tests.chaos.verify import differences
from tests.ports import free_ports

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PARTITIONS = CATALOGUE["events"].local.partitions
NAMES = ("streams", "streams-1")
PATIENCE_S = 90.0


@dataclass
class Workers:
    """`millrace streams --workers 2` in a data folder of its own."""

    folder: Path
    ports: dict[str, int]
    environment: dict[str, str]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "screen").open("ab") as screen:
            arguments = [sys.executable, "-m", "millrace", "streams", "--workers", "2"]
            return subprocess.Popen(arguments, env=self.environment, stdout=screen, stderr=screen)

    async def millrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "millrace", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def state(self) -> dict[str, dict[str, Any]]:
        """What each of them says on its /readyz."""
        return {name: ask_health(f"http://127.0.0.1:{port}/readyz") for name, port in self.ports.items()}

    async def until(self, holds: Callable[[list[dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        """Their states, when that holds for five looks in a row: the ends of the topics are asked for once a second."""
        deadline, often = time.monotonic() + PATIENCE_S, 0
        while often < 5:
            await asyncio.sleep(0.5)
            state = self.state()
            often = often + 1 if holds(list(state.values())) else 0
            assert time.monotonic() < deadline, f"{state}\n{self.texts()}"
        return state

    def databases(self, table: str) -> list[Path]:
        return [path for name in NAMES for path in (self.folder / "data" / name).glob(f"**/tables/{table}-*.db")]

    def texts(self) -> str:
        logs = [self.folder / "screen", *(self.folder / "data" / "logs" / f"{name}.log" for name in NAMES)]
        return "\n".join(path.read_text()[-3000:] for path in logs if path.exists())


@pytest.fixture
def workers(kafka: Broker, prefix: str, tmp_path: Path) -> Iterator[tuple[Workers, subprocess.Popen[bytes]]]:
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
        "PYTHONPATH": str(ROOT),
        "MILLRACE_DATA": str(tmp_path / "data"),
        "MILLRACE_BOOTSTRAP": kafka.bootstrap,
        "MILLRACE_PREFIX": prefix,
        "MILLRACE_STREAMS_HEALTH_PORT": str(ports["streams"]),
        "MILLRACE_STREAMS_HEALTH_PORT_MORE": str(ports["streams-1"]),
        "MILLRACE_STREAMS_SESSION_TIMEOUT_S": "60",  # a restart on a busy machine is quicker than that
    }
    asyncio.run(ensure_topics(kafka.kwargs, CATALOGUE.values(), prefix, "local"))
    made = Workers(tmp_path, ports, environment)
    supervisor = made.start()
    yield made, supervisor
    supervisor.kill()
    supervisor.wait()


def balanced(states: list[dict[str, Any]]) -> bool:
    return all(state["ready"] and partitions(state) == PARTITIONS // len(states) for state in states)


def partitions(state: dict[str, Any]) -> int:
    return max((len(source["partitions"]) for source in state["details"]["sources"].values()), default=0)


async def under_load(load: Load, act: Callable[[], Awaitable[None]]) -> None:
    enough = asyncio.Event()
    sending = asyncio.ensure_future(load.run(enough, most=10**9))
    await act()
    enough.set()
    await sending


async def test_a_rolling_restart_of_all_workers_is_exact_and_moves_no_partition(
    kafka: Broker, prefix: str, workers: tuple[Workers, subprocess.Popen[bytes]]
) -> None:
    ours, supervisor = workers
    load = Load(kafka.bootstrap, prefix, PARTITIONS, seed=3, rate=600, sessions=50)
    before = await ours.until(balanced)

    async def restart() -> None:
        answer = await ours.millrace("restart", "streams")
        assert (answer.returncode, answer.stdout) == (0, ""), f"{answer.stderr}\n{ours.texts()}"
        assert answer.stderr.splitlines() == [f"{name} was restarted and is ready" for name in NAMES]

    await under_load(load, restart)
    after = await ours.until(lambda states: balanced(states) and not any(state["lag_total"] for state in states))
    for name in NAMES:
        assert after[name]["pid"] != before[name]["pid"]
        assert after[name]["details"]["rebalances"] == 1  # its own assignment, and none since
        assert after[name]["details"]["sources"].keys() == before[name]["details"]["sources"].keys()
        for topic, source in after[name]["details"]["sources"].items():
            assert source["partitions"] == before[name]["details"]["sources"][topic]["partitions"]
            assert source["records"] > 0
    listed = (await ours.millrace("status")).stdout.splitlines()  # in a shell that was told nothing of two workers
    assert [line.split()[:2] for line in listed[3:5]] == [[name, "yes"] for name in NAMES]
    supervisor.terminate()
    assert await asyncio.to_thread(supervisor.wait, PATIENCE_S) == 0
    assert "in time" not in ours.texts()  # nobody was killed, and nobody gave up
    assert load.records
    found, _ = await differences(kafka.bootstrap, prefix, load.records.values(), [ours])
    assert not any(found.values()), found
