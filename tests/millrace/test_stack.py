"""`millrace run` as a newcomer meets it: started, fed, asked, killed, stopped, started again."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace.settings import StackSettings
from tests.ports import free_ports

pytestmark = [pytest.mark.broker, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PORTS = (
    "MILLRACE_KAFKA_PORT",
    "MILLRACE_GATEWAY_GRPC_PORT",
    "MILLRACE_GATEWAY_HTTP_PORT",
    "MILLRACE_GATEWAY_HEALTH_PORT",
    "MILLRACE_STREAMS_HEALTH_PORT",
    "MILLRACE_SINKS_HEALTH_PORT",
    "MILLRACE_SQL_PORT",
    "MILLRACE_CONSOLE_PORT",
    "MILLRACE_CONSOLE_HEALTH_PORT",
)
READY_S = 120
PROTOCOLS = ("http/json", "http/protobuf", "grpc")


@dataclass
class Stack:
    """One data folder, one set of ports, and the `millrace run` that uses them now."""

    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[str] | None = None
    screens: list[Path] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> None:
        self.screens.append(self.folder / f"screen-{len(self.screens)}.txt")
        with self.screens[-1].open("w") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "millrace", "run", *arguments],
                stdout=screen,
                stderr=screen,
                env={**self.environment, **environment},
                text=True,
                umask=0o022,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Exit code and seconds."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, time.monotonic() - began

    def end(self) -> tuple[int, str]:
        """Exit code and screen of a run that ends by itself."""
        assert self.process is not None
        return self.process.wait(READY_S), self.screen()

    def screen(self) -> str:
        return self.screens[-1].read_text()

    def says(self, words: str) -> None:
        """Until these words are on the screen."""
        deadline = time.monotonic() + READY_S
        while words not in self.screen():
            assert time.monotonic() < deadline, self.screen()
            time.sleep(0.1)

    def millrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "millrace", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
            timeout=READY_S + 30,
        )

    def ready(self, seconds: float = READY_S) -> list[dict[str, Any]]:
        answer = self.millrace("status", "--wait", str(seconds), "--json")
        assert answer.returncode == 0, f"{answer.stdout}\n{self.screen()}"
        rows: list[dict[str, Any]] = json.loads(answer.stdout)
        return rows

    def sql(self, query: str) -> list[dict[str, Any]]:
        answer = self.millrace("query", query, "--format", "json")
        assert answer.returncode == 0, answer.stderr
        rows: list[dict[str, Any]] = json.loads(answer.stdout)
        return rows

    def sql_until(self, query: str, wanted: list[dict[str, Any]], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while (found := self.sql(query)) != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
        assert found == wanted


def new_stack(folder: Path) -> Stack:
    clean = {
        name: os.environ[name] for name in os.environ if not name.startswith("MILLRACE_") or name == "MILLRACE_CACHE"
    }
    ports = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    return Stack(folder, {**clean, **ports, "MILLRACE_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT)})


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = new_stack(tmp_path)
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.stop()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One `make demo` that several tests look at."""
    stack = new_stack(tmp_path_factory.mktemp("demo"))
    stack.start("--demo")
    stack.ready()
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.stop()


def feed(stack: Stack, requests: int, protocol: str = "http/protobuf", seed: int = 1) -> dict[str, Any]:
    answer = stack.millrace(
        "demo", "--rate", "0", "--requests", str(requests), "--protocol", protocol, "--seed", str(seed)
    )
    assert answer.returncode == 0, answer.stderr
    summary: dict[str, Any] = json.loads(answer.stdout)
    assert (summary["acknowledged"], summary["refused"], summary["rejected_records"]) == (requests, 0, 0), summary
    return summary


def kafka_pid(stack: Stack) -> int:
    properties = str(stack.folder / "data" / "kafka" / "server.properties").encode()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if line.read_bytes().split(b"\0")[-2:-1] == [properties]:
                return int(line.parent.name)
    raise AssertionError(f"no Kafka runs with {properties!r}")


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077]


COUNTS = (
    "select (select count(*) from events) as events, (select count(*) from metrics) as points, "
    "(select count(*) from spans) as spans"
)


def counts(*summaries: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: sum(summary[name] for summary in summaries) for name in ("events", "points", "spans")}]


def test_what_was_sent_is_there_and_still_there_after_a_second_start(stack: Stack) -> None:
    stack.start()
    rows = stack.ready()
    assert [row["process"] for row in rows] == ["kafka", "gateway", "streams", "sinks", "console"]
    with ThreadPoolExecutor() as clients:
        sent = list(clients.map(lambda seed: feed(stack, 40, PROTOCOLS[seed], seed), range(len(PROTOCOLS))))
    stack.sql_until(COUNTS, counts(*sent))
    cost = "select count(*) as n, round(sum(cost_usd), 6) as usd from events where event_name = 'api_request'"
    told = stack.sql(cost)
    stack.sql_until("select sum(api_requests) as n, round(sum(cost_usd), 6) as usd from sessions", told)
    code, seconds = stack.stop(signal.SIGINT)
    assert (code, stack.screen().splitlines()[-1]) == (0, "stopped")
    assert seconds < 15
    assert open_to_others(stack.folder / "data") == []
    assert "GroupCoordinatorNotAvailable" not in (stack.folder / "data" / "logs" / "streams.log").read_text()
    stack.start()
    stack.ready()
    assert stack.sql(COUNTS) == counts(*sent)
    assert stack.sql(cost) == told
    assert stack.stop()[0] == 0


def test_what_is_killed_comes_back_and_nothing_acknowledged_is_lost(stack: Stack) -> None:
    """Each process by itself; after kill -9 of the supervisor, and of all with it, at a second start."""
    stack.start()
    rows = stack.ready()
    sent = [feed(stack, 60, seed=1)]
    pids = {row["process"]: row["pid"] for row in rows} | {"kafka": kafka_pid(stack)}
    for process in ("gateway", "streams", "sinks", "console", "kafka"):
        os.kill(pids[process], signal.SIGKILL)
        stack.says(f"{process} was ended by signal SIGKILL; starts again in 0.5 s")
        row = next(row for row in stack.ready() if row["process"] == process)
        assert row["restarts"] == 1
        assert row["last_error"]
    sent.append(feed(stack, 60, seed=2))
    stack.sql_until(COUNTS, counts(*sent))

    sent.append(feed(stack, 40, seed=3))
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    told = stack.millrace("status")
    assert (told.returncode, told.stdout.count("; the stack is stopped (make run)")) == (1, 5)
    (stack.folder / "data").chmod(0o755)
    stack.start()
    assert {row["restarts"] for row in stack.ready()} == {0}
    assert f"chmod 700 {stack.folder / 'data'}\n" in stack.screen()
    stack.sql_until(COUNTS, counts(*sent))


def test_another_kafka_can_be_used(stack: Stack, kafka: Any, prefix: str) -> None:
    stack.environment |= {"MILLRACE_BOOTSTRAP": kafka.bootstrap, "MILLRACE_PREFIX": prefix}
    stack.start()
    assert [row["restarts"] for row in stack.ready()] == [None, 0, 0, 0, 0]  # that Kafka is not ours to restart
    sent = feed(stack, 20)
    stack.sql_until(COUNTS, counts(sent))
    assert not (stack.folder / "data" / "kafka").exists()
    assert stack.stop()[0] == 0


def test_the_screen_shows_what_to_paste(demo: Stack) -> None:
    demo.says("Data and logs")
    screen = demo.screen()
    key = (demo.folder / "data" / "keys" / "ingest").read_text().strip()
    assert f'export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer {key}"' in screen
    pasted = re.search(r"^    \{\n.*?^    \}\n", screen, re.DOTALL | re.MULTILINE)
    assert pasted is not None
    managed = json.loads(pasted[0])
    exported = dict(re.findall(r'export (\w+)="?([^"\n]+)"?', screen))
    assert managed == {"env": exported}
    assert exported["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(demo.environment["MILLRACE_GATEWAY_GRPC_PORT"])


def test_the_screen_has_a_link_that_signs_in_to_the_console(demo: Stack) -> None:
    printed = re.search(r"^    (http://127\.0\.0\.1:(\d+)/signin/link\S+)$", demo.screen(), re.MULTILINE)
    assert printed is not None, demo.screen()
    assert printed[2] == demo.environment["MILLRACE_CONSOLE_PORT"]
    with httpx.Client(trust_env=False, timeout=30, follow_redirects=True) as browser:
        answer = browser.get(printed[1])
        assert answer.status_code == 200
        assert answer.url.path in ("/start", "/"), "the first page of a system without events, or the overview"
        assert "Sign out" in answer.text
    assert StackSettings.model_fields["console_port"].default == 8080


def test_streams_are_restarted_on_request_and_that_is_no_fault(demo: Stack) -> None:
    before = {row["process"]: row["pid"] for row in demo.ready()}
    answer = demo.millrace("restart", "streams")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert answer.stderr == "streams was restarted and is ready\n"
    after = {row["process"]: row for row in demo.ready()}
    assert [name for name in after if after[name]["pid"] != before[name]] == ["streams"]
    assert (after["streams"]["restarts"], after["streams"]["last_error"]) == (0, None)


def test_a_second_stack_on_the_same_folder_or_port_is_refused_with_one_line(demo: Stack, tmp_path: Path) -> None:
    second = Stack(tmp_path, demo.environment, screens=[tmp_path / "screen-99.txt"])
    second.start()
    code, screen = second.end()
    assert code == 1
    assert "is in use by another stack" in screen
    second.start(MILLRACE_DATA=str(tmp_path / "other"))
    code, screen = second.end()
    assert (code, len(screen.splitlines())) == (1, 1)
    assert "MILLRACE_KAFKA_PORT" in screen


def test_the_demo_is_seen_within_a_minute_and_stops_in_order(demo: Stack) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not demo.sql("select * from sessions where prompts > 0 limit 1"):
        time.sleep(0.5)
    assert demo.sql("select * from sessions where prompts > 0 limit 1")
    code, seconds = demo.stop(signal.SIGINT)
    assert (code, demo.screen().splitlines()[-1]) == (0, "stopped")
    assert seconds < 15
    fed = json.loads((demo.folder / "data" / "logs" / "demo.log").read_text().splitlines()[-1])
    assert (fed["refused"], fed["rejected_records"]) == (0, 0)
