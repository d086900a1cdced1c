"""Telemetry of real clients in, exact sessions and usage out of SQL: equal to the ledger, however it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.requests import Recorded, Sender, dated, load, merged, recut
from tests.e2e.stack import Stack, eventually
from tests.e2e.truth import differences, truth

RECORDED = sorted(p for p in (Path(__file__).parent.parent / "captures").iterdir() if p.is_dir())
# What is more than 30 days old counts in the hour of its receipt, where the ledger knows nothing of receipts.
RECORDED_AT, FRESH_DAYS, DAY_S = datetime(2026, 11, 20, tzinfo=UTC), 20, 86_400
HISTORIES: dict[str, Callable[[list[Recorded]], Sequence[Recorded]]] = {
    "as recorded": lambda requests: requests,
    "every request twice": lambda requests: [again for request in requests for again in (request, request)],
    "all of it three times": lambda requests: requests * 3,
    "in reverse order": lambda requests: requests[::-1],
    "one record a request, newest first": lambda requests: list(recut(requests))[::-1],
    "one request a signal over gRPC": merged,
}


# How often each record of a history comes again, at least.
AGAIN = {"every request twice": 1, "all of it three times": 2}


def redated(folder: Path, days: int) -> list[Path]:
    return [dated(recorded, folder / recorded.name, days * DAY_S * 10**9) for recorded in RECORDED]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The recorded requests, as they are; once they are old, as if they had been recorded lately."""
    age = (datetime.now(UTC) - RECORDED_AT).days
    return RECORDED if age < FRESH_DAYS else redated(tmp_path_factory.mktemp("captures"), age - 1)


def everything(folders: Sequence[Path]) -> list[Recorded]:
    return [request for folder in folders for request in load(folder)]


@pytest.mark.parametrize("history", HISTORIES)
def test_sql_equals_the_ledger(stack: Stack, tenant: str, captures: list[Path], history: str) -> None:
    requests = HISTORIES[history](everything(captures))
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in requests:
            sender.send(request)
    sql, want = stack.sql(stack.key(tenant, "query")), truth(captures)
    eventually(lambda: differences(sql, want) or resends_apart(sql, AGAIN.get(history, 0)))


def resends_apart(sql: Callable[[str], list[dict[str, Any]]], least: int) -> list[str]:
    """Sessions that count other re-sends than their events and points do. least: how often each of these came again."""
    each = " union all by name ".join(f"select session_id, resends from {table}" for table in ("events", "metrics"))
    (row,) = sql(f"select min(coalesce(resends, 0)) as found from ({each})")
    out = [] if row["found"] == least else [f"a record came again {row['found']} times, not {least}"]
    return out + [
        f"{row['session_id']}: {row['resends']} re-sends, {row['counted']} of its events and points"
        for row in sql(
            f"select session_id, s.resends, coalesce(sum(r.resends), 0) as counted from sessions s "
            f"join ({each}) r using (session_id) group by all having counted <> s.resends"
        )
    ]


def test_requests_of_a_clock_that_is_months_behind_count_when_they_arrive(
    stack: Stack, tenant: str, tmp_path: Path
) -> None:
    folders = redated(tmp_path, -100)
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in everything(folders) * 2:
            sender.send(request)
    sql, want = stack.sql(stack.key(tenant, "query")), truth(folders)["sessions"].values()
    sums = "sum(prompts) as prompts, sum(api_requests) as api_requests, sum(tools) as tools"
    expected = {name: sum(session[name] for session in want) for name in ("prompts", "api_requests", "tools")}
    recent = "start > now() - interval 1 day"
    eventually(
        lambda: [
            f"{table}: {rows} instead of {expected}"
            for table in ("sessions", f"user_hours where {recent}", "user_days where start > now() - interval 2 day")
            if (rows := sql(f"select {sums} from {table}")) != [expected]
        ]
    )
    (row,) = sql("select count(*) as n from sessions where list_contains(flags, 'clock_suspect')")
    assert row["n"] == len(want)


def test_the_command_line_answers_in_json_csv_and_as_a_table(stack: Stack, tenant: str, captures: list[Path]) -> None:
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in load(captures[1]):
            sender.send(request)
    sql, want = stack.sql(stack.key(tenant, "query")), truth(captures[1:2])
    eventually(lambda: differences(sql, want))
    text = f"select session_id, prompts, cost_usd, models from sessions where tenant = '{tenant}'"
    (row,) = json.loads(stack.command("query", text, "--format", "json").stdout)
    ((session, expected),) = want["sessions"].items()
    assert (row["session_id"], row["prompts"]) == (session, expected["prompts"])
    assert row["cost_usd"] == pytest.approx(expected["cost_usd"], abs=1e-6)
    assert isinstance(row["models"], dict)
    assert (
        stack.command("query", text, "--format", "csv").stdout.splitlines()[0] == "session_id,prompts,cost_usd,models"
    )
    assert session in stack.command("query", text).stdout
    wrong = stack.command("query", "select nothing from nowhere", check=False)
    assert wrong.returncode != 0
    assert wrong.stdout == ""
    assert "nowhere" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_keys_open_what_they_are_for(stack: Stack, tenant: str) -> None:
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in load(RECORDED[0]):
            sender.send(request)
    own, other = stack.sql(stack.key(tenant, "query")), stack.sql(stack.key(tenant + "x", "query"))
    eventually(lambda: [] if own("select * from sessions") else ["no session yet"])
    assert other("select * from sessions") == []
    assert other("select * from events") == []
    with pytest.raises(AssertionError, match="admin"):
        own("select * from content")
    with pytest.raises(AssertionError, match="ingest"):
        stack.sql(stack.key(tenant, "ingest"))("select 1")
