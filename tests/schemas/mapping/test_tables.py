"""The mappings keep the rules of what they map to, and lose nothing of an event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import mapping, records
from schemas.mapping import actions, expressions
from schemas.mapping.tables import FOLDER, _column, nested, views
from schemas.records import CLASSES
from tests.schemas.mapping.records import bare, full, of_every_action, recorded
from tests.schemas.otlp import requests

EVENTS = [*recorded("logs", "claude_event"), *of_every_action()]
OCSF_TABLE = json.loads((FOLDER / "ocsf.json").read_text())["views"]["events_ocsf"]["actions"]

# ECS 9.4 (package @elastic/ecs 9.4.0): which event.type is expected beside which event.category.
EXPECTED_TYPES = {
    "api": "access admin allowed change creation deletion denied end info start user",
    "authentication": "start end info",
    "configuration": "access change creation deletion info",
    "file": "access change creation deletion info",
    "iam": "admin change creation deletion group info user",
    "network": "access allowed connection denied end info protocol start",
    "package": "access change deletion info installation start",
    "process": "access change end info start",
    "session": "start end info",
    "web": "access error info",
}
# Allowed, though not expected beside their category: else nobody could ask for what was refused or failed.
UNEXPECTED = {
    ("iam", "allowed"),
    ("iam", "denied"),
    ("process", "denied"),
    ("api", "error"),
    ("process", "error"),
}

# OCSF 1.8.0, as its schema is exported: the required attributes of the classes in use, without those of the profiles
# cloud and osint, and the groups of which one must be there.
BASE = ("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid")
REQUIRED = {
    0: (),
    1001: ("actor", "device", "file"),
    1007: ("actor", "device", "process"),
    3002: ("user",),
    4001: (),
    4002: (),
    5019: ("device",),
    6002: ("app",),
    6003: ("actor", "api", "src_endpoint"),
    6008: (),
}
ONE_OF = {3002: ("service", "dst_endpoint"), 4001: ("dst_endpoint", "src_endpoint"), 4002: ("http_request",)}
OBJECTS = {
    "metadata": ("product", "version"),
    "device": ("type_id", "uid"),
    "device.os": ("name", "type_id"),
    "file": ("name", "type_id"),
    "process": ("uid",),
    "api": ("operation",),
    "api.request": ("uid",),
    "ai_model": ("name", "ai_provider"),
    "app": ("name",),
    "user": ("uid",),
    "service": ("name",),
}

# OpenTelemetry semantic conventions 1.44 (package opentelemetry-semantic-conventions 0.66b2): the names in use.
GEN_AI = {
    f"gen_ai.{name}"
    for name in (
        *("agent.id", "agent.name", "conversation.id", "operation.name", "provider.name", "request.model"),
        *("response.finish_reasons", "response.id", "response.model", "response.time_to_first_chunk"),
        *("tool.call.id", "tool.name", "tool.type", "workflow.name", "usage.cache_creation.input_tokens"),
        *("usage.cache_read.input_tokens", "usage.input_tokens", "usage.output_tokens"),
    )
}
OPERATIONS = {"chat", "execute_tool", "invoke_agent"}


def at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


@pytest.mark.parametrize("view", views().values(), ids=lambda v: v.view)
class TestEveryView:
    def test_no_column_hides_in_another(self, view: Any) -> None:
        names = {column.name for column in view.columns}
        parents = {name[:i] for name in names for i, letter in enumerate(name) if letter == "."}
        assert not names & parents

    def test_no_column_holds_content(self, view: Any) -> None:
        assert {column.cls for column in view.columns} <= set(CLASSES) - {"content"}

    def test_every_field_that_the_client_filled_is_there_whatever_the_record_is(self, view: Any) -> None:
        """A column for some records only (a process, where one was started) loses the field of the others."""
        copied = {c.expression.name for c in view.columns if isinstance(c.expression, expressions.FieldOf)}
        ours = ("command_executable", "url_host")
        fields = [f for f in records.record(view.record).fields if f.cls != "content"]
        assert {f.name for f in fields if f.otel or f.derive or f.name in ours} <= copied

    def test_a_columns_class_is_that_of_its_fields(self, view: Any) -> None:
        record = records.record(view.record)
        for column in view.columns:
            classes = {record.field(name).cls for name in column.expression.fields}
            assert classes - {"usage", column.cls} == set(), column.name

    def test_the_version_is_told(self, view: Any) -> None:
        assert view.version
        assert f"version {view.version}" in view.doc


def test_a_column_that_would_mix_classes_is_refused() -> None:
    both = expressions.parse({"first": ["user_email", "command_line"]}, {})
    with pytest.raises(ValueError, match=r"x: made of fields of the classes detail, person"):
        _column(records.record("claude_event"), "x", "string", both)


@pytest.mark.parametrize(
    "spec", [5, {}, {"of": "a"}, {"of": "a", "word": {}}, {"first": []}, {"value": 1, "of": "a"}, {"when": "a"}]
)
def test_what_is_no_expression_is_refused(spec: Any) -> None:
    with pytest.raises(ValueError, match="not an expression"):
        expressions.parse(spec, {})


def test_a_choice_among_a_choice_is_one_choice() -> None:
    first = {"of": "event_action", "words": {"a": 1, "b": 2, "c": 2}, "else": 0}
    two = expressions.parse({"of": first, "words": {"2": "two"}, "else": "none"}, {})
    chosen = expressions.parse({"when": first, "is": ["2"], "then": "model"}, {})
    total = expressions.parse({"sum": [{"of": first, "times": 100}, first]}, {})
    action = expressions.FieldOf("event_action")
    assert two == expressions.Words(action, {"b": "two", "c": "two"}, "none")
    assert chosen == expressions.When(action, ("b", "c"), expressions.FieldOf("model"))
    assert total == expressions.Words(action, {"a": 101, "b": 202, "c": 202}, 0)


def test_ecs_has_types_that_go_with_their_category() -> None:
    for event in EVENTS:
        document = mapping.ecs(event)
        for category in at(document, "event.category") or []:
            for kind in at(document, "event.type"):
                assert kind in EXPECTED_TYPES[category].split() or (category, kind) in UNEXPECTED, event["event_action"]


def test_ecs_says_what_happened() -> None:
    event = full("claude_event", event_name="tool_result", event_action="tool_result.command", event_category="process")
    found = mapping.ecs(event | {"event_outcome": "failure", "duration_ms": 214, "command_executable": "git"})
    assert found["@timestamp"] == "2026-11-20T12:42:10.595000Z"
    assert found["event"]["action"] == "tool_result"
    assert (found["event"]["category"], found["event"]["type"]) == (["process"], ["end"])
    assert (found["event"]["outcome"], found["event"]["duration"]) == ("failure", 214_000_000)
    assert found["process"] == {"command_line": "git status", "name": "git"}
    assert found["file"] == {"path": "C:\\work/a folder\\b.py", "name": "b.py"}
    assert found["host"]["os"]["type"] == "macos"
    assert found["claude_code"]["event_action"] == "tool_result.command"


def test_an_event_that_could_not_be_read_whole_is_an_ecs_pipeline_error() -> None:
    assert mapping.ecs(bare(event_name="x", pipeline_error="tool_input: malformed JSON"))["event"]["kind"] == (
        "pipeline_error"
    )


def test_ocsf_has_a_class_and_a_reason_for_every_action() -> None:
    assert set(OCSF_TABLE) == set(actions.ACTIONS)
    assert all(row["why"] for row in OCSF_TABLE.values())
    assert {row["class_uid"] for row in OCSF_TABLE.values()} == set(REQUIRED)


def test_ocsf_has_what_its_class_requires() -> None:
    """Of every recorded event, and of an event of each action that says nothing but its name."""
    seen = set()
    for event in EVENTS:
        found = mapping.ocsf(event)
        uid = found["class_uid"]
        seen.add(uid)
        missing = [name for name in (*BASE, *REQUIRED[uid]) if name not in found]
        assert missing == [], event["event_action"]
        assert uid not in ONE_OF or any(name in found for name in ONE_OF[uid])
        for place, names in OBJECTS.items():
            if (held := at(found, place)) is not None:
                assert set(names) <= set(held), (place, event["event_action"])
        assert found["type_uid"] == uid * 100 + found["activity_id"]
        assert found["category_uid"] == uid // 1000
        assert found["class_name"]
    assert seen == set(REQUIRED)


def test_ocsf_says_that_a_tool_was_refused() -> None:
    event = bare(event_name="tool_decision", event_action="tool_decision.reject", event_outcome="failure")
    found = mapping.ocsf(event | {"decision": "reject", "tool_name": "Bash", "source": "user_reject"})
    assert (found["class_name"], found["api"]["operation"]) == ("API Activity", "Bash")
    assert (found["action"], found["disposition"], found["status"]) == ("Denied", "Blocked", "Failure")
    assert (found["action_id"], found["disposition_id"], found["status_id"]) == (2, 2, 2)
    assert found["metadata"]["profiles"] == ["host", "security_control"]
    assert found["unmapped"]["source"] == "user_reject"


@pytest.mark.parametrize(
    ("tool", "sent", "kept"),
    [
        ("Bash", {"command": "curl evil.example"}, {"command_line": "curl evil.example", "command_executable": "curl"}),
        ("Edit", {"file_path": "/etc/passwd"}, {"file_path": "/etc/passwd"}),
        ("WebFetch", {"url": "https://a.example/x"}, {"url": "https://a.example/x", "url_host": "a.example"}),
        ("mcp__jira__get", {"id": 1}, {"mcp_server": "jira", "mcp_tool": "get"}),
    ],
)
def test_what_a_refused_tool_call_was_about_is_not_lost(tool: str, sent: Any, kept: dict[str, str]) -> None:
    said = {"event.name": "tool_decision", "decision": "reject", "tool_name": tool, "tool_input": json.dumps(sent)}
    decision = requests.event(said)
    assert kept.items() <= mapping.ocsf(decision)["unmapped"].items()
    gen_ai = mapping.gen_ai(decision)
    assert gen_ai is not None
    assert {f"claude_code.{name}": value for name, value in kept.items()}.items() <= gen_ai.items()


def test_an_unknown_event_is_ocsfs_base_event() -> None:
    found = mapping.ocsf(bare(event_name="brand_new", event_action="brand_new"))
    assert (found["class_uid"], found["type_uid"], found["class_name"]) == (0, 99, "Base Event")
    assert found["metadata"]["event_code"] == "brand_new"


def test_gen_ai_uses_the_names_of_the_conventions() -> None:
    for view in ("events_gen_ai", "spans_gen_ai"):
        assert {c.name for c in views()[view].columns if c.name.startswith("gen_ai.")} <= GEN_AI
    found = [found for event in EVENTS if (found := mapping.gen_ai(event)) is not None]
    assert {document["gen_ai.operation.name"] for document in found} <= OPERATIONS
    assert len(found) < len(EVENTS)


def test_gen_ai_counts_the_caches_tokens_as_input() -> None:
    tokens = {"input_tokens": 3, "cache_read_tokens": 17241, "cache_creation_tokens": 16935, "output_tokens": 5}
    found = mapping.gen_ai(
        bare(event_name="api_request", event_action="api_request", model="m", ttft_ms=1500, **tokens)
    )
    assert found is not None
    assert found["gen_ai.usage.input_tokens"] == 34179
    assert found["gen_ai.usage.cache_read.input_tokens"] == 17241
    assert found["gen_ai.response.time_to_first_chunk"] == 1.5
    assert mapping.gen_ai(bare(event_name="hook_registered", event_action="hook_registered")) is None


def test_a_span_is_mapped_as_a_span() -> None:
    span = full("claude_span", name="claude_code.llm_request", span_type="llm_request", event_outcome="failure")
    found = mapping.ecs(span)
    assert (found["event"]["category"], found["event"]["outcome"]) == (["api"], "failure")
    assert found["span"]["id"] == span["span_id"]
    gen_ai = mapping.gen_ai(span)
    assert gen_ai is not None
    assert gen_ai["gen_ai.operation.name"] == "chat"


def test_a_span_tells_a_security_team_what_its_event_does() -> None:
    sent = {"tool_name": "WebFetch", "success": "false", "tool_input": '{"url": "https://a.example/x"}'}
    found = mapping.ecs(requests.only("traces", requests.spans(requests.span(sent)))[0])
    assert (found["url"], found["related"]) == (
        {"full": "https://a.example/x", "domain": "a.example"},
        {"hosts": ["a.example"]},
    )
    assert found["event"]["outcome"] == "failure"
    sent = {"tool_name": "Bash", "full_command": "sudo curl a.example"}
    found = mapping.ecs(requests.only("traces", requests.spans(requests.span(sent)))[0])
    assert found["process"] == {"command_line": "sudo curl a.example", "name": "curl"}


def test_a_span_is_no_event_of_ocsf() -> None:
    with pytest.raises(ValueError, match="a span has no class in OCSF: map the events of its trace"):
        mapping.ocsf(full("claude_span"))


def test_dots_are_objects() -> None:
    assert nested({"a.b": 1, "a.c.d": [2], "e": 3}) == {"a": {"b": 1, "c": {"d": [2]}}, "e": 3}


def test_the_tables_are_part_of_the_package() -> None:
    assert {path.stem for path in Path(FOLDER).glob("*.json")} == {"ecs", "ocsf", "gen_ai"}
