"""The whole product as its user starts it: `python -m millrace run` on free ports, against a real Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from schemas.keys import Kind
from service import keyring
from service.changes import Who
from tests.ports import free_ports

MODULES = {"gateway": "ingest_gateway", "streams": "streams", "sinks": "sinks", "console": "console"}
PORTS = (
    "GATEWAY_GRPC",
    "GATEWAY_HTTP",
    "GATEWAY_HEALTH",
    "STREAMS_HEALTH",
    "SINKS_HEALTH",
    "SQL",
    "CONSOLE",
    "CONSOLE_HEALTH",
)
TIMEOUT_S = 120.0


class Stack:
    """One running stack in a data folder of its own."""

    def __init__(self, bootstrap: str, prefix: str, data: Path, **settings: str) -> None:
        self.data = data
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            "MILLRACE_BOOTSTRAP": bootstrap,
            "MILLRACE_PREFIX": prefix,
            "MILLRACE_DATA": str(data),
            "MILLRACE_LAKE_COMMIT_INTERVAL_S": "2",
            **{f"MILLRACE_{name}_PORT": str(port) for name, port in self.ports.items()},
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._sql = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['SQL']}", timeout=60)

    def start(self) -> Stack:
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "stack.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "millrace", "run"], env=self.environment, stdout=log, stderr=log
            )
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        done = self.command("status", "--wait", str(TIMEOUT_S), check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.log()}"

    def stop(self) -> None:
        """SIGTERM, as Ctrl-C does; 20 s are more than it may take."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(20)
        assert code == 0, f"exit {code}\n{self.log()}"

    def kill_everything(self) -> None:
        self._sql.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def kill(self, name: str) -> int:
        """kill -9 of one process; the supervisor starts it again. Returns its process id."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid(self, name: str) -> int:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for stat in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    arguments = stat.read_bytes().split(b"\0")
                    if b"-m" in arguments and arguments[arguments.index(b"-m") + 1] == MODULES[name].encode():
                        environment = (stat.parent / "environ").read_bytes()
                        if f"MILLRACE_DATA={self.data}".encode() in environment.split(b"\0"):
                            return int(stat.parent.name)
            time.sleep(0.05)
        raise AssertionError(f"{name} does not run\n{self.log()}")

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "millrace", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=TIMEOUT_S + 30,
        )

    def key(self, tenant: str, kind: Kind = "ingest") -> str:
        """A new key as `millrace key create` makes it, in force when this returns."""
        kafka, prefix = (
            {"bootstrap_servers": self.environment["MILLRACE_BOOTSTRAP"]},
            self.environment["MILLRACE_PREFIX"],
        )
        made = keyring.create(kafka, prefix, Who("tests"), tenant=tenant, kind=kind, name="")
        with ThreadPoolExecutor(1) as aside:  # a test may run in a loop of its own
            key = aside.submit(asyncio.run, made).result()
        deadline = time.monotonic() + TIMEOUT_S
        while not self._knows(key, kind):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return key

    def _knows(self, key: str, kind: Kind) -> bool:
        """Whether the process that takes such keys has read of it."""
        headers = {"authorization": f"Bearer {key}"}
        gateway = f"http://127.0.0.1:{self.ports['GATEWAY_HTTP']}/v1/logs"
        url, asked = (gateway, {}) if kind == "ingest" else ("/sql", {"sql": "select 1"})
        with contextlib.suppress(httpx.TransportError):  # it is being restarted
            return self._sql.post(url, json=asked, headers=headers).status_code == 200
        return False

    def admin_key(self) -> str:
        """The local admin key, which sees every tenant."""
        return (self.data / "keys" / "admin").read_text().strip()

    def console_secret(self) -> str:
        """What signs the cookies of the pages."""
        return (self.data / "keys" / "console").read_text().strip()

    @property
    def console_url(self) -> str:
        """Of the pages."""
        return f"http://127.0.0.1:{self.ports['CONSOLE']}"

    def sql(self, key: str) -> Callable[[str], list[dict[str, Any]]]:
        """Asks the SQL service with this key; answers as objects."""

        def ask(text: str) -> list[dict[str, Any]]:
            answer = self._sql.post(
                "/sql", json={"sql": text, "limit": 100_000}, headers={"authorization": f"Bearer {key}"}
            )
            assert answer.status_code == 200, answer.text
            body = answer.json()
            return [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]

        return ask

    def sinks_lag(self) -> int:
        """Records that query tables and lake together have not stored yet, as the sinks process says."""
        answer = httpx.get(f"http://127.0.0.1:{self.ports['SINKS_HEALTH']}/readyz", timeout=5, trust_env=False)
        return int(answer.json()["lag_total"])

    def log(self) -> str:
        texts = [self.data / "stack.log", *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in texts if p.exists())


def eventually(check: Callable[[], Any], *, timeout_s: float = 60.0) -> None:
    """Wait until the check returns nothing (no differences). It fails with the last answer."""
    deadline = time.monotonic() + timeout_s
    while left := _attempt(check):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def _attempt(check: Callable[[], Any]) -> Any:
    try:
        return check()
    except (AssertionError, httpx.TransportError) as error:  # the SQL service is being restarted
        return repr(error)
