"""What the records of a request become under a tenant's policy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas import codec, otlp
from schemas.policy import Policy
from schemas.policy.policy import MASKABLE
from schemas.records import Class
from schemas.topics import CATALOGUE
from tests.schemas.otlp.requests import (
    CONTEXT,
    any_value,
    as_json,
    as_protobuf,
    attributes,
    log,
    logs,
    metric,
    span,
    spans,
)

KEY = "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa"
PERSON = {"user.email": "ada@example.com", "user.id": "u1", "user.groups": ["a", "b"]}
BASE = {"event.name": "tool_result", "session.id": "s1", "event.sequence": 1}


def stored(document: dict[str, Any], chosen: Policy | None = None, signal: str = "logs") -> dict[str, list[Any]]:
    """topic → records."""
    context = CONTEXT if chosen is None else replace(CONTEXT, policy=chosen, hash_key=b"h" * 32)
    decoded = otlp.transcode(signal, otlp.JSON, as_json(document), context)  # type: ignore[arg-type]
    assert not decoded.rejections
    found: dict[str, list[Any]] = {}
    for message in (message for entry in decoded.entries for message in entry.messages):
        found.setdefault(message.topic, []).append(codec.decode(CATALOGUE[message.topic].record, message.value))
    return found


def messages(document: dict[str, Any], chosen: Policy | None) -> list[otlp.Message]:
    context = CONTEXT if chosen is None else replace(CONTEXT, policy=chosen, hash_key=b"h" * 32)
    return [m for e in otlp.transcode("logs", otlp.JSON, as_json(document), context).entries for m in e.messages]


def test_without_a_policy_all_is_kept_and_only_secrets_are_masked() -> None:
    values = BASE | PERSON | {"error": f"bad key {KEY}", "tool_input": json.dumps({"command": f"run --with {KEY}"})}
    found = stored(logs(log(values)))
    (event,), (text,) = found["events"], found["content"]
    assert event["user_email"] == "ada@example.com"
    assert event["error"] == "bad key <MASKED:anthropic-key>"
    assert event["command_line"] == "run --with <MASKED:anthropic-key>"
    assert json.loads(text["text"]) == {"command": "run --with <MASKED:anthropic-key>"}
    assert (event["masked"], text["masked"], event["policy_version"]) == (2, 1, None)
    assert text["length"] == len(values["tool_input"])


def test_masks_are_counted_by_rule_and_may_be_off() -> None:
    body = as_json(logs(log(BASE | {"error": f"{KEY} and {KEY}"})))
    assert otlp.transcode("logs", otlp.JSON, body, CONTEXT).masked == {"anthropic-key": 2}
    (event,) = stored(logs(log(BASE | {"error": KEY})), Policy(1, mask={"detail": False}))["events"]
    assert (event["error"], event["masked"], event["policy_version"]) == (KEY, None, 1)


def test_ids_keys_and_user_keys_are_those_of_what_was_sent() -> None:
    document = logs(log(BASE | PERSON | {"prompt": "hello"}), resource=PERSON)
    plain = messages(document, None)
    for action in ("drop", "hash"):
        changed = messages(document, Policy(1, classes=dict.fromkeys(("usage", "person", "detail"), action)))  # type: ignore[arg-type]
        assert [(m.key, m.headers) for m in plain] == [(m.key, m.headers) for m in changed]
        before, after = (codec.decode("claude_event", m[0].value) for m in (plain, changed))
        assert [before[n] for n in ("event_id", "user_key", "session_id", "event_sequence", "event_time")] == [
            after[n] for n in ("event_id", "user_key", "session_id", "event_sequence", "event_time")
        ]


def test_a_dropped_class_is_gone_from_fields_maps_trees_and_resource() -> None:
    values = BASE | PERSON | {"novel": {"user.email": "ada@example.com", "n": 1}, "long": {"user.email": "x" * 300}}
    found = stored(logs(log(values), resource=PERSON | {"host": "h"}), Policy(1, classes={"person": "drop"}))
    (event,) = found["events"]
    assert [event[n] for n in ("user_email", "user_id", "user_groups")] == [None, None, []]
    assert event["resource_attributes"] == {"host": "h"}
    assert event["attributes_json"] == {"novel": '{"n":1}', "long": "{}"}
    assert "ada@" not in repr(found)


def test_hashing_changes_texts_and_drops_what_is_none() -> None:
    values = BASE | PERSON | {"novel": "text", "error": "<REDACTED>"}
    chosen = Policy(1, classes={"person": "hash", "detail": "hash", "usage": "hash"})
    (event,) = stored(logs(log(values | {"duration_ms": 5})), chosen)["events"]
    (again,) = stored(logs(log(values | {"duration_ms": 6})), chosen)["events"]
    assert event["user_email"] == again["user_email"]
    assert event["user_email"].startswith("h:identity:")
    assert event["attributes"]["novel"].startswith("h:identity:")
    assert (event["user_groups"], event["duration_ms"], event["error"]) == ([], None, "<REDACTED>")


def test_dropped_content_leaves_neither_row_nor_mark_but_its_length_and_its_reference() -> None:
    chosen = Policy(1, classes={"content": "drop"})
    values = BASE | {"event.name": "user_prompt", "prompt": "secret plan", "prompt_length": 11, "novel": "x" * 300}
    found = stored(logs(log(values)), chosen)
    (event,) = found["events"]
    assert "content" not in found
    assert (event["prompt"], event["prompt_length"], event["attributes"]) == (None, 11, {})
    body = BASE | {"event.name": "api_request_body", "body": "b", "body_ref": "/tmp/b", "body_length": 99}
    (row,) = stored(logs(log(body)), chosen)["content"]
    assert (row["text"], row["body_ref"], row["length"]) == (None, "/tmp/b", 99)


def test_an_override_is_stronger_than_the_class() -> None:
    values = BASE | PERSON | {"prompt": "p", "tool_input": "{}", "a": "1", "b": "2"}
    fields = {"user_email": "keep", "prompt": "keep", "attributes.a": "drop", "team": "hash"}
    chosen = Policy(1, classes={"person": "drop", "content": "drop"}, fields=fields)  # type: ignore[arg-type]
    found = stored(logs(log(values | {"team.id": "core"})), chosen)
    (event,), (row,) = found["events"], found["content"]
    assert (event["user_email"], event["user_id"], event["attributes"]) == ("ada@example.com", None, {"b": "2"})
    assert (row["field"], row["text"]) == ("prompt", "p")
    assert event["team"] == row["team"] != "core"


def test_what_the_client_holds_back_is_told_apart_from_what_is_absent() -> None:
    values = BASE | {
        "prompt": "<REDACTED>",
        "user.email": "<REDACTED>",
        "novel": "<REDACTED>",
        "duration_ms": "<REDACTED>",
    }
    values["tool_parameters"] = json.dumps({"full_command": "<REDACTED>"})
    (event,) = stored(logs(log(values), resource={"vcs.owner.name": "<REDACTED>"}))["events"]
    assert event["held_back"] == ["command_line", "duration_ms", "novel", "prompt", "user_email", "vcs_owner_name"]
    assert (event["prompt"], event["prompt_text"], event["user_key"]) == ("<REDACTED>", None, None)
    assert event["coercion_errors"] == []


def test_thinking_is_stored_in_no_record() -> None:
    thought = json.dumps({"content": [{"type": "thinking", "thinking": "THOUGHT"}, {"type": "text", "text": "said"}]})
    cut = thought[: thought.index("THOUGHT") + 4]
    for text in (thought, cut, json.dumps({"file": thought})):
        values = BASE | {"body": text, "short": text, "x.thinking": "THOUGHT", "error": text}
        event = {
            "name": "tool.output",
            "timeUnixNano": "1",
            "attributes": [{"key": "output", "value": {"stringValue": text}}],
        }
        for found in (
            stored(logs(log(values, body={"stringValue": text}))),
            stored(spans(span({"tool_input": text}, events=[event])), signal="traces"),
            stored(
                metric("m", {"gauge": {"dataPoints": [{"asInt": "1", "attributes": log(values)["attributes"]}]}}),
                signal="metrics",
            ),
        ):
            assert "THOU" not in repr(found)
            assert "<THINKING:1>" in repr(found)


def test_the_original_of_a_rejected_record_is_kept_only_where_all_is_kept() -> None:
    rejection = otlp.Rejection("invalid_id", "no id", f"prompt ada {KEY}".encode(), "logs", otlp.JSON)
    record = codec.decode("rejected", otlp.rejected_message(rejection, CONTEXT, "gateway").value)
    assert record["original"] == b"prompt ada <MASKED:anthropic-key>"
    for chosen in (Policy(1, classes={"content": "drop"}), Policy(1, fields={"user_email": "hash"})):
        message = otlp.rejected_message(rejection, replace(CONTEXT, policy=chosen), "gateway")
        other = codec.decode("rejected", message.value)
        assert other["original"] == b""
        assert (
            (other["length"], other["sha256"])
            == (record["length"], record["sha256"])
            == (len(rejection.original), other["sha256"])
        )
        assert "keeps no original" in other["error"]


def test_no_error_repeats_what_was_sent() -> None:
    text = "a prompt " * 200
    for value in (
        {"intValue": text},
        {"doubleValue": text},
        {"boolValue": text},
        {"bytesValue": text},
        {"kvlistValue": text},
    ):
        record = {"attributes": [{"key": "prompt", "value": value}]}
        (rejection,) = otlp.transcode("logs", otlp.JSON, as_json(logs(record)), CONTEXT).rejections
        assert "prompt" not in rejection.error
    (rejection,) = otlp.transcode("logs", otlp.JSON, as_json(logs(log({"session.id": text}))), CONTEXT).rejections
    assert "prompt" not in rejection.error
    bad = spans(span({}, traceId=text))
    (rejection,) = otlp.transcode("traces", otlp.JSON, as_json(bad), CONTEXT).rejections
    assert "prompt" not in rejection.error


def test_the_parsed_map_has_what_the_stored_text_has() -> None:
    values = BASE | {"tool_input": json.dumps({"command": f"run --with {KEY}", "n": 1})}
    (row,) = stored(logs(log(values)))["content"]
    assert row["parsed"] == {"command": "run --with <MASKED:anthropic-key>", "n": "1"}
    (row,) = stored(logs(log(values)), Policy(1, classes={"content": "hash"}))["content"]
    assert row["text"].startswith("h:identity:")
    assert row["parsed"] == {}


FREE = "please fix the billing of ada@example.com"


@pytest.mark.parametrize("body", [FREE, "fix the billing", f"claude_code.{FREE}", KEY])
def test_a_body_that_is_no_name_is_neither_the_name_of_its_event_nor_of_class_usage(body: str) -> None:
    document = logs(log({"session.id": "s1"}, body={"stringValue": body}))
    found = stored(document)
    (event,), (row,) = found["events"], found["content"]
    assert (event["event_name"], event["event_action"]) == ("<content>", "<content>")
    assert (row["field"], row["event_name"]) == ("event_name", "<content>")
    assert row["text"] == body.removeprefix("claude_code.").replace(KEY, "<MASKED:anthropic-key>")
    assert messages(document, None)[0].headers[0] == ("event_name", b"<content>")
    found = stored(document, Policy(1, classes={"detail": "drop"}))
    assert (found["events"][0]["log_body"], found.get("content")) == (None, None)


def test_a_body_that_is_a_name_is_the_name() -> None:
    for name in ("claude_code.user_prompt", "user_prompt"):
        (event,) = stored(logs(log({"session.id": "s1"}, body={"stringValue": name})))["events"]
        assert (event["event_name"], event["log_body"]) == ("user_prompt", name)
    (event,) = stored(logs(log(BASE | {"event.name": "hook was run"})))["events"]
    assert event["event_name"] == "hook was run"


def test_a_severity_that_is_a_text_is_content() -> None:
    found = stored(logs(log(BASE, severityText=FREE)))
    assert found["events"][0]["severity_text"] == "<content>"
    assert [(row["field"], row["text"]) for row in found["content"]] == [("severity_text", FREE)]
    assert stored(logs(log(BASE, severityText="WARN2")))["events"][0]["severity_text"] == "WARN2"


def test_secrets_in_names_are_masked_and_counted() -> None:
    found = stored(metric(f"m {KEY}", {"gauge": {"dataPoints": [{"asInt": "1"}]}}, unit=KEY), signal="metrics")
    (point,) = found["metrics"]
    assert (point["metric"], point["metric_unit"]) == ("m <MASKED:anthropic-key>", "<MASKED:anthropic-key>")
    assert point["masked"] == 2
    (one,) = stored(spans(span({}, name=KEY)), signal="traces")["spans"]
    assert one["name"] == "<MASKED:anthropic-key>"
    (event,) = stored(logs(log(BASE | {f"k {KEY}": "x"}), resource={f"k {KEY}": "x"}, name=KEY))["events"]
    assert (event["attributes"], event["masked"]) == ({"k <MASKED:anthropic-key>": "x"}, 3)
    assert KEY not in repr(event)


def test_attributes_of_the_scope_are_under_the_policy_like_any_other() -> None:
    values = {"user.email": "ada@example.com", "user_id": "ada@example.com", "prompt": "PROMPT"}
    document = logs(log(BASE), name="n", attributes=attributes(values | {"note": "kept"}))
    (event,) = stored(document, Policy(1, classes={"person": "drop"}, fields={"prompt": "drop"}))["events"]
    assert event["resource_attributes"] == {"otel.scope.note": "kept"}
    found = stored(document, Policy(1, classes={"person": "drop"}, fields={"prompt": "drop"}))
    assert "content" not in found
    assert "ada@" not in repr(found)
    said = {"resource_attributes.otel.scope.note": "drop"}
    assert "note" not in repr(stored(document, Policy(1, fields=said)))  # type: ignore[arg-type]


LONG = "LONG " * 300


@pytest.mark.parametrize(
    ("sent", "chosen"),
    [
        ({"novel": LONG}, Policy(1, classes={"detail": "drop"})),
        ({"novel": LONG}, Policy(1, fields={"attributes": "drop", "resource_attributes": "drop"})),
        ({LONG: "x"}, Policy(1, classes={"detail": "drop"})),
        ({"organization.id": LONG}, Policy(1, classes={"usage": "drop"})),
        ({"user.id": LONG}, Policy(1, classes={"person": "drop"})),
        ({"event.name": LONG}, Policy(1, classes={"detail": "drop"})),
    ],
)
def test_a_long_text_fares_no_better_than_a_short_one_in_its_place(sent: dict[str, Any], chosen: Policy) -> None:
    document = logs(log(BASE | sent), resource=sent)
    assert LONG in repr(stored(document))
    assert LONG not in repr(stored(document, chosen))


def test_content_is_kept_where_only_details_are_dropped() -> None:
    (row,) = stored(logs(log(BASE | {"prompt": LONG})), Policy(1, classes={"detail": "drop"}))["content"]
    assert row["text"] == LONG
    bad = spans(span({}, status={"code": 2, "message": LONG}))
    assert "content" not in stored(bad, Policy(1, fields={"status_message": "drop"}), "traces")


def test_attributes_named_by_settings_are_under_the_policy_of_their_fields() -> None:
    context = replace(CONTEXT, team_attribute="grp.id", policy=Policy(1, fields={"team": "drop"}), hash_key=b"h" * 32)
    values = {"grp.id": "TEAM", "novel": {"grp.id": "TEAM"}}
    body = as_json(logs(log(BASE | {"grp.id": ["TEAM", 1]}), log(values), resource=values))
    entries = otlp.transcode("logs", otlp.JSON, body, context).entries
    assert len(entries) == 2
    assert not [message for entry in entries for message in entry.messages if b"TEAM" in message.value]


def test_in_trees_a_name_is_known_in_either_spelling() -> None:
    tree = {"novel": {"user_email": "ada@example.com", "deep": [{"user_account_uuid": "ada@example.com"}], "n": 1}}
    found = stored(logs(log(BASE | tree), resource=tree), Policy(1, classes={"person": "drop"}))
    assert found["events"][0]["attributes_json"] == {"novel": '{"deep":[{}],"n":1}'}
    assert "ada@" not in repr(found)


@pytest.mark.parametrize("cls", ["detail", "content"])
def test_secrets_in_the_original_are_masked_if_either_class_is(cls: Class) -> None:
    rejection = otlp.Rejection("invalid_id", "no id", f"prompt {KEY}".encode(), "logs", otlp.JSON)
    for mask, shown in (({cls: False}, b"prompt <MASKED:anthropic-key>"), (dict.fromkeys(MASKABLE, False), None)):
        context = replace(CONTEXT, policy=Policy(1, mask=mask))
        record = codec.decode("rejected", otlp.rejected_message(rejection, context, "gateway").value)
        assert record["original"] == (shown or rejection.original)


@pytest.mark.parametrize("name", ["thinking", "a.thinking", "redacted_thinking", "thinking_delta"])
@pytest.mark.parametrize("thought", ["THOUGHT", ["THOUGHT"], {"text": "THOUGHT"}, b"THOUGHT", 4711])
def test_an_attribute_called_thinking_is_stored_nowhere_whatever_its_type(name: str, thought: Any) -> None:
    values = {name: thought, "novel": {name: thought}, "list": [{name: thought}]}
    event = {"name": "e", "timeUnixNano": "1", "attributes": attributes(values)}
    for document, signal in (
        (
            logs(log(BASE | values, body=any_value(values)), resource=values, name="n", attributes=attributes(values)),
            "logs",
        ),
        (spans(span(values, events=[event], links=[event | {"traceId": "", "spanId": ""}])), "traces"),
    ):
        found = stored(document, signal=signal)
        assert "<THINKING:1>" in repr(found)
        assert not any(word in repr(found) for word in ("THOUGHT", "VEhPVUdIV", "4711"))


@pytest.mark.parametrize("transport", [otlp.JSON, otlp.PROTOBUF])
@pytest.mark.parametrize(
    "values", [{"thinking": "THOUGHT"}, {"x": '{"th\\u0069nking":"THOUGHT"}'}, {"x": {"thinking": ["THOUGHT"]}}]
)
def test_no_original_is_kept_that_may_hold_thinking(values: dict[str, Any], transport: str) -> None:
    document = logs(log({"session.id": "a\x1fb"} | values))
    body = as_json(document) if transport == otlp.JSON else as_protobuf("logs", document)
    (rejection,) = otlp.transcode("logs", transport, body, CONTEXT).rejections
    assert b"THOUGHT" in rejection.original
    record = codec.decode("rejected", otlp.rejected_message(rejection, CONTEXT, "gateway").value)
    assert (record["original"], record["length"]) == (b"", len(rejection.original))
    assert record["error"].endswith("(no original is kept, as it may hold thinking)")


def test_what_is_held_back_in_part_is_named_too() -> None:
    held = "<REDACTED>"
    values = BASE | {"user.groups": [held, "b"], "novel": {"a": [{"b": held}]}, "other": {"a": 1}, f"k {KEY}": held}
    document = logs(log(values, body={"stringValue": held}, severityText=held), resource={"tags": [held]})
    found = stored(document)
    (event,) = found["events"]
    names = ["k <MASKED:anthropic-key>", "log_body", "novel", "severity_text", "tags", "user_groups"]
    assert (event["held_back"], event["severity_text"], "content" in found) == (names, held, False)
    (event,) = stored(logs(log({"session.id": "s1", "event.name": held})))["events"]
    assert (event["event_name"], event["held_back"]) == (held, ["event_name"])
    parts = {
        "events": [{"name": "tool.output", "timeUnixNano": "1", "attributes": attributes({"output": held})}],
        "links": [{"traceId": "", "spanId": "", "attributes": attributes({"note": [held]})}],
        "status": {"code": 2, "message": held},
    }
    (one,) = stored(spans(span({}, **parts)), signal="traces")["spans"]
    assert one["held_back"] == ["links.0.note", "status_message", "tool.output.output"]
    point = {"asInt": "1", "exemplars": [{"asInt": "1", "filteredAttributes": attributes({"note": held})}]}
    (one,) = stored(metric("m", {"gauge": {"dataPoints": [point]}}), signal="metrics")["metrics"]
    assert one["held_back"] == ["exemplars.0.note"]


def test_the_place_of_a_content_row_has_no_secret_in_its_name() -> None:
    event = {"name": "tool.output", "timeUnixNano": "1", "attributes": attributes({f"k {KEY}": "x"})}
    found = stored(spans(span({f"k {KEY}": "x" * 300}, events=[event])), signal="traces")
    assert [row["field"] for row in found["content"]] == [
        "k <MASKED:anthropic-key>",
        "tool.output.k <MASKED:anthropic-key>",
    ]
    assert KEY not in repr(found)
