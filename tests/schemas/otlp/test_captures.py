"""Every recorded request, and every event, metric and span of the catalogue, with its fields typed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas import otlp, records
from schemas.catalogue import catalogue
from tests.oracle import ledger
from tests.schemas.otlp.requests import (
    CAPTURES,
    CONTEXT,
    TIME_NS,
    attributes,
    captured,
    content_type_of,
    event,
    metric,
    only,
    records_of,
    signal_of,
    span,
    spans,
)

CATALOGUE = catalogue()


def transcoded(path: Path) -> list[dict[str, Any]]:
    """The events and points of a recorded request."""
    found = otlp.transcode(signal_of(path), content_type_of(path), path.read_bytes(), CONTEXT)
    assert found.rejections == []
    return [records_of(entry)[0] for entry in found.entries]


@pytest.mark.parametrize("path", captured(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_recorded_request_goes_through_typed_and_whole(path: Path) -> None:
    for row in transcoded(path):
        assert row["coercion_errors"] == []
        assert row["pipeline_error"] is None
        assert row["clock_suspect"] is False
        assert (row["attributes"], row["attributes_json"]) == ({}, {})
        assert row["session_id"]
        assert row["user_key"]
        assert (row["team"], row["department"], row["cost_center"]) == ("platform", "engineering", "eng-123")


def test_the_recordings_agree_with_the_ledger() -> None:
    folders = sorted({path.parent for path in captured()})
    truth = ledger.ledger([str(folder) for folder in folders])
    assert truth == json.loads((CAPTURES.parent / "oracle" / "expected-all-captures.json").read_text())
    received: Counter[str] = Counter(requests=len(captured()))
    events: dict[str, dict[str, Any]] = {}
    points: dict[str, dict[str, Any]] = {}
    for path in captured():
        rows = transcoded(path)
        received["events" if signal_of(path) == "logs" else "points"] += len(rows)
        for row in rows:
            (events if signal_of(path) == "logs" else points)[row.get("event_id") or row["point_id"]] = row
    assert dict(received) == truth["received"]
    assert {"events": len(events), "points": len(points), "spans": 0} == truth["unique"] | {"spans": 0}
    for session, expected in truth["sessions"].items():
        own = [row for row in events.values() if row["session_id"] == session]
        assert dict(sorted(Counter(row["event_name"] for row in own).items())) == expected["event_counts"]
        assert min(row["event_time"] for row in own) == expected["start_ns"] // 1000
        assert max(row["event_time"] for row in own) == expected["last_ns"] // 1000
        cost = sum(row["cost_usd_micros"] or 0 for row in own) / 1e6
        assert cost == pytest.approx(expected["cost_usd"], abs=1e-6)
        for token in ledger.TOKENS:
            assert sum(row[token] or 0 for row in own) == expected[token]
        totals: Counter[str] = Counter()
        for row in points.values():
            if row["session_id"] == session:
                totals[row["metric"] + (f"/{row['type']}" if row["type"] else "")] += row["value"]
        assert {k: pytest.approx(v, abs=1e-6) for k, v in totals.items()} == expected["metric_totals"]


SAMPLES: dict[str, tuple[Any, Any]] = {
    "string": ("some text", "some text"),
    "long": ("56", 56),
    "double": ("0.25", 0.25),
    "boolean": ("true", True),
    "timestamp": ("2026-11-20T12:42:10.595Z", TIME_NS // 1000),
    "array_string": (["a", "b"], ["a", "b"]),
}


def samples(record: str, wires: set[str], event_name: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """A value for every wire attribute, as text wherever text will do; and the fields that must come of them."""
    sent: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for field in records.record(record).fields:
        for wire in field.otel:
            name, _, attribute = wire.rpartition(":")
            if attribute not in wires or name not in ("", event_name) or attribute in sent or attribute == "event.name":
                continue
            sent[attribute], expected[field.name] = SAMPLES[field.type]
            if field.cls == "content" or (wire in field.content and not name):
                if attribute in ("tool_parameters", "tool_input"):
                    sent[attribute] = '{"full_command": "ls"}'
                expected[field.name] = "<content>"
    assert set(sent) == wires - {"event.name"}
    return sent, expected


@pytest.mark.parametrize("name", CATALOGUE.items["events"])
def test_every_catalogued_event_goes_through_typed(name: str) -> None:
    item = CATALOGUE.items["events"][name]
    sent, expected = samples("claude_event", set(CATALOGUE.attributes("events", item)), item.short)
    found = event({**sent, "event.name": item.short})
    assert {k: found[k] for k in expected} == expected
    assert found["event_name"] == item.short
    assert (found["attributes"], found["attributes_json"], found["coercion_errors"]) == ({}, {}, [])


@pytest.mark.parametrize("name", CATALOGUE.items["metrics"])
def test_every_catalogued_metric_goes_through_typed(name: str) -> None:
    item = CATALOGUE.items["metrics"][name]
    sent, expected = samples("metric_point", set(CATALOGUE.attributes("metrics", item)))
    point = {"timeUnixNano": str(TIME_NS), "asDouble": 1.5, "attributes": attributes(sent)}
    data = {"sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [point]}}
    found = only("metrics", metric(name, data, unit=item.unit))[0]
    assert {k: found[k] for k in expected} == expected
    assert (found["metric"], found["metric_unit"], found["value"]) == (name, item.unit or None, 1.5)
    assert (found["attributes"], found["attributes_json"], found["coercion_errors"]) == ({}, {}, [])


@pytest.mark.parametrize("name", CATALOGUE.items["spans"])
def test_every_catalogued_span_goes_through_typed(name: str) -> None:
    item = CATALOGUE.items["spans"][name]
    sent, expected = samples("claude_span", set(CATALOGUE.attributes("spans", item)))
    found = only("traces", spans(span(sent, name)))[0]
    assert {k: found[k] for k in expected} == expected
    assert found["name"] == name
    assert (found["attributes"], found["attributes_json"], found["coercion_errors"]) == ({}, {}, [])


@pytest.mark.parametrize("name", CATALOGUE.span_events)
def test_every_catalogued_span_event_keeps_what_is_no_content(name: str) -> None:
    known = CATALOGUE.span_events[name]
    own = {"name": name, "timeUnixNano": str(TIME_NS), "attributes": attributes(dict.fromkeys(known.attributes, "v"))}
    row, *content = only("traces", spans(span({}, known.on, events=[own])))
    (found,) = json.loads(row["events_json"])
    texts = {attribute for attribute, what in known.attributes.items() if what.cls == "content"}
    assert {k for k, v in found["attributes"].items() if v == "<content>"} == texts
    assert {r["field"]: r["text"] for r in content} == {f"{name}.{attribute}": "v" for attribute in texts}


@pytest.mark.parametrize("name", CATALOGUE.known_by_name["events"])
def test_events_without_documents_survive(name: str) -> None:
    found = event({"event.name": name, "model": "m", "brand.new": "x"})
    assert found["event_name"] == name.removeprefix("claude_code.")
    assert (found["model"], found["attributes"]) == ("m", {"brand.new": "x"})


@pytest.mark.parametrize("name", CATALOGUE.known_by_name["spans"])
def test_spans_without_documents_survive(name: str) -> None:
    found = only("traces", spans(span({"model": "m", "brand.new": "x"}, name)))[0]
    assert (found["name"], found["model"], found["attributes"]) == (name, "m", {"brand.new": "x"})
