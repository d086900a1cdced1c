"""What `millrace doctor` makes of what it finds, and what it finds on a real stack."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from millrace import doctor
from millrace.doctor import Finding
from millrace.kafka import Broker
from tests.console.conftest import CAPTURED_AT, CAPTURES
from tests.e2e.requests import Sender, dated, load
from tests.e2e.stack import Stack, eventually

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def row(process: str = "gateway", **more: Any) -> dict[str, Any]:
    return {
        "process": process,
        "ready": True,
        "why": "",
        "restarts": 0,
        "last_error": None,
        "lag": {},
        "lag_total": 0,
        "lag_s": None,
        "details": {},
        **more,
    }


def seen(**ago: timedelta) -> dict[str, dict[str, Any]]:
    return {signal: {"last": NOW - length, "day": 7} for signal, length in ago.items()}


def judged(found: Any) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in found]


def test_a_process_that_is_not_ready_is_bad_and_its_log_is_named() -> None:
    (found,) = doctor.processes([row("sinks", ready=False, why="the store\n\x1b[31m is locked")], "/data/logs")
    assert (found.level, found.text) == ("bad", "not ready: the store  [31m is locked")
    assert found.todo.endswith("/data/logs/sinks.log")


def test_a_process_that_died_is_worth_a_look() -> None:
    (found,) = doctor.processes([row(restarts=2, last_error="ended with exit code 7")], "logs")
    assert (found.level, found.text) == ("warn", "ready, but was started again 2 times: ended with exit code 7")


@pytest.mark.parametrize(("waited", "level"), [(60.0, "ok"), (200.0, "warn"), (2000.0, "bad")])
def test_a_lag_is_judged_by_how_long_records_wait(waited: float, level: str) -> None:
    sinks = row(
        "sinks", lag={"query events": 3, "lake events": 0}, lag_total=3, details={"query": {"waiting_s": waited}}
    )
    streams = row("streams", lag={"events": 5}, lag_total=5, lag_s=waited)
    found = list(doctor.lags([sinks, streams]))
    assert [one.level for one in found] == [level, level]
    assert found[0].text == f"3 records wait, {waited} s at most (query events 3)"


def test_a_tenant_is_well_when_it_sent_today() -> None:
    short = timedelta(seconds=5)
    (found,) = doctor.arrivals({"acme": seen(events=short, metrics=timedelta(minutes=2))}, ["acme"], NOW)
    assert found == Finding("ok", "tenant acme", "last event 5 s ago (7 in 24 h), last metric 2 min ago (7 in 24 h)")


def test_a_tenant_that_fell_silent_or_never_sent_is_worth_a_look() -> None:
    found = doctor.arrivals({"acme": seen(events=timedelta(days=3), metrics=timedelta(days=4))}, ["new"], NOW)
    assert judged(found) == [
        ("warn", "silent for 3 d: last event 3 d ago (7 in 24 h), last metric 4 d ago (7 in 24 h)"),
        ("warn", "has an ingest key, and sent nothing in 30 days"),
    ]


def test_a_signal_that_is_not_sent_is_named_with_its_variable() -> None:
    (found,) = doctor.arrivals({"acme": seen(metrics=timedelta(0))}, [], NOW)
    assert (found.level, found.todo) == ("warn", "its clients send no events: they need OTEL_LOGS_EXPORTER=otlp")


def test_a_thousand_tenants_are_no_flood() -> None:
    found = list(
        doctor.arrivals({f"t{n}": seen(events=timedelta(0), metrics=timedelta(0)) for n in range(1000)}, [], NOW)
    )
    assert len(found) == 51
    assert found[-1].text.startswith("950 more")


def test_what_clients_sent_cannot_write_on_the_terminal() -> None:
    rows = [{"tenant": "a", "signal": "logs", "stage": "gateway", "reason": "odd", "n": 1, "error": "\x1b[2J\x07no"}]
    text = doctor.render(list(doctor.rejections(rows)))
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.fixture(scope="module")
def stack(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack of its own."""
    stack = Stack(kafka.bootstrap, f"d{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("stack") / "data")
    try:
        yield stack.start()
    finally:
        stack.kill_everything()


def told(stack: Stack) -> tuple[int, dict[str, list[dict[str, str]]]]:
    done = stack.command("doctor", "--json", check=False)
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["what"], []).append(one)
    return done.returncode, found


@pytest.mark.slow
def test_doctor_says_of_a_real_stack_what_it_is(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    code, found = told(stack)
    assert code == 0, found
    processes = ("kafka", "gateway", "streams", "sinks", "console")
    assert [found[f"process {name}"][0]["level"] for name in processes] == ["ok"] * 5
    assert found["tenant local"][0]["text"] == "has an ingest key, and sent nothing in 30 days"
    assert found["rejected"][0]["text"] == "nothing in 24 h"

    key = stack.key("acme")
    days = max(0, (datetime.now(UTC) - CAPTURED_AT).days - 1)
    (recorded,) = (path for path in CAPTURES if path.name == "http-json-basic")
    folder = dated(recorded, tmp_path_factory.mktemp("sent") / "basic", days * 86_400 * 10**9)
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], key) as sender:
        for request in load(folder):
            sender.send(request)
    broken = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "yesterday"}]}]}]}
    url = f"http://127.0.0.1:{stack.ports['GATEWAY_HTTP']}/v1/logs"
    answer = httpx.post(url, json=broken, headers={"authorization": f"Bearer {key}"})
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    eventually(stack.sinks_lag)

    code, found = told(stack)
    assert code == 0
    (acme,) = found["tenant acme"]
    assert acme["level"] == "ok"
    assert "last event" in acme["text"]
    assert "last metric" in acme["text"]
    (rejected,) = found["rejected"]
    assert rejected["level"] == "warn"
    assert rejected["text"].startswith("1 logs of tenant acme at gateway in 24 h: malformed_record (")
    assert rejected["todo"]


@pytest.mark.slow
def test_doctor_of_a_stack_that_stopped_is_bad_and_says_what_to_do(stack: Stack) -> None:
    stack.stop()
    code, found = told(stack)
    assert code == 1
    assert found["process gateway"][0]["level"] == "bad"
    assert "make run" in found["process gateway"][0]["todo"]
    assert found["SQL"][0]["level"] == "bad"
    done = stack.command("doctor", check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "BAD   process gateway" in done.stdout
