import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from millrace.fleet import Fleet, Request
from millrace.sender import encode

START_NS = 1_795_178_669_595_000_000


def attributes(record: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}


def events(requests: list[Request]) -> list[dict[str, Any]]:
    found = []
    for request in requests:
        if request.signal == "logs":
            found += request.body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    return found


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return list(Fleet(7).turns(600, start_ns=START_NS))


def test_the_same_seed_gives_the_same_fleet(requests: list[Request]) -> None:
    assert list(Fleet(7).turns(600, start_ns=START_NS)) == requests
    assert list(Fleet(8).turns(600, start_ns=START_NS)) != requests


def test_everything_that_people_ask_for_occurs(requests: list[Request]) -> None:
    names = Counter(attributes(event)["event.name"] for event in events(requests))
    assert {
        "user_prompt", "api_request", "api_error", "api_refusal", "api_retries_exhausted", "tool_decision",
        "tool_result", "assistant_response", "internal_error", "compaction", "subagent_completed",
        "mcp_server_connection", "permission_mode_changed", "hook_registered",
    } <= set(names)  # fmt: skip
    metrics = {
        metric["name"].removeprefix("claude_code.")
        for request in requests
        if request.signal == "metrics"
        for metric in request.body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    }
    assert metrics == {
        "session.count", "lines_of_code.count", "pull_request.count", "commit.count", "cost.usage", "token.usage",
        "code_edit_tool.decision", "active_time.total",
    }  # fmt: skip
    prompts = {
        attributes(event)["prompt"] == "<REDACTED>" for event in events(requests) if "prompt" in attributes(event)
    }
    assert prompts == {True, False}
    decisions = {attributes(event).get("decision") for event in events(requests)}
    assert {"accept", "reject"} <= decisions


def test_a_session_counts_its_events_in_time(requests: list[Request]) -> None:
    by_session: dict[str, list[tuple[int, int]]] = {}
    for event in events(requests):
        found = attributes(event)
        by_session.setdefault(found["session.id"], []).append((int(event["timeUnixNano"]), found["event.sequence"]))
    for rows in by_session.values():
        assert rows == sorted(rows)
        # The next number, or 0 again when the session was resumed by another process.
        assert all(after[1] in (before[1] + 1, 0) for before, after in pairwise(rows))


@pytest.mark.parametrize("step_ns", [0, 1_000_000, 2_000_000_000, 60_000_000_000])
def test_nothing_lasts_longer_than_since_the_event_before_it_however_fast_they_are_made(step_ns: int) -> None:
    last: dict[str, int] = {}
    measured = 0
    for event in events(list(Fleet(7).turns(600, start_ns=START_NS, step_ns=step_ns))):
        found, at = attributes(event), int(event["timeUnixNano"])
        # What a subagent took goes over all that it did.
        around = found.get("tool_name") == "Agent" or found["event.name"] == "subagent_completed"
        if "duration_ms" in found and found["session.id"] in last and not around:
            assert last[found["session.id"]] <= at - int(found["duration_ms"]) * 1_000_000 < at
            measured += 1
        last[found["session.id"]] = at
    assert measured > 1000


def test_requests_keep_the_size_that_was_asked_for() -> None:
    small = list(Fleet(7, events_per_request=5).turns(100, start_ns=START_NS))
    assert max(request.records for request in small if request.signal == "logs") == 5
    assert sum(request.records for request in small if request.signal == "logs") == len(events(small))


def test_every_protocol_carries_the_same(requests: list[Request]) -> None:
    for request in requests[:20]:
        as_json = json.loads(encode(request, "http/json"))
        assert as_json == request.body
        assert encode(request, "http/protobuf") == encode(request, "grpc").SerializeToString()


def test_span_ids_survive_protobuf(requests: list[Request]) -> None:
    request = next(request for request in requests if request.signal == "traces")
    span = request.body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    encoded = encode(request, "grpc").resource_spans[0].scope_spans[0].spans[0]
    assert (encoded.trace_id.hex(), encoded.span_id.hex()) == (span["traceId"], span["spanId"])
