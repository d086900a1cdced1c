"""Real child processes, each a few lines of Python."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from millrace import notes
from millrace.errors import ProcessFault
from millrace.supervisor import PythonProgram, Supervisor, ask_health, turn_log
from tests.millrace.programs import ROOT, failing, server


def pid_of(program: PythonProgram) -> int:
    return int(ask_health(str(program.health_url))["pid"])


def tend_until(supervisor: Supervisor, told: list[str], line: str) -> None:
    deadline = time.monotonic() + 20
    while not told or not told[-1].startswith(line):
        assert time.monotonic() < deadline, told
        supervisor.tend()
        time.sleep(0.05)


def test_all_are_ready_and_stop_in_order(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
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
    supervisor = Supervisor(told.append, tmp_path)
    program = server(tmp_path, "streams")
    supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    first = pid_of(program)
    os.kill(first, signal.SIGKILL)
    tend_until(supervisor, told, "streams is ready again")
    assert pid_of(program) != first
    assert told[0].startswith("streams was ended by signal SIGKILL; starts again in 0.5 s")
    assert told[1] == "streams is ready again"
    supervisor.stop(5)


def test_what_befalls_a_child_is_noted(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    program = server(tmp_path / "logs", "streams")
    supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    assert notes.read(tmp_path, "streams") is None
    (tmp_path / "logs").rename(tmp_path / "aside")
    (tmp_path / "logs").touch()  # no place for its log: it cannot be started
    os.kill(pid_of(program), signal.SIGKILL)
    tend_until(supervisor, told, "streams was ended by signal SIGKILL")
    death = notes.read(tmp_path, "streams")
    assert death is not None
    assert (death.restarts, death.exit) == (0, "was ended by signal SIGKILL")
    tend_until(supervisor, told, "streams cannot be started")
    failure = notes.read(tmp_path, "streams")
    assert failure is not None
    assert (failure.restarts, failure.last_words) == (0, "")
    assert failure.exit.startswith("cannot be started: [Errno")
    assert failure.at > death.at
    (tmp_path / "logs").unlink()
    tend_until(supervisor, told, "streams is ready again")
    recovery = notes.read(tmp_path, "streams")
    assert recovery is not None
    assert recovery.ready_again_at is not None
    assert recovery == replace(failure, restarts=1, ready_again_at=recovery.ready_again_at)
    supervisor.stop(5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that takes nothing")
def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "failing.new").symlink_to("/dev/full")
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    supervisor.start(failing(tmp_path, "raise SystemExit(7)"))
    with pytest.raises(ProcessFault):
        supervisor.wait_ready(timeout_s=20)
    assert len(told) == 3
    assert notes.read(tmp_path, "failing") is None


def test_the_back_off_grows_and_a_child_that_cannot_start_is_a_fault(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    supervisor.start(failing(tmp_path, "print('no such thing'); raise SystemExit(7)"))
    with pytest.raises(ProcessFault, match=r"failing does not start \(no such thing\): see .*failing.log"):
        supervisor.wait_ready(timeout_s=20)
    assert [line.split(";")[1].split(" s.")[0] for line in told] == [f" starts again in {s}" for s in ("0.5", "1", "2")]
    supervisor.stop(5)


def test_no_place_for_a_log_is_a_fault_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    supervisor = Supervisor(lambda _: None, tmp_path)
    with pytest.raises(ProcessFault) as raised:
        supervisor.start(failing(tmp_path / "logs", ""))
    cause = f"failing cannot be started ([Errno 17] File exists: '{tmp_path}/logs')"
    assert str(raised.value) == f"{cause}: see to it that {tmp_path} can be written and has room"
    assert not supervisor.busy()


def test_bad_settings_are_a_fault_at_once(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    supervisor.start(failing(tmp_path, "print('MILLRACE_X: wrong'); raise SystemExit(2)"))
    with pytest.raises(ProcessFault, match="MILLRACE_X: wrong"):
        supervisor.wait_ready(timeout_s=20)
    assert len(told) == 1


def test_a_child_that_never_gets_ready_is_a_fault_with_its_reason(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None, tmp_path)
    supervisor.start(failing(tmp_path, "import time; time.sleep(60)"))
    with pytest.raises(ProcessFault, match=r"failing is not ready after 1 s \(does not run\)"):
        supervisor.wait_ready(timeout_s=1)
    supervisor.stop(5)


def test_a_child_that_does_not_stop_is_killed_in_time(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
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
    supervisor = Supervisor(lambda _: None, tmp_path)
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
    url, log = {program.health_url!r}, Path({str(program.log)!r})
    supervisor = Supervisor(print, log.parent)
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


def test_the_workers_of_a_pool_are_restarted_one_by_one(tmp_path: Path) -> None:
    programs = [server(tmp_path, name, pool="workers") for name in ("first", "second")] + [server(tmp_path, "other")]
    told: list[tuple[str, list[bool]]] = []

    def say(line: str) -> None:
        told.append((line, [bool(ask_health(str(program.health_url))["ready"]) for program in programs]))

    supervisor = Supervisor(say, tmp_path)
    for program in programs:
        supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    before = [pid_of(program) for program in programs]
    supervisor.restart()
    after = [pid_of(program) for program in programs]
    assert told == [("first restarts", [True] * 3), ("second restarts", [True] * 3)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
    assert notes.read(tmp_path, "first") is None  # it was asked to end
    supervisor.stop(5)


def test_a_worker_that_does_not_come_back_ends_the_restart_of_its_pool(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    first, second = (server(tmp_path, name, pool="workers") for name in ("first", "second"))
    supervisor.start(first)
    supervisor.start(second)
    supervisor.wait_ready(timeout_s=20)
    before = pid_of(second)
    first.arguments = ["-c", "raise SystemExit(7)"]
    supervisor.restart(ready_timeout_s=1)
    assert told[0] == "first restarts"
    assert told[1].startswith("first ended with exit code 7")
    assert told[-1].endswith("no further worker is restarted")
    assert pid_of(second) == before
    supervisor.stop(5)


def test_no_worker_is_restarted_while_another_of_its_pool_is_not_ready(tmp_path: Path) -> None:
    """The last one: to restart the first would leave nobody who works."""
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    first, second = (server(tmp_path, name, pool="workers") for name in ("first", "second"))
    supervisor.start(first)
    supervisor.start(second)
    supervisor.wait_ready(timeout_s=20)
    before = pid_of(first)
    second.arguments = ["-c", "raise SystemExit(7)"]
    os.kill(pid_of(second), signal.SIGKILL)
    supervisor.restart(ready_timeout_s=1)
    assert told[0].startswith("second was ended by signal SIGKILL")
    assert told[-1] == f"first is not restarted: second is not ready, see {second.log}"
    assert pid_of(first) == before
    supervisor.stop(5)


def test_a_restart_waits_for_a_worker_of_the_pool_that_is_coming_up(tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []
    first, second = (server(tmp_path, name, pool="workers") for name in ("first", "second"))
    supervisor = Supervisor(
        lambda line: told.append((line.partition(";")[0], bool(ask_health(str(second.health_url))["ready"]))), tmp_path
    )
    supervisor.start(first)
    supervisor.start(second)
    supervisor.wait_ready(timeout_s=20)
    os.kill(pid_of(second), signal.SIGKILL)
    supervisor.restart()
    assert told[0] == ("second was ended by signal SIGKILL", False)
    assert ("first restarts", True) in told
    supervisor.stop(5)


def test_workers_that_die_just_before_a_restart_leave_no_process_that_nobody_knows(tmp_path: Path) -> None:
    """The first comes up again while the restart waits for the second: it is the new one that is restarted."""
    launched: list[subprocess.Popen[bytes]] = []

    class Watched(PythonProgram):
        def launch(self) -> subprocess.Popen[bytes]:
            launched.append(super().launch())
            return launched[-1]

    supervisor = Supervisor(lambda _: None, tmp_path)
    programs = [Watched(**vars(server(tmp_path, name, pool="workers"))) for name in ("first", "second")]
    try:
        for program in programs:
            supervisor.start(program)
        supervisor.wait_ready(timeout_s=20)
        for program in programs:
            os.kill(pid_of(program), signal.SIGKILL)
        supervisor.restart()
        supervisor.stop(5)
        assert len(launched) == 6  # each at first, after its death and for the restart
        assert [process.pid for process in launched if process.poll() is None] == []
    finally:
        for process in launched:
            process.kill()
            process.wait()


def test_the_workers_of_a_pool_stop_together(tmp_path: Path) -> None:
    """Each takes three seconds, both have five and a half."""
    told: list[str] = []
    supervisor = Supervisor(told.append, tmp_path)
    programs = [server(tmp_path, name, stop_s=3, pool="workers") for name in ("first", "second")]
    for program in programs:
        supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    supervisor.stop(5.5)
    assert [program.log.read_text().splitlines()[-1] for program in programs] == ["ended"] * 2
    assert told == []
