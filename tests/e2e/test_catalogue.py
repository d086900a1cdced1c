"""Every known event, metric and span through the running stack: typed columns out of SQL, and nothing lost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from millrace.fleet import Request, Signal
from millrace.sender import Sender
from schemas.catalogue import Item, Kind, catalogue
from schemas.records import Field, record
from tests.e2e.stack import Stack, eventually

CATALOGUE = catalogue()
SESSION = "5e551017-0000-4000-8000-000000000001"
MARK = "<content>"
NOW_NS = time.time_ns()


def fields_of(name: str) -> dict[str, Field]:
    """Wire attribute (or `event:attribute`) → field."""
    return {wire: field for field in record(name).fields for wire in field.otel}


def a_value(field: Field | None, attribute: str) -> tuple[dict[str, Any], Any]:
    """(OTLP value, what SQL must say) for an attribute of this type."""
    match field.type if field else "string":
        case "long" | "int":
            return {"intValue": "7"}, 7
        case "double":
            return {"doubleValue": 1.5}, 1.5
        case "boolean":
            return {"boolValue": True}, True
        case "array_string":
            return {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}, ["a", "b"]
        case "timestamp":
            return {"stringValue": "2026-11-20T12:42:10.595Z"}, "2026-11-20T12:42:10.595000Z"
    return {"stringValue": f"x {attribute}"}, f"x {attribute}"


def attributes(
    names: list[str], fields: dict[str, Field], event: str = ""
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(OTLP attributes, expected columns)"""
    out, expected = [], {}
    for name in names:
        particular = fields.get(f"{event}:{name}")
        field = particular or fields.get(name)
        assert field is not None, f"{event}: no field for {name}"
        value, want = a_value(field, name)
        out.append({"key": name, "value": value})
        content = field.cls == "content" or (name in field.content and particular is None)
        expected[field.name] = MARK if content else want
    return out, expected


def names_of(kind: Kind, item: Item) -> list[str]:
    """What the item carries, but for what these tests say themselves."""
    own = ("session.id", "event.name", "event.sequence")
    return [name for name in CATALOGUE.attributes(kind, item) if name not in own]


SESSION_ID = {"key": "session.id", "value": {"stringValue": SESSION}}


def events() -> tuple[Request, dict[str, dict[str, Any]]]:
    fields, records, expected = fields_of("claude_event"), [], {}
    for number, (full, item) in enumerate(CATALOGUE.items["events"].items()):
        name = item.short
        found, columns = attributes(names_of("events", item), fields, name)
        found += [
            SESSION_ID,
            {"key": "event.name", "value": {"stringValue": name}},
            {"key": "event.sequence", "value": {"intValue": number}},
        ]
        records.append({"timeUnixNano": str(NOW_NS + number), "body": {"stringValue": full}, "attributes": found})
        expected[name] = columns
    return _request("logs", "resourceLogs", "scopeLogs", "logRecords", records), expected


def points() -> tuple[Request, dict[str, dict[str, Any]]]:
    fields, records, expected = fields_of("metric_point"), [], {}
    for name, item in CATALOGUE.items["metrics"].items():
        found, columns = attributes(names_of("metrics", item), fields)
        point = {"startTimeUnixNano": str(NOW_NS), "timeUnixNano": str(NOW_NS + 1), "asDouble": 2.5}
        point["attributes"] = [*found, SESSION_ID]
        records.append({"name": name, "unit": item.unit, "sum": {"aggregationTemporality": 1, "dataPoints": [point]}})
        expected[name] = columns | {"value": 2.5, "temporality": "delta", "kind": "sum"}
    return _request("metrics", "resourceMetrics", "scopeMetrics", "metrics", records), expected


def spans() -> tuple[Request, dict[str, dict[str, Any]]]:
    fields, records, expected = fields_of("claude_span"), [], {}
    for number, (name, item) in enumerate(CATALOGUE.items["spans"].items(), 1):
        found, columns = attributes(names_of("spans", item), fields)
        ids = {"traceId": f"{number:032x}", "spanId": f"{number:016x}"}
        times = {"startTimeUnixNano": str(NOW_NS), "endTimeUnixNano": str(NOW_NS + 1_000_000)}
        records.append({**ids, **times, "name": name, "attributes": [*found, SESSION_ID]})
        expected[name] = columns | {"trace_id": ids["traceId"], "span_id": ids["spanId"]}
    return _request("traces", "resourceSpans", "scopeSpans", "spans", records), expected


def _request(signal: Signal, outer: str, inner: str, leaf: str, records: list[dict[str, Any]]) -> Request:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]}
    return Request(signal, {outer: [{"resource": resource, inner: [{leaf: records}]}]}, len(records))


CASES = {
    "logs": (events, "events", "event_name"),
    "metrics": (points, "metrics", "metric"),
    "traces": (spans, "spans", "name"),
}


async def send(stack: Stack, tenant: str, protocol: str, *requests: Request) -> None:
    port = stack.ports["GATEWAY_GRPC" if protocol == "grpc" else "GATEWAY_HTTP"]
    async with Sender(f"http://127.0.0.1:{port}", stack.key(tenant), protocol) as sender:  # type: ignore[arg-type]
        for request in requests:
            outcome = await sender.send(request)
            assert (outcome.refused, outcome.rejected) == ("", 0)


@pytest.mark.parametrize("protocol", ["grpc", "http/json"])
@pytest.mark.parametrize("signal", CASES)
async def test_every_name_of_the_catalogue_comes_out_typed(
    stack: Stack, tenant: str, signal: str, protocol: str
) -> None:
    make, table, key = CASES[signal]
    request, expected = make()
    await send(stack, tenant, protocol, request)
    sql = stack.sql(stack.key(tenant, "query"))

    def wrong() -> list[str]:
        rows = {row[key]: row for row in sql(f"select * from {table}")}
        if len(rows) != len(expected):
            return [f"{len(rows)} rows of {len(expected)}"]
        out = []
        for name, columns in expected.items():
            row = rows.get(name) or rows[name.removeprefix("claude_code.")]
            out += [f"{name}.{c}: {row[c]!r}, not {want!r}" for c, want in columns.items() if row[c] != want]
            if row["coercion_errors"]:
                out.append(f"{name}: {row['coercion_errors']}")
            if row["attributes"] or row["attributes_json"]:
                out.append(f"{name} left over: {row['attributes']} {row['attributes_json']}")
        return out

    eventually(wrong, timeout_s=30)


async def test_what_is_unknown_or_malformed_comes_out_unharmed(stack: Stack, tenant: str) -> None:
    text = '{"full_command": "ls -la", "broken'
    long = "y" * 300
    found = [
        SESSION_ID,
        {"key": "event.name", "value": {"stringValue": "never_heard_of"}},
        {"key": "novel.text", "value": {"stringValue": "as it was"}},
        {"key": "novel.number", "value": {"intValue": "9007199254740993"}},
        {"key": "novel.list", "value": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "b"}]}}},
        {"key": "novel.long", "value": {"stringValue": long}},
        {"key": "duration_ms", "value": {"stringValue": "soon"}},
        {"key": "tool_parameters", "value": {"stringValue": text}},
    ]
    record_ = {"timeUnixNano": str(NOW_NS), "attributes": found}
    await send(stack, tenant, "http/json", _request("logs", "resourceLogs", "scopeLogs", "logRecords", [record_]))
    sql, admin = stack.sql(stack.key(tenant, "query")), stack.sql((stack.data / "keys" / "admin").read_text().strip())
    eventually(lambda: [] if sql("select 1 as one from events") else ["nothing yet"], timeout_s=30)
    (row,) = sql("select * from events")
    assert row["event_name"] == "never_heard_of"
    assert row["attributes"] == {"novel.text": "as it was", "novel.long": MARK, "duration_ms": "soon"}
    assert {k: json.loads(v) for k, v in row["attributes_json"].items()} == {
        "novel.number": 9007199254740993,
        "novel.list": [1, "b"],
    }
    assert row["coercion_errors"] == ["duration_ms"]
    assert (row["tool_parameters"], row["duration_ms"]) == (MARK, None)
    assert row["pipeline_error"]
    content = admin(f"select field, text from content where event_id = '{row['event_id']}' order by field")
    assert content == [{"field": "novel.long", "text": long}, {"field": "tool_parameters", "text": text}]
    eventually(lambda: [] if sql("select 1 as one from sessions") else ["no session"], timeout_s=30)
    (session,) = sql("select event_counts, ghost from sessions")
    assert session == {"event_counts": {"never_heard_of": 1}, "ghost": True}


async def test_no_record_of_one_client_stops_the_others(stack: Stack, tenant: str) -> None:
    def event(name: str, session: str, sequence: int, **more: str) -> dict[str, Any]:
        values = {"event.name": name, "session.id": session, "event.sequence": str(sequence), **more}
        return {"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in values.items()]}

    hostile = [
        event("user_prompt", "h", 0, **{"event.timestamp": "1960-01-01T00:00:00Z"}),
        event("user_prompt", "h", 1, **{"event.timestamp": "9999-12-31T23:59:59Z"}),
        event("user_prompt", "h", 2, **{"team.id": "t" * 200_000, "model": "m" * 200_000}),
        event("user_prompt", "h", 3, **{"team.id": "t" * 1_000}),
        *(event(f"{n}" * 10_000, "h", n) for n in range(4, 60)),
    ]
    good = [event("user_prompt", f"good-{n}", 0) | {"timeUnixNano": str(NOW_NS)} for n in range(8)]
    each = [_request("logs", "resourceLogs", "scopeLogs", "logRecords", [one]) for one in (*hostile, *good)]
    await send(stack, tenant, "http/json", *each)
    sql = stack.sql(stack.key(tenant, "query"))
    eventually(lambda: None if len(got := sql("select session_id from sessions")) == 9 else got, timeout_s=60)
    (row,) = sql("select prompts, flags from sessions where session_id = 'h'")
    assert row["prompts"] == 4
    assert "name_cut" in row["flags"]
