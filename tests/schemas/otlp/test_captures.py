"""Every recorded request, and every event, metric and span of the catalogue, with its fields typed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas import otlp, records
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

CATALOGUE = json.loads((Path(__file__).parents[2] / "reference" / "telemetry-catalog.json").read_text())


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


STANDARD = {name.split(" ")[0] for name in CATALOGUE["standard"] if not name.startswith("<")}


@pytest.mark.parametrize("name", CATALOGUE["events"])
def test_every_catalogued_event_goes_through_typed(name: str) -> None:
    short = name.removeprefix("claude_code.")
    wires = STANDARD | set(CATALOGUE["standard_events_only"]) | set(CATALOGUE["events"][name]["attrs"])
    sent, expected = samples("claude_event", wires, short)
    found = event({**sent, "event.name": short})
    assert {k: found[k] for k in expected} == expected
    assert found["event_name"] == short
    assert (found["attributes"], found["attributes_json"], found["coercion_errors"]) == ({}, {}, [])


@pytest.mark.parametrize("name", CATALOGUE["metrics"])
def test_every_catalogued_metric_goes_through_typed(name: str) -> None:
    sent, expected = samples("metric_point", STANDARD | set(CATALOGUE["metrics"][name]["attrs"]))
    point = {"timeUnixNano": str(TIME_NS), "asDouble": 1.5, "attributes": attributes(sent)}
    unit = CATALOGUE["metrics"][name]["unit"]
    data = {"sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [point]}}
    found = only("metrics", metric(name, data, unit=unit))[0]
    assert {k: found[k] for k in expected} == expected
    assert (found["metric"], found["metric_unit"], found["value"]) == (name, unit or None, 1.5)
    assert (found["attributes"], found["attributes_json"], found["coercion_errors"]) == ({}, {}, [])


@pytest.mark.parametrize("name", CATALOGUE["spans"])
def test_every_catalogued_span_goes_through_typed(name: str) -> None:
    sent, expected = samples("claude_span", STANDARD | set(CATALOGUE["spans"][name]["attrs"]))
    found = only("traces", spans(span(sent, name)))[0]
    assert {k: found[k] for k in expected} == expected
    assert found["name"] == name
    assert (found["attributes"], found["attributes_json"], found["coercion_errors"]) == ({}, {}, [])


@pytest.mark.parametrize("name", ["system_prompt", "summary", "tool"])
def test_events_without_documents_survive(name: str) -> None:
    found = event({"event.name": name, "model": "m", "brand.new": "x"})
    assert (found["event_name"], found["model"], found["attributes"]) == (name, "m", {"brand.new": "x"})
