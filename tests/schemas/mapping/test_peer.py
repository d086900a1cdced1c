"""A peer's test documents, where they lie beside this clone: all go through, and what the peer expects is in ours.

The peer's integration turns the same telemetry into ECS. Its inputs are documents of its own shape, which an adapter
here turns back into OTLP. Each field of each document that it expects is either equal to ours, at the place that PLACES
says, or stands in DIFFERENT with both values and the reason; a field that is neither fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from schemas import mapping, otlp, records
from tests.schemas.otlp.requests import attributes, decoded, records_of

PEER = Path(__file__).parents[4] / "shared" / "third_party" / "elastic-claude_code"
pytestmark = pytest.mark.skipif(not PEER.exists(), reason="../shared/third_party is not beside this clone")
INPUTS = sorted(PEER.glob("events/*.json")) + sorted(PEER.glob("traces/*.json"))
EXPECTED = sorted(PEER.glob("expected/*.json"))

BASH = "tool-result-bash"
MCP = "mcp-server-connection-failed"
API = "api-request"
REJECT = "tool-decision-reject"
SPAN = "llm-request"

NO_VALUE = "nothing"
# (which documents, the peer's field) → (the peer's value, our field, our value, why they differ)
DIFFERENT: dict[tuple[str, str], tuple[Any, str, Any, str]] = {
    (BASH, "event.type"): (["info"], "event.type", ["end"], "The result of a command is the end of a process."),
    (REJECT, "event.type"): (["info"], "event.type", ["denied"], "A SIEM asks for what was denied by this word."),
    (MCP, "event.outcome"): ("unknown", "event.outcome", "failure", "The event says status: failed."),
    (API, "event.outcome"): (
        "unknown",
        "event.outcome",
        "success",
        "The client writes api_request of requests that were answered, and api_error of the others.",
    ),
    (API, "gen_ai.operation.name"): (
        "repl_main_thread",
        "gen_ai.operation.name",
        "chat",
        "The conventions' own word; the part of the client that asked is claude_code.query_source.",
    ),
    (API, "gen_ai.usage.input_tokens"): (
        3,
        "gen_ai.usage.input_tokens",
        34179,
        "The conventions count the cache's tokens as input; without them it is claude_code.input_tokens.",
    ),
    (BASH, "claude_code.events.success"): ("true", "claude_code.success", True, "Our fields are typed."),
    (SPAN, "duration"): (12422173334, "event.duration", 12422173000, "Our times have microseconds."),
    (SPAN, "kind"): ("Internal", "claude_code.kind", "internal", "One spelling for every transport."),
    (SPAN, "links"): (
        [
            {
                "attributes": {"link.type": "parent_of"},
                "span_id": "3e995792b34d8bb3",
                "trace_id": "23101774f812e85f0a3bee8a5e001b08",
            }
        ],
        "claude_code.links_json",
        '[{"attributes":{"link.type":"parent_of"},"span_id":"3e995792b34d8bb3",'
        '"trace_id":"23101774f812e85f0a3bee8a5e001b08"}]',
        "A list of objects is one JSON column, so that every engine reads it.",
    ),
    (SPAN, "data_stream.dataset"): ("claude_code.otel", "event.dataset", "claude_code.spans", "As data_stream.*."),
}
for _name in (BASH, MCP, API, REJECT):
    DIFFERENT[_name, "data_stream.dataset"] = (
        "claude_code.events.otel",
        "event.dataset",
        "claude_code.events",
        "data_stream.* routes documents inside of the peer's product; ECS's event.dataset is its counterpart.",
    )
    DIFFERENT[_name, "tags"] = (
        ["preserve_original_event"],
        "tags",
        NO_VALUE,
        "A switch of the peer's pipeline, set by its test, and no part of the telemetry.",
    )
for _name in (BASH, MCP, API, REJECT, SPAN):
    DIFFERENT[_name, "data_stream.namespace"] = (
        "default",
        "data_stream.namespace",
        NO_VALUE,
        "As data_stream.dataset.",
    )
    DIFFERENT[_name, "data_stream.type"] = (
        "traces" if _name == SPAN else "logs",
        "data_stream.type",
        NO_VALUE,
        "As data_stream.dataset.",
    )
    DIFFERENT[_name, "ecs.version"] = ("9.3.0", "ecs.version", "9.4.0", "We map to the newest.")
# The whole input once more, tool's JSON and all: test_the_original_is_not_kept_in_the_event says why ours has none.
ORIGINAL = "event.original"

# Where an equal value stands in ours; what is not here stands where the peer has it.
PLACES = {
    "name": "claude_code.name",
    "observed_timestamp": "event.created",
    "scope.name": "claude_code.scope_name",
    "scope.version": "claude_code.scope_version",
    "span_id": "span.id",
    "trace_id": "trace.id",
}
# The peer's names for attributes as the client wrote them: ours are the schema's fields, under claude_code.
RAW = ("claude_code.events.", "attributes.", "resource.attributes.")
# Texts of class content: on the content topic, in `text` and `parsed`.
CONTENT = {
    "claude_code.events.tool_input": ("tool_input", "text"),
    "claude_code.events.tool_parameters": ("tool_parameters", "text"),
    "claude_code.events.tool_input_flattened": ("tool_input", "parsed"),
    "claude_code.events.tool_parameters_flattened": ("tool_parameters", "parsed"),
    "gen_ai.tool.call.arguments": ("tool_parameters", "parsed"),
}


def nanoseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000) * 1_000_000


def request(document: dict[str, Any]) -> tuple[otlp.Signal, dict[str, Any]]:
    """The OTLP request that a document was made from."""
    scope = document["scope"]
    resource = {"attributes": attributes(document["resource"]["attributes"])}
    time = nanoseconds(document["@timestamp"])
    record: dict[str, Any] = {"attributes": attributes(document["attributes"])}
    if "span_id" not in document:
        record |= {"timeUnixNano": str(time), "body": {"stringValue": document["body"]["text"]}}
        record |= {"observedTimeUnixNano": str(nanoseconds(document["observed_timestamp"]))}
        record |= {"eventName": document["event_name"]}
        return "logs", {
            "resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [record]}]}]
        }
    status = document.get("status", {})
    record |= {
        "traceId": document["trace_id"],
        "spanId": document["span_id"],
        "parentSpanId": document.get("parent_span_id", ""),
        "name": document["name"],
        "kind": {"Internal": 1}[document["kind"]],
        "startTimeUnixNano": str(time),
        "endTimeUnixNano": str(time + document["duration"]),
        "status": {"code": {"Error": 2}.get(status.get("code"), 0), "message": status.get("message", "")},
        "links": [
            {"traceId": link["trace_id"], "spanId": link["span_id"], "attributes": attributes(link["attributes"])}
            for link in document.get("links", [])
        ],
    }
    return "traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [record]}]}]}


def transcoded(path: Path) -> list[list[dict[str, Any]]]:
    """Of each document of a file its event or span, and its content rows."""
    found = []
    for document in json.loads(path.read_text())["events"]:
        answer = decoded(*request(document))
        assert answer.rejections == []
        found += [records_of(entry) for entry in answer.entries]
    return found


@pytest.mark.parametrize("path", INPUTS, ids=lambda p: p.stem)
def test_every_input_goes_through_whole(path: Path) -> None:
    [[record, *_]] = transcoded(path)
    assert (record["coercion_errors"], record["pipeline_error"]) == ([], None)
    assert (record["attributes"], record["attributes_json"]) == ({}, {})
    assert mapping.ecs(record)["event"]["kind"] == "event"


def leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        place = f"{path}{name}"
        if isinstance(value, dict) and place not in CONTENT:
            yield from leaves(value, f"{place}.")
        else:
            yield place, value


def place_of(theirs: str, record: str) -> str:
    """Where ours has a field of the peer's."""
    for prefix in RAW:
        if theirs.startswith(prefix):
            wire = theirs.removeprefix(prefix)
            field = next(f.name for f in records.record(record).fields if wire in f.otel)
            return {"event_name": "event.action"}.get(field, f"claude_code.{field}")
    return PLACES.get(theirs, theirs)


def same(theirs: Any, ours: Any) -> bool:
    """Equal; two texts of the same moment are, however many digits they have."""
    if isinstance(theirs, str) and isinstance(ours, str) and theirs[10:11] == "T" and ours[10:11] == "T":
        return datetime.fromisoformat(theirs) == datetime.fromisoformat(ours)
    return type(theirs) is type(ours) and bool(theirs == ours)


@pytest.mark.parametrize("path", EXPECTED, ids=lambda p: p.name.removesuffix(".json-expected.json"))
def test_what_the_peer_expects_is_found_in_ours(path: Path) -> None:
    name = path.name.partition("-test-")[2].removesuffix(".json-expected.json")
    [source] = [p for p in INPUTS if p.stem == f"test-{name}"]
    [[record, *rows]] = transcoded(source)
    kind = "claude_span" if path.name.startswith("traces") else "claude_event"
    content = {row["field"]: row for row in rows}
    ours = dict(leaves(mapping.ecs(record)))
    [document] = json.loads(path.read_text())["expected"]
    wrong = []
    for field, value in leaves(document):
        if field == ORIGINAL:
            continue
        if field in CONTENT:
            place, member = CONTENT[field]
            if content[place][member] != value:
                wrong.append((field, value, content[place][member]))
        elif (name, field) in DIFFERENT:
            theirs, at, mine, _ = DIFFERENT[name, field]
            if (theirs, mine) != (value, ours.get(at, NO_VALUE)) or same(value, ours.get(at)):
                wrong.append((field, value, ours.get(at)))
        elif not same(value, ours.get(place_of(field, kind))):
            wrong.append((field, value, ours.get(place_of(field, kind))))
    assert wrong == []


def test_every_difference_is_one_and_says_why() -> None:
    held = {
        (path.name.partition("-test-")[2].removesuffix(".json-expected.json"), field)
        for path in EXPECTED
        for field, _ in leaves(json.loads(path.read_text())["expected"][0])
    }
    assert set(DIFFERENT) <= held
    assert all(why for *_, why in DIFFERENT.values())


@pytest.mark.parametrize("path", [p for p in EXPECTED if not p.name.startswith("traces")], ids=lambda p: p.name[:24])
def test_the_original_is_not_kept_in_the_event(path: Path) -> None:
    """The peer keeps the whole input in event.original, tool's JSON and all, for everyone who reads the event. Ours has
    every part of it in a field, and the texts of class content apart: nothing is lost that had to be kept twice."""
    [document] = json.loads(path.read_text())["expected"]
    original = json.loads(document["event"]["original"])
    [[record, *rows]] = transcoded(PEER / "events" / f"{path.name.partition('-')[2].removesuffix('-expected.json')}")
    texts = {row["field"]: row["text"] for row in rows}
    fields = {wire: f.name for f in records.record("claude_event").fields for wire in f.otel}
    for wire, value in original["attributes"].items():
        kept = texts.get(wire, record[fields[wire]])
        assert kept is not None
        assert wire not in texts or kept == value
    assert record["log_body"] == original["body"]["text"]
