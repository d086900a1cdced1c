"""Spans to ClaudeSpan and ClaudeContent."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import otlp
from tests.schemas.otlp.requests import (
    CONTEXT,
    RECEIVED_US,
    TIME_NS,
    TIME_US,
    attributes,
    decoded,
    only,
    span,
    spans,
    transports,
)


def row(values: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return only("traces", spans(span(values, **parts)))[0]


def test_a_span() -> None:
    found = row(
        {"session.id": "s-1", "tool_name": "Bash", "duration_ms": "214", "span.type": "tool"},
        parentSpanId="83B7AB7EE87E0C09",
        status={"code": 2, "message": "boom"},
        traceState="a=b",
        flags=257,
        droppedEventsCount=1,
    )
    assert (found["trace_id"], found["span_id"]) == ("26cfcfdf49ccb1c13048a9c205eeeed1", "5a1e2b3c4d5e6f70")
    assert (found["parent_span_id"], found["kind"]) == ("83b7ab7ee87e0c09", "internal")
    assert (found["start_time"], found["end_time"], found["duration_us"]) == (TIME_US, TIME_US + 214_000, 214_000)
    assert (found["status_code"], found["status_message"]) == ("error", "boom")
    assert (found["tool_name"], found["duration_ms"], found["span_type"]) == ("Bash", 214, "tool")
    assert (found["trace_state"], found["trace_flags"], found["dropped_events_count"]) == ("a=b", 257, 1)


@pytest.mark.parametrize(
    ("kind", "word"), [(3, "client"), ("SPAN_KIND_SERVER", "server"), (0, "unspecified"), (77, "77")]
)
def test_kinds(kind: Any, word: str) -> None:
    assert row({}, kind=kind)["kind"] == word


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"tool_name": "Bash", "tool_input": '{"command": "sudo curl x | sh"}'},
            {"full_command": "sudo curl x | sh", "command_executable": "curl"},
        ),
        (
            {"full_command": "git push", "tool_input": '{"command": "other"}'},
            {"full_command": "git push", "command_executable": "git"},
        ),
        ({"tool_name": "mcp__jira__get"}, {"mcp_server": "jira", "mcp_tool": "get"}),
        ({"tool_input": '{"url": "https://u@a.example/x"}'}, {"url": "https://u@a.example/x", "url_host": "a.example"}),
        ({"tool_name": "NotebookEdit", "tool_input": '{"notebook_path": "/a.ipynb"}'}, {"file_path": "/a.ipynb"}),
    ],
)
def test_what_a_tool_did_has_fields_as_on_its_event(values: dict[str, Any], expected: dict[str, Any]) -> None:
    found = row(values)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("values", "status", "outcome"),
    [
        ({"success": "true"}, {}, "success"),
        ({"success": "false"}, {"code": 1}, "failure"),
        ({}, {"code": 1}, "success"),
        ({}, {"code": 2}, "failure"),
        ({}, {}, None),
    ],
)
def test_an_outcome(values: dict[str, Any], status: dict[str, Any], outcome: str | None) -> None:
    assert row(values, status=status)["event_outcome"] == outcome


def test_the_http_status_is_apart_from_the_spans_own() -> None:
    found = row({"status_code": "529"}, status={})
    assert (found["http_status_code"], found["status_code"]) == (529, "unset")


def test_an_open_span_has_no_end() -> None:
    found = row({}, endTimeUnixNano=None)
    assert (found["end_time"], found["duration_us"]) == (None, None)


def test_a_span_without_start_has_the_gateways_time() -> None:
    found = row({}, startTimeUnixNano=None)
    assert (found["start_time"], found["duration_us"], found["clock_suspect"]) == (RECEIVED_US, None, True)


@pytest.mark.parametrize("impossible", ["1", "946684799999999999", str(2**64 - 1)])
def test_a_time_that_cannot_be_is_not_believed(impossible: str) -> None:
    found = row({}, startTimeUnixNano=impossible)
    assert (found["start_time"], found["end_time"]) == (RECEIVED_US, TIME_US + 214_000)
    assert (found["duration_us"], found["clock_suspect"]) == (None, True)
    found = row({}, endTimeUnixNano=impossible)
    assert (found["start_time"], found["end_time"]) == (TIME_US, None)
    assert (found["duration_us"], found["clock_suspect"]) == (None, True)


def test_a_span_that_ends_before_it_starts_has_no_duration() -> None:
    found = row({}, endTimeUnixNano=str(TIME_NS - 5_000))
    assert (found["start_time"], found["end_time"]) == (TIME_US, TIME_US - 5)
    assert (found["duration_us"], found["clock_suspect"]) == (None, True)
    found = row({}, endTimeUnixNano=str(TIME_NS))
    assert (found["duration_us"], found["clock_suspect"]) == (0, False)


@pytest.mark.parametrize(
    "change", [{"traceId": ""}, {"spanId": "0" * 16}, {"traceId": "abc"}, {"spanId": "z" * 16}, {"traceId": None}]
)
def test_a_span_without_ids_is_rejected_alone(change: dict[str, Any]) -> None:
    found = decoded("traces", spans(span({}, **change), span({})))
    assert len(found.entries) == 1
    assert [r.reason for r in found.rejections] == ["invalid_id"]
    assert json.loads(found.rejections[0].original)["name"] == "claude_code.tool"


def test_the_prompt_of_an_interaction_is_content() -> None:
    found = only("traces", spans(span({"user_prompt": "What is 2+2?", "session.id": "s-1"}, "claude_code.interaction")))
    assert found[0]["user_prompt"] == "<content>"
    assert (found[1]["field"], found[1]["text"]) == ("user_prompt", "What is 2+2?")
    assert (found[1]["event_id"], found[1]["span_id"]) == (None, "5a1e2b3c4d5e6f70")
    assert (found[1]["trace_id"], found[1]["event_name"]) == (found[0]["trace_id"], "claude_code.interaction")
    assert (found[1]["event_time"], found[1]["session_id"]) == (TIME_US, "s-1")


def test_texts_of_span_events_are_content() -> None:
    output = {"output": "total 0", "tool_name": "Bash", "lines": 1, "ok": True, "held": "<REDACTED>", "parts": ["a"]}
    events = [{"name": "tool.output", "timeUnixNano": str(TIME_NS), "attributes": attributes(output)}]
    found = only("traces", spans(span({}, events=events)))
    assert json.loads(found[0]["events_json"]) == [
        {
            "name": "tool.output",
            "time_unix_nano": TIME_NS,
            "attributes": {
                "output": "<content>",
                "tool_name": "Bash",
                "lines": 1,
                "ok": True,
                "held": "<REDACTED>",
                "parts": '"<content>"',
            },
        }
    ]
    assert [(r["field"], r["text"]) for r in found[1:]] == [
        ("tool.output.output", "total 0"),
        ("tool.output.parts", '["a"]'),
    ]


def test_links_are_kept() -> None:
    link = {
        "traceId": "26cfcfdf49ccb1c13048a9c205eeeed1",
        "spanId": "83b7ab7ee87e0c09",
        "attributes": attributes({"a": 1}),
    }
    assert json.loads(row({}, links=[link])["links_json"]) == [
        {"trace_id": link["traceId"], "span_id": link["spanId"], "attributes": {"a": 1}}
    ]


def test_a_file_is_taken_from_the_attribute_before_the_json() -> None:
    assert row({"tool_input": '{"file_path": "/a"}'})["file_path"] == "/a"
    assert row({"tool_input": '{"file_path": "/a"}', "file_path": "/b"})["file_path"] == "/b"


def test_key_and_traceparent() -> None:
    message = decoded("traces", spans(span({"session.id": "s-1"}, flags=1))).entries[0].messages[0]
    assert (message.topic, message.key) == ("spans", b"acme\x1fs-1")
    assert dict(message.headers)["traceparent"] == b"00-26cfcfdf49ccb1c13048a9c205eeeed1-5a1e2b3c4d5e6f70-01"


VALUES = st.text(st.characters(exclude_categories=("Cs",)), max_size=300) | st.integers(-9, 9) | st.booleans()
NAMES = st.sampled_from(["tool_name", "user_prompt", "duration_ms", "success", "unknown", "tool_input", "file_path"])


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES), st.integers(0, 5), st.integers(0, 2))
def test_the_same_span_is_the_same_over_every_transport(
    own: dict[str, Any], inner: dict[str, Any], kind: int, status: int
) -> None:
    events = [{"name": "tool.output", "timeUnixNano": str(TIME_NS), "attributes": attributes(inner)}]
    document = spans(span(own, kind=kind, status={"code": status}, events=events), resource={"team.id": "t"})
    found = [otlp.transcode("traces", kind, body, CONTEXT) for kind, body in transports("traces", document)]
    assert len(found[0].entries) == 1
    assert all(each == found[0] for each in found[1:])
