"""What `millrace status` says of real processes under a real supervisor."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millrace import notes, preflight, status
from millrace.notes import Note
from millrace.settings import StackSettings
from millrace.supervisor import PythonProgram, Supervisor
from tests.millrace.programs import failing, server
from tests.ports import free_port


def settings(data: Path, *, sinks: PythonProgram | None = None) -> StackSettings:
    """No Kafka, gateway, streams and console; the sinks when given."""
    port = free_port() if sinks is None else int(str(sinks.health_url).split(":")[2].split("/")[0])
    return StackSettings(
        data=data,
        kafka_port=free_port(),
        gateway_health_port=free_port(),
        streams_health_port=free_port(),
        sinks_health_port=port,
        console_health_port=free_port(),
    )


def row(settings: StackSettings, process: str) -> dict[str, Any]:
    return next(row for row in status.collect(settings) if row["process"] == process)


def tend_until(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        supervisor.tend()
        time.sleep(0.05)


def test_a_process_that_crashes_again_and_again_says_why(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    supervisor = Supervisor(lambda _: None, tmp_path)
    with preflight.data_folder(tmp_path, free_min_mb=1):
        supervisor.start(failing(tmp_path, "print('no such thing'); raise SystemExit(7)", "streams"))
        tend_until(supervisor, lambda: row(asked, "streams")["restarts"] == 2)
        found = row(asked, "streams")
        gateway = row(asked, "gateway")
    assert (found["ready"], found["why"]) == (False, "does not run")
    assert found["last_error"] == "ended with exit code 7; its last words: no such thing"
    assert found["last_error_at"] is not None
    assert (gateway["restarts"], gateway["last_error"]) == (0, None)
    supervisor.stop(5)


def test_a_crash_is_still_seen_when_the_process_is_ready_again(tmp_path: Path) -> None:
    program = server(tmp_path, "sinks")
    asked = settings(tmp_path, sinks=program)
    supervisor = Supervisor(lambda _: None, tmp_path)
    supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    os.kill(row(asked, "sinks")["pid"], signal.SIGKILL)
    tend_until(supervisor, lambda: bool((found := row(asked, "sinks"))["ready"] and found["restarts"]))
    found = row(asked, "sinks")
    assert (found["ready"], found["restarts"], found["lag"], found["lag_total"]) == (True, 1, {}, 0)
    assert found["last_error"].startswith("was ended by signal SIGKILL; its last words: pid ")
    supervisor.stop(5)


def test_the_newer_error_is_shown(tmp_path: Path) -> None:
    program = server(tmp_path, "sinks", error="the lake\n  is frozen")
    asked = settings(tmp_path, sinks=program)
    supervisor = Supervisor(lambda _: None, tmp_path)
    notes.write(tmp_path, "sinks", Note(1, "ended with exit code 7", "", notes.now()))
    supervisor.start(program)
    supervisor.wait_ready(timeout_s=20)
    found = row(asked, "sinks")
    assert (found["last_error"], found["restarts"]) == ("the lake\n  is frozen", 1)
    assert status.table([found]).splitlines()[1].endswith("  the lake is frozen")
    time.sleep(0.01)
    notes.write(tmp_path, "sinks", Note(2, "cannot be started: no room", "", notes.now()))
    assert row(asked, "sinks")["last_error"] == "cannot be started: no room"
    supervisor.stop(5)


def test_a_stopped_stack_is_said_to_be_stopped(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    assert [found["why"] for found in status.collect(asked)[1:]] == [
        "does not run"
    ] * 4  # nothing was ever started here
    with preflight.data_folder(tmp_path, free_min_mb=1):
        assert row(asked, "streams")["why"] == "does not run"
    assert row(asked, "streams")["why"] == "does not run; the stack is stopped (make run)"


def test_what_nobody_knows_is_no_zero(tmp_path: Path) -> None:
    rows = status.collect(settings(tmp_path))
    assert {(found["ready"], found["lag"], found["lag_total"], found["restarts"]) for found in rows} == {
        (False, None, None, None)
    }
    head, *lines = status.table(rows).splitlines()
    assert " ".join(head.split()) == "process ready lag behind newest rows bytes restarts state last error"
    assert [line.split()[:3] for line in lines] == [
        [name, "NO", "?"] for name in ("kafka", "gateway", "streams", "sinks", "console")
    ]


def test_what_is_not_a_note_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for text in ("", "[]", '{"restarts": 1}', '{"restarts": 1, "colour": "red"}'):
        (tmp_path / "run" / "streams.json").write_text(text)
        assert notes.read(tmp_path, "streams") is None


def test_standbys_are_shown_with_what_they_have_still_to_read(tmp_path: Path) -> None:
    found = status.collect(settings(tmp_path))[2]
    standbys = {
        "0": {"unread": 0, "ready": True},
        "1": {"unread": 40, "ready": False},
        "2": {"unread": None, "ready": False},
    }
    found |= {"details": {"tables": {"halves": {"standbys": standbys}, "windows": {"standbys": {}}}}}
    assert status.table([found]).splitlines()[2:] == [
        "streams: standby of halves [0] ready with 0 records to read, [1] NOT ready with 40 records to read, "
        "[2] NOT ready"
    ]


def test_how_a_streams_worker_works_is_shown(tmp_path: Path) -> None:
    found = status.collect(settings(tmp_path))[2]
    events = {"chunks": 4, "records": 6002, "chunk_s": 0.25, "duplicates": 3, "late": 17}
    found |= {
        "details": {
            "commit_age_s": 0.4,
            "recovery_s": 1.5,
            "rebalances": 2,
            "fenced": 1,
            "sources": {"events": events, "metrics": {**events, "chunks": 0}},
            "tables": {"halves": {"repaired_rows": 5}, "windows": {"repaired_rows": 6}},
        }
    }
    assert status.table([found]).splitlines()[2:] == [
        "streams: events: 4 chunks of 1500 records in 0.250 s each, 3 records again, 17 late",
        "streams: commit 0.4 s old, 11 rows repaired, 2 rebalances, 1 times fenced, recovered in 1.5 s",
    ]


def test_lag_in_time_and_state_of_a_streams_worker_are_shown(tmp_path: Path) -> None:
    found = status.collect(settings(tmp_path))[2]
    found |= {
        "ready": True,
        "lag_total": 12,
        "lag_s": 0.26,
        "event_age_s": 3.14,
        "state_rows": 4200,
        "state_bytes": 12_345_678,
    }
    assert " ".join(status.table([found]).splitlines()[1].split()).startswith(
        "streams yes 12 0.3 s 3.1 s 4200 12.3 MB "
    )


def test_the_workers_that_run_are_shown_whatever_this_shell_is_told(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    with preflight.data_folder(tmp_path, free_min_mb=1):
        notes.write_streams(tmp_path, {"streams": free_port(), "streams-1": free_port()})
        running = [found["process"] for found in status.collect(asked)]
    assert running == ["kafka", "gateway", "streams", "streams-1", "sinks", "console"]
    assert [found["process"] for found in status.collect(asked)] == ["kafka", "gateway", "streams", "sinks", "console"]


def test_what_routing_dropped_stands_below_the_table(tmp_path: Path) -> None:
    found = status.collect(settings(tmp_path))[1]
    found |= {"details": {"dropped_by_rule": {"hooks": {"logs": 7, "content": 2}, "costs": {"metrics": 1}}}}
    assert status.table([found]).splitlines()[2:] == [
        "gateway: rule costs dropped 1 metrics",
        "gateway: rule hooks dropped 2 content, 7 logs",
    ]
