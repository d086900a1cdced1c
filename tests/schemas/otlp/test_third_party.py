"""Telemetry recorded by others, where it lies beside this clone. It is no part of the product, and not committed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.schemas.otlp.requests import attributes, decoded, event, records_of, span, spans
from tests.schemas.otlp.requests import only as only_record

SHARED = Path(__file__).parents[4] / "shared" / "third_party"
ROUTER = SHARED / "cribl-cc-edge-claude-code-otel" / "data" / "samples"
PEER = SHARED / "elastic-claude_code"

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="../shared/third_party is not beside this clone")


def as_attributes(held: dict[str, Any]) -> list[dict[str, Any]]:
    """The router's maps, whose values are AnyValues or plain, as OTLP attributes."""
    return [
        {"key": key, "value": value} if isinstance(value, dict) else attributes({key: value})[0]
        for key, value in held.items()
    ]


def otlp_of(group: Any) -> Any:
    """The router's document as snake_case OTLP/JSON."""
    if isinstance(group, list):
        return [otlp_of(item) for item in group]
    if isinstance(group, dict):
        found = {k: as_attributes(v) if k == "attributes" else otlp_of(v) for k, v in group.items()}
        if "data_points" in found.get("data", {}):
            data = found.pop("data")
            points = [
                {("as_double" if k == "value" else k): v for k, v in point.items()} for point in data["data_points"]
            ]
            found["sum"] = {**data, "data_points": points}
        return found
    return group


def router_requests() -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
    found: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []
    for path in sorted(ROUTER.glob("*.json")):
        for item in json.loads(path.read_text()):
            group = json.loads(item["_raw"])
            if "scope_logs" in group:
                found.append(("logs", {"resource_logs": [otlp_of(group)]}, group))
            elif "scope_metrics" in group:
                found.append(("metrics", {"resource_metrics": [otlp_of(group)]}, group))
    return found


def test_what_a_router_re_emits_is_read() -> None:
    counts = {"logs": 0, "metrics": 0}
    for signal, document, _ in router_requests():
        found = decoded(signal, document)
        assert found.rejections == []
        for entry in found.entries:
            row = records_of(entry)[0]
            assert row["coercion_errors"] == []
            assert (row["session_id"], row["service_version"]) == ("session-0001", "2.1.45")
            assert (row["attributes"], row["attributes_json"]) == ({}, {})
        counts[signal] += len(found.entries)
    assert counts == {"logs": 23, "metrics": 117}


@pytest.mark.parametrize("path", sorted((PEER / "events").glob("*.json")), ids=lambda p: p.stem)
def test_the_events_of_a_peers_tests(path: Path) -> None:
    for document in json.loads(path.read_text())["events"]:
        row = event(document["attributes"], resource=document["resource"]["attributes"])
        assert row["coercion_errors"] == []
        assert row["pipeline_error"] is None
        assert row["event_name"] == document["attributes"]["event.name"]


@pytest.mark.parametrize("path", sorted((PEER / "traces").glob("*.json")), ids=lambda p: p.stem)
def test_the_spans_of_a_peers_tests(path: Path) -> None:
    for document in json.loads(path.read_text())["events"]:
        row = only_record("traces", spans(span(document["attributes"], document["name"])))[0]
        assert row["coercion_errors"] == []
        assert (row["attributes"], row["attributes_json"]) == ({}, {})


def test_a_security_team_finds_the_same_command_and_server() -> None:
    bash = json.loads((PEER / "events" / "test-tool-result-bash.json").read_text())["events"][0]
    expected = json.loads((PEER / "expected" / "v0.1-test-tool-result-bash.json-expected.json").read_text())[
        "expected"
    ][0]
    assert event(bash["attributes"])["command_line"] == expected["process"]["command_line"]
    mcp = json.loads((PEER / "events" / "test-tool-result-mcp.json").read_text())["events"][0]
    row = event(mcp["attributes"])
    assert (row["mcp_server"], row["mcp_tool"]) == ("codebase-memory-mcp", "list_projects")
