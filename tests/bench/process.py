"""A process under measure: its CPU seconds and memory, what it says of its health, and the rows that are told of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_ports

TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int | str) -> float:
    """CPU seconds that a process has used, all threads.  pid: or "self"."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_mib(pid: int | str) -> int:
    """The most memory that a process has had, its own alone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


def waited_s(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and had no core: what others on the machine took."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[1])
    return total / 1e9


def head() -> None:
    """The head of the table whose rows `row` tells."""
    print("| what | records | CPU s per million | records per CPU s | |\n|---|---|---|---|---|", flush=True)


def row(what: str, records: int, seconds: float, note: str = "") -> None:
    if not records or not seconds:
        print(f"| {what} | {records:,} | | | too few records to tell; {note} |", flush=True)
        return
    per_million = seconds / records * 1e6
    print(f"| {what} | {records:,} | {per_million:.1f} | {records / seconds:,.0f} | {note} |", flush=True)


class Process:
    """One process of ours, and what it says of itself."""

    def __init__(self, module: str, bootstrap: str, prefix: str, folder: Path, health: str, **settings: str) -> None:
        self.port, sql = free_ports(2)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            "MILLRACE_BOOTSTRAP": bootstrap,
            "MILLRACE_PREFIX": prefix,
            "MILLRACE_DATA": str(folder),
            "MILLRACE_SQL_PORT": str(sql),
            health: str(self.port),
            **settings,
        }
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{module}.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=log, stderr=log)
        self.log = folder / f"{module}.log"

    def state(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            return {"ready": False, "lag_total": -1}

    def wait(self, done: Callable[[dict[str, Any]], bool], timeout_s: float = 600) -> float:
        """CPU seconds used until then."""
        deadline, quiet = time.monotonic() + timeout_s, 0
        while quiet < 4:
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            used = cpu_s(self.process.pid)
            quiet = quiet + 1 if done(self.state()) else 0
            time.sleep(0.25)
        return used

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@contextmanager
def running(*arguments: Any, **settings: str) -> Iterator[Process]:
    process = Process(*arguments, **settings)
    try:
        yield process
    finally:
        process.stop()


def idle(state: dict[str, Any]) -> bool:
    return bool(state["ready"]) and state["lag_total"] == 0
