"""Telemetry recorded by others, where it lies beside this clone. It is no part of the product, and not committed."""

import json
from pathlib import Path

import pytest

from tests.schemas.otlp.requests import event, span, spans
from tests.schemas.otlp.requests import only as only_record

SHARED = Path(__file__).parents[4] / "shared" / "third_party"
PEER = SHARED / "elastic-claude_code"

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="../shared/third_party is not beside this clone")


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
