"""Telemetry of real clients in, exact sessions and usage out of SQL: equal to the ledger, however it was sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.requests import Recorded, Sender, load, merged, recut
from tests.e2e.stack import Stack, eventually
from tests.e2e.truth import differences, truth

CAPTURES = sorted(p for p in (Path(__file__).parent.parent / "captures").iterdir() if p.is_dir())
HISTORIES: dict[str, Callable[[list[Recorded]], Sequence[Recorded]]] = {
    "as recorded": lambda requests: requests,
    "every request twice": lambda requests: [again for request in requests for again in (request, request)],
    "all of it three times": lambda requests: requests * 3,
    "in reverse order": lambda requests: requests[::-1],
    "one record a request, newest first": lambda requests: list(recut(requests))[::-1],
    "one request a signal over gRPC": merged,
}


def everything() -> list[Recorded]:
    return [request for folder in CAPTURES for request in load(folder)]


@pytest.mark.parametrize("history", HISTORIES)
def test_sql_equals_the_ledger(stack: Stack, tenant: str, history: str) -> None:
    requests = HISTORIES[history](everything())
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in requests:
            sender.send(request)
    sql, want = stack.sql(stack.key(tenant, "query")), truth(CAPTURES)
    eventually(lambda: differences(sql, want))


def test_the_command_line_answers_in_json_csv_and_as_a_table(stack: Stack, tenant: str) -> None:
    with Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(tenant)) as sender:
        for request in load(CAPTURES[1]):
            sender.send(request)
    sql, want = stack.sql(stack.key(tenant, "query")), truth(CAPTURES[1:2])
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
        for request in load(CAPTURES[0]):
            sender.send(request)
    own, other = stack.sql(stack.key(tenant, "query")), stack.sql(stack.key(tenant + "x", "query"))
    eventually(lambda: [] if own("select * from sessions") else ["no session yet"])
    assert other("select * from sessions") == []
    assert other("select * from events") == []
    with pytest.raises(AssertionError, match="admin"):
        own("select * from content")
    with pytest.raises(AssertionError, match="ingest"):
        stack.sql(stack.key(tenant, "ingest"))("select 1")
