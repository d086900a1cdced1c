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
from millrace.doctor import Finding, Key
from millrace.kafka import Broker
from schemas import keys
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
    return {signal: {"last": NOW - length, "day": 7, "hour": 2} for signal, length in ago.items()}


def key(id_: str, tenant: str = "acme", name: str = "", days: int = 1) -> Key:
    return Key(tenant, id_, name, NOW - timedelta(days=days))


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


def test_keys_of_one_tenant_are_told_apart() -> None:
    found = doctor.arrivals(
        {
            ("acme", "k1"): seen(events=timedelta(seconds=5), metrics=timedelta(minutes=2)),
            ("acme", "k2"): seen(events=timedelta(days=3), metrics=timedelta(days=4)),
        },
        [key("k1", name="ci"), key("k2")],
        NOW,
    )
    silent, well = found
    assert well == Finding(
        "ok",
        "key k1",
        "of acme (ci): last event 5 s ago (7 in 24 h, 2 in 1 h), last metric 2 min ago (7 in 24 h, 2 in 1 h)",
    )
    assert (silent.level, silent.what, silent.text) == (
        *("warn", "key k2"),
        "of acme: last event 3 d ago (7 in 24 h, 2 in 1 h), last metric 4 d ago (7 in 24 h, 2 in 1 h); silent for 3 d",
    )
    assert "millrace key revoke k2" in silent.todo


def test_a_key_without_a_record_is_worth_a_look() -> None:
    found = list(doctor.arrivals({}, [key("k1"), key("k2", days=40, name="\x1b[2Jold")], NOW))
    assert judged(found) == [("warn", "of acme: never used"), ("warn", "of acme ( [2Jold): not used in 30 days")]
    assert found[0].todo.endswith("millrace key revoke k1")


def test_a_key_that_was_used_within_a_day_and_is_not_in_force_is_worth_a_look() -> None:
    sent = {
        ("acme", "old"): seen(events=timedelta(hours=2)),
        ("acme", "older"): seen(events=timedelta(days=2)),
    }
    assert judged(doctor.arrivals(sent, [], NOW)) == [
        ("warn", "of acme, not in force any more: last event 2 h ago (7 in 24 h, 2 in 1 h)")
    ]


def test_where_nobody_knows_the_keys_none_is_called_revoked() -> None:
    sent = {("acme", "k1"): seen(events=timedelta(0), metrics=timedelta(0))}
    assert [one.level for one in doctor.arrivals(sent, None, NOW)] == ["ok"]


def test_records_that_name_no_key_are_told_apart() -> None:
    (found,) = doctor.arrivals({("acme", None): seen(events=timedelta(days=9))}, [], NOW)
    assert found == Finding("ok", "tenant acme", "records that name no key: last event 9 d ago (7 in 24 h, 2 in 1 h)")


def test_a_signal_that_is_not_sent_is_named_with_its_variable() -> None:
    (found,) = doctor.arrivals({("acme", "k1"): seen(metrics=timedelta(0))}, [key("k1")], NOW)
    assert (found.level, found.todo) == ("warn", "its clients send no events: they need OTEL_LOGS_EXPORTER=otlp")


def test_a_thousand_keys_are_no_flood_and_what_is_worth_a_look_is_shown() -> None:
    sent = {("acme", f"k{n}"): seen(events=timedelta(0), metrics=timedelta(0)) for n in range(1000)}
    found = list(doctor.arrivals(sent, [*(key(f"k{n}") for n in range(1000)), key("unused")], NOW))
    assert len(found) == 51
    assert found[0].what == "key unused"
    assert found[-1].text.startswith("951 more")


def test_what_clients_sent_cannot_write_on_the_terminal() -> None:
    rows = [
        {
            "tenant": "a",
            "ingest_key_id": None,
            "signal": "logs",
            "stage": "gateway",
            "reason": "odd",
            "week": 1,
            "day": 1,
            "error": "\x1b[2J\x07no",
        }
    ]
    text = doctor.render(list(doctor.rejections(rows)))
    assert "\x1b" not in text
    assert "\x07" not in text


def test_what_was_not_taken_days_ago_is_told_but_not_worth_a_look() -> None:
    row = {"tenant": "a", "ingest_key_id": "k1", "signal": "logs", "stage": "gateway", "reason": "odd", "error": None}
    now, then = doctor.rejections([{**row, "week": 9, "day": 4}, {**row, "week": 3, "day": 0}])
    assert (now.level, now.text) == ("warn", "9 logs of tenant a by key k1 at gateway in 7 d (4 in 24 h): odd")
    assert (then.level, then.text) == ("ok", "3 logs of tenant a by key k1 at gateway in 7 d (0 in 24 h): odd")


def test_clients_are_told_by_version_and_how_many_users_are_silent() -> None:
    client = {"service_name": "claude-code", "app_version": "2.1.0", "app_entrypoint": None, "sessions": 9, "users": 2}
    found = list(doctor.versions([{**client, "app_version": f"2.1.{n}"} for n in range(11)]))
    assert found[0].text == "claude-code 2.1.0: 9 sessions of 2 users in 30 d"
    assert (len(found), found[-1].text) == (11, "more are not shown; the console's Sources are")
    last = (NOW - timedelta(days=8)).isoformat()
    assert doctor.silent([{"total": 3, "last": last}], NOW).text == (
        "3 with sessions in 30 d had none for 7 d, the latest for 8 d; the console's Sources say who"
    )


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
    (local,) = (one for what, (one, *_) in found.items() if what.startswith("key "))
    assert (local["level"], local["text"].partition(" ")[0]) == ("warn", "of")
    assert local["text"].endswith(": never used")
    assert found["rejected"][0]["text"] == "nothing in 7 d"

    key, spare = stack.key("acme"), stack.key("acme")
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
    ids = [keys.parse_key(one).id for one in (key, spare)]
    (acme,), (unused,) = (found[f"key {id_}"] for id_ in ids)
    assert (acme["level"], unused["level"]) == ("ok", "warn")
    assert unused["text"].endswith(": never used")
    assert "last event" in acme["text"]
    assert " in 1 h)" in acme["text"]
    assert any("claude-code" in one["text"] for one in found["clients"]), found["clients"]
    assert found["users"][0]["text"].startswith("0 with sessions in 30 d had none for 7 d")
    assert "last metric" in acme["text"]
    (rejected,) = found["rejected"]
    assert rejected["level"] == "warn"
    assert rejected["text"].startswith(
        f"1 logs of tenant acme by key {ids[0]} at gateway in 7 d (1 in 24 h): malformed_record ("
    )
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
