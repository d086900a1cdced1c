"""Real child processes, each a few lines of Python."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from millrace.errors import ProcessFault
from millrace.kafka import free_port
from millrace.supervisor import PythonProgram, Supervisor, ask_health, turn_log

ROOT = Path(__file__).parents[2]

# A process that is ready at once, says its pid, and ends on SIGTERM (after a pause when it has one).
SERVER = """
import asyncio, os, signal, sys
from service.health import Health

async def main():
    health = Health("example")
    await health.serve("127.0.0.1", int(sys.argv[1]))
    health.set_ready(True)
    print("pid", os.getpid(), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await asyncio.sleep(float(sys.argv[2]))
    print("ended", flush=True)

asyncio.run(main())
"""


def server(folder: Path, name: str, *, stop_s: float = 0.0) -> PythonProgram:
    port = free_port()
    return PythonProgram(
        name=name,
        arguments=["-c", SERVER, str(port), str(stop_s)],
        environment={"PYTHONPATH": str(ROOT)},
        health_url=f"http://127.0.0.1:{port}/readyz",
        log=folder / f"{name}.log",
    )


def failing(folder: Path, code: str) -> PythonProgram:
    return PythonProgram("failing", ["-c", code], {}, "http://127.0.0.1:1/readyz", folder / "failing.log")


def pid_of(program: PythonProgram) -> int:
    return int(ask_health(str(program.health_url))["pid"])


def test_all_are_ready_and_stop_in_order(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append)
    programs = [server(tmp_path, name, stop_s=0.2) for name in ("kafka", "gateway", "sinks")]
    for program in programs:
        supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    supervisor.stop(10)
    ended = {program.name: program.log.stat().st_mtime_ns for program in programs}
    assert [program.log.read_text().splitlines()[-1] for program in programs] == ["ended"] * 3
    assert sorted(ended, key=lambda name: ended[name]) == ["gateway", "sinks", "kafka"]
    assert told == []


def test_a_killed_child_is_restarted_and_shown(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append)
    program = server(tmp_path, "streams")
    supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    first = pid_of(program)
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while len(told) < 2 and time.monotonic() < deadline:
        supervisor.tend()
        time.sleep(0.05)
    assert pid_of(program) != first
    assert told[0].startswith("streams was ended by signal SIGKILL; starts again in 0.5 s")
    assert told[1] == "streams is ready again"
    supervisor.stop(5)


def test_the_back_off_grows_and_a_child_that_cannot_start_is_a_fault(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append)
    supervisor.start(failing(tmp_path, "print('no such thing'); raise SystemExit(7)"))
    with pytest.raises(ProcessFault, match=r"failing does not start \(no such thing\): see .*failing.log"):
        supervisor.wait_ready(timeout_s=20)
    assert [line.split(";")[1].split(" s.")[0] for line in told] == [f" starts again in {s}" for s in ("0.5", "1", "2")]
    supervisor.stop(5)


def test_bad_settings_are_a_fault_at_once(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append)
    supervisor.start(failing(tmp_path, "print('MILLRACE_X: wrong'); raise SystemExit(2)"))
    with pytest.raises(ProcessFault, match="MILLRACE_X: wrong"):
        supervisor.wait_ready(timeout_s=20)
    assert len(told) == 1


def test_a_child_that_never_gets_ready_is_a_fault_with_its_reason(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None)
    supervisor.start(failing(tmp_path, "import time; time.sleep(60)"))
    with pytest.raises(ProcessFault, match=r"failing is not ready after 1 s \(does not run\)"):
        supervisor.wait_ready(timeout_s=1)
    supervisor.stop(5)


def test_a_child_that_does_not_stop_is_killed_in_time(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append)
    program = server(tmp_path, "sinks", stop_s=60)
    supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    pid = pid_of(program)
    began = time.monotonic()
    supervisor.stop(2)
    assert time.monotonic() - began < 3
    assert told == ["sinks did not stop in time: kill -9 (nothing acknowledged is lost)"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_second_request_to_stop_kills_at_once(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None)
    supervisor.start(server(tmp_path, "sinks", stop_s=60))
    supervisor.wait_ready(timeout_s=20)
    supervisor.ask_stop()
    threading.Timer(0.5, supervisor.ask_stop).start()
    began = time.monotonic()
    supervisor.stop(30)
    assert time.monotonic() - began < 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    program = server(tmp_path, "streams")
    code = f"""
    import time
    from pathlib import Path
    from millrace.supervisor import PythonProgram, Supervisor
    supervisor = Supervisor(print)
    url, log = {program.health_url!r}, Path({str(program.log)!r})
    supervisor.start(PythonProgram("streams", {program.arguments!r}, {{}}, url, log))
    supervisor.wait_ready(timeout_s=20)
    print("up", flush=True)
    time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        assert ask_health(str(program.health_url))["ready"]
        parent.kill()
    deadline = time.monotonic() + 5
    while ask_health(str(program.health_url))["ready"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask_health(str(program.health_url))["why"] == "does not run"


def test_a_log_is_turned_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "streams.log"
    with path.open("ab") as writer:
        writer.write(b"x" * 100)
        writer.flush()
        turn_log(path, bytes_max=50)
        writer.write(b"y" * 10)
    assert path.read_bytes() == b"y" * 10
    assert (tmp_path / "streams.log.1").read_bytes() == b"x" * 100
    turn_log(path, bytes_max=50)
    assert path.read_bytes() == b"y" * 10
