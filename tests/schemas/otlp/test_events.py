"""Log records to ClaudeEvent and ClaudeContent."""

import dataclasses
import json
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import otlp, records
from schemas.otlp import content
from schemas.topics import make_key
from tests.schemas.otlp.requests import (
    CONTEXT,
    RECEIVED_US,
    TIME_NS,
    TIME_US,
    any_value,
    as_json,
    attributes,
    decoded,
    event,
    log,
    logs,
    metric,
    only,
    records_of,
    span,
    spans,
    transports,
)

PROMPT = {"event.name": "user_prompt", "session.id": "s-1", "event.sequence": 4, "user.id": "u-1"}
EVENT = records.record("claude_event")


class TestIdentity:
    def test_the_id_is_blake2b_over_the_documented_parts(self) -> None:
        parts = ("acme", "s-1", "tool_result", "4", str(TIME_NS), "toolu_1", "")
        digest = blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()
        values = {**PROMPT, "event.name": "tool_result", "tool_use_id": "toolu_1"}
        assert event(values)["event_id"].replace("-", "") == digest

    def test_an_event_without_sequence_is_told_apart_by_its_attributes(self) -> None:
        old = {"event.name": "user_prompt", "session.id": "s-1"}
        ids = {event({**old, **extra})["event_id"] for extra in ({}, {"prompt_length": 1}, {"prompt_length": 2})}
        assert len(ids) == 3
        assert event({**old, "prompt_length": "2"})["event_id"] in ids

    def test_an_event_with_sequence_keeps_its_id_when_a_router_adds_an_attribute(self) -> None:
        assert event(PROMPT)["event_id"] == event({**PROMPT, "collector": "eu-1"})["event_id"]

    @pytest.mark.parametrize(
        "change",
        [
            {"session.id": "s-2"},
            {"event.name": "summary"},
            {"event.sequence": 5},
            {"tool_use_id": "t"},
            {"request_id": "r"},
        ],
    )
    def test_each_part_counts(self, change: dict[str, Any]) -> None:
        assert event({**PROMPT, **change})["event_id"] != event(PROMPT)["event_id"]

    def test_tenants_never_share_ids_and_user_keys(self) -> None:
        other = dataclasses.replace(CONTEXT, tenant="other", identity_key=b"o" * 32)
        mine, theirs = event(PROMPT), only("logs", logs(log(PROMPT)), other)[0]
        assert mine["event_id"] != theirs["event_id"]
        assert mine["user_key"] != theirs["user_key"]

    def test_the_id_does_not_depend_on_when_it_arrived(self) -> None:
        later = dataclasses.replace(CONTEXT, received_us=RECEIVED_US + 5)
        document = logs(log({"event.name": "x"}, timeUnixNano="0"))
        assert only("logs", document)[0]["event_id"] == only("logs", document, later)[0]["event_id"]

    @pytest.mark.parametrize(
        ("values", "identity"),
        [
            ({"user.account_uuid": "a", "user.email": "e", "user.id": "u"}, "account:a"),
            ({"user.email": "e", "user.id": "u"}, "email:e"),
            ({"user.id": "u"}, "user:u"),
            ({"user.account_uuid": "", "user.id": "u"}, "user:u"),
        ],
    )
    def test_the_user_key_is_of_the_best_identity(self, values: dict[str, Any], identity: str) -> None:
        expected = blake2b(identity.encode(), digest_size=16, key=CONTEXT.identity_key).hexdigest()
        assert event(values)["user_key"] == expected

    def test_without_identity_there_is_no_user_key(self) -> None:
        assert event({"event.name": "x"})["user_key"] is None


class TestNameAndTime:
    @pytest.mark.parametrize(
        ("values", "parts", "name"),
        [
            ({"event.name": "claude_code.user_prompt"}, {}, "user_prompt"),
            ({"event.name": "user_prompt"}, {"eventName": "other", "body": any_value("third")}, "user_prompt"),
            ({}, {"eventName": "claude_code.tool_result", "body": any_value("third")}, "tool_result"),
            ({}, {"body": any_value("claude_code.api_error")}, "api_error"),
            ({"event.name": ""}, {"body": any_value("claude_code.auth")}, "auth"),
            ({"event.name": 5}, {}, "5"),
            ({}, {"body": any_value({"a": 1})}, ""),
            ({}, {}, ""),
        ],
    )
    def test_name(self, values: dict[str, Any], parts: dict[str, Any], name: str) -> None:
        assert event(values, **parts)["event_name"] == name

    def test_the_records_own_time_counts_first(self) -> None:
        found = event(PROMPT, observedTimeUnixNano=str(TIME_NS + 5_000))
        assert (found["event_time"], found["observed_time"]) == (TIME_US, TIME_US + 5)
        assert found["clock_suspect"] is False

    def test_then_the_observed_time(self) -> None:
        found = event(PROMPT, timeUnixNano=0, observedTimeUnixNano=str(TIME_NS + 5_000))
        assert (found["event_time"], found["clock_suspect"]) == (TIME_US + 5, False)

    def test_then_the_clients_timestamp_attribute(self) -> None:
        found = event({**PROMPT, "event.timestamp": "2026-11-20T12:42:10.595Z"}, timeUnixNano=None)
        assert (found["event_time"], found["clock_suspect"]) == (TIME_US, False)

    def test_then_the_gateways_clock_with_a_flag(self) -> None:
        found = event(PROMPT, timeUnixNano="0")
        assert (found["event_time"], found["clock_suspect"]) == (RECEIVED_US, True)

    @pytest.mark.parametrize(
        ("offset_us", "suspect"),
        [(-30 * 86_400_000_000, False), (-30 * 86_400_000_000 - 1, True), (600_000_000, False), (600_000_001, True)],
    )
    def test_a_time_far_from_the_gateways_is_flagged_and_kept(self, offset_us: int, suspect: bool) -> None:
        time_us = RECEIVED_US + offset_us
        found = event(PROMPT, timeUnixNano=str(time_us * 1000))
        assert (found["event_time"], found["clock_suspect"]) == (time_us, suspect)

    @pytest.mark.parametrize(
        "parts",
        [
            {"timeUnixNano": "1"},
            {"timeUnixNano": str(2**64 - 1)},
            {"timeUnixNano": "946684799999999999"},  # the last moment of 1999
            {"timeUnixNano": "0", "observedTimeUnixNano": str(2**64 - 1)},
        ],
    )
    def test_a_time_that_cannot_be_gives_way_to_the_gateways(self, parts: dict[str, Any]) -> None:
        document = logs(log({**PROMPT, "prompt": "p"}, **parts))
        for content_type, body in transports("logs", document):
            found = records_of(otlp.transcode("logs", content_type, body, CONTEXT).entries[0])
            assert [row["event_time"] for row in found] == [RECEIVED_US, RECEIVED_US]
            assert found[0]["clock_suspect"] is True

    @pytest.mark.parametrize("stated", ["1960-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59Z"])
    def test_neither_does_a_timestamp_attribute_state_any_time(self, stated: str) -> None:
        found = event({**PROMPT, "event.timestamp": stated}, timeUnixNano=None)
        assert (found["event_time"], found["clock_suspect"]) == (RECEIVED_US, True)

    def test_the_first_moment_that_can_be_is_kept(self) -> None:
        found = event(PROMPT, timeUnixNano="946684800000000000")
        assert (found["event_time"], found["clock_suspect"]) == (946_684_800_000_000, True)

    def test_the_id_of_an_event_has_its_time_as_stated(self) -> None:
        first, second = (event(PROMPT, timeUnixNano=str(2**64 - n)) for n in (1, 2))
        assert first["event_id"] != second["event_id"]


class TestAttributes:
    def test_the_wire_lies_about_types(self) -> None:
        assert event({"duration_ms": "56", "success": "true"})["duration_ms"] == 56
        found = event(
            {"duration_ms": 56.0, "success": True, "cost_usd": "0.5", "is_plugin": "false", "error_code": -32000}
        )
        assert (found["duration_ms"], found["success"], found["cost_usd"]) == (56, True, 0.5)
        assert (found["is_plugin"], found["error_code"]) == (False, "-32000")
        assert found["coercion_errors"] == []

    def test_a_value_that_does_not_fit_stays_and_is_named(self) -> None:
        found = event({"duration_ms": "soon", "input_tokens": 56.5, "success": "perhaps", "cost_usd": float("nan")})
        assert found["attributes"] == {"duration_ms": "soon", "success": "perhaps"}
        assert found["attributes_json"] == {"cost_usd": '{"doubleValue":"NaN"}', "input_tokens": "56.5"}
        assert found["coercion_errors"] == ["cost_usd", "duration_ms", "input_tokens", "success"]
        assert found["duration_ms"] is found["input_tokens"] is found["success"] is found["cost_usd"] is None

    @pytest.mark.parametrize("nothing", ["undefined", ""])
    def test_the_clients_words_for_nothing_are_no_errors(self, nothing: str) -> None:
        found = event({"duration_ms": nothing, "success": nothing})
        assert found["coercion_errors"] == []
        assert found["attributes"] == {"duration_ms": nothing, "success": nothing}

    def test_an_empty_string_is_null_and_kept(self) -> None:
        found = event({"model": "", "session.id": ""})
        assert (found["model"], found["session_id"]) == (None, None)
        assert found["attributes"] == {"model": "", "session.id": ""}

    def test_unknown_attributes_survive_with_their_types(self) -> None:
        values = {
            "a": "text",
            "b": 2**62,
            "c": 1.0,
            "d": True,
            "e": b"\x00\xff",
            "f": ["x", 1],
            "g": {"y": None},
            "h": None,
        }
        found = event({"event.name": "brand_new", **values})
        assert found["event_name"] == "brand_new"
        assert found["attributes"] == {"a": "text"}
        assert found["attributes_json"] == {
            "b": "4611686018427387904",
            "c": "1.0",
            "d": "true",
            "e": '{"bytesValue":"AP8="}',
            "f": '["x",1]',
            "g": '{"y":null}',
            "h": "null",
        }

    def test_a_resource_attribute_fills_the_field_of_a_record_that_lacks_it(self) -> None:
        resource = {"service.name": "claude-code", "team.id": "platform", "session.id": "s-9", "host.cpus": 8}
        found = event({"event.name": "x", "team.id": "own"}, resource=resource)
        assert (found["service_name"], found["team"], found["session_id"]) == ("claude-code", "own", "s-9")
        assert found["resource_attributes"] == {k: v for k, v in resource.items() if k != "host.cpus"}
        assert found["resource_attributes_json"] == {"host.cpus": "8"}
        assert found["attributes"] == {}

    def test_an_empty_attribute_of_the_record_hides_the_resources(self) -> None:
        """As in the ledger: the record's own attribute replaces the resource's, whatever it says."""
        resource = {"user.email": "a@example.com", "workspace.host_paths": ["/a"]}
        found = event({"user.email": "", "workspace.host_paths": None}, resource=resource)
        assert (found["user_email"], found["workspace_host_paths"]) == (None, [])

    def test_scope_and_its_attributes_are_kept(self) -> None:
        document = logs(log(PROMPT), name="scope", version="2", attributes=[{"key": "k", "value": any_value("v")}])
        document["resourceLogs"][0]["schemaUrl"] = "https://example.com/1"
        found = only("logs", document)[0]
        assert (found["scope_name"], found["scope_version"]) == ("scope", "2")
        assert found["schema_url"] == "https://example.com/1"
        assert found["resource_attributes"] == {"otel.scope.k": "v"}

    def test_the_log_records_own_parts_are_kept(self) -> None:
        found = event(
            PROMPT,
            body=any_value({"x": 1}),
            severityNumber="SEVERITY_NUMBER_INFO",
            severityText="INFO",
            traceId="0AF7651916CD43DD8448EB211C80319C",
            spanId="b7ad6b7169203331",
            flags=1,
            droppedAttributesCount=3,
        )
        assert found["log_body"] == '{"x":1}'
        assert (found["severity_number"], found["severity_text"]) == (9, "INFO")
        assert (found["trace_id"], found["span_id"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
        assert (found["trace_flags"], found["dropped_attributes_count"]) == (1, 3)

    def test_an_id_that_is_none_is_kept_and_named(self) -> None:
        found = event(PROMPT, traceId="xyz", spanId="0" * 16)
        assert (found["trace_id"], found["span_id"]) == (None, None)
        assert (found["attributes"], found["coercion_errors"]) == ({"trace_id": "xyz"}, ["trace_id"])

    def test_team_department_and_cost_center_come_from_the_named_attributes(self) -> None:
        context = dataclasses.replace(CONTEXT, team_attribute="squad", cost_center_attribute="kst")
        found = only("logs", logs(log({"squad": "a", "kst": "7", "department": "d", "team.id": "b"})), context)[0]
        assert (found["team"], found["department"], found["cost_center"]) == ("a", "d", "7")
        assert found["attributes"] == {"team.id": "b"}

    @given(st.permutations([("error_type", "a"), ("error.type", "b"), ("x", "c")]))
    def test_of_two_attributes_for_one_field_the_order_of_the_schema_decides(
        self, items: list[tuple[str, str]]
    ) -> None:
        found = event({"event.name": "managed_settings_resolved", **dict(items)})
        assert found["error_type"] == "a"
        assert found["attributes"] == {"error.type": "b", "x": "c"}


class TestContent:
    def test_text_goes_to_the_content_topic_only(self) -> None:
        found = only("logs", logs(log({**PROMPT, "prompt": "secret plan", "team.id": "t", "prompt_length": "11"})))
        assert found[0]["prompt"] == "<content>"
        assert found[1] == {
            "event_id": found[0]["event_id"],
            "trace_id": None,
            "span_id": None,
            "tenant": "acme",
            "event_name": "user_prompt",
            "event_time": TIME_US,
            "received_time": RECEIVED_US,
            "session_id": "s-1",
            "user_key": found[0]["user_key"],
            "team": "t",
            "organization_id": None,
            "field": "prompt",
            "text": "secret plan",
            "body_ref": None,
            "length": 11,
            "truncated": False,
            "parsed": {},
            "route": "hot",
            "policy_version": None,
            "masked": None,
        }

    def test_what_the_client_holds_back_makes_no_row(self) -> None:
        found = only("logs", logs(log({**PROMPT, "prompt": "<REDACTED>"})))
        assert len(found) == 1
        assert found[0]["prompt"] == "<REDACTED>"

    def test_the_answer_to_a_survey_is_no_content_but_a_response_is(self) -> None:
        survey = only("logs", logs(log({"event.name": "feedback_survey", "response": "good"})))
        answer = only("logs", logs(log({"event.name": "assistant_response", "response": "Hello"})))
        other = only("logs", logs(log({"event.name": "brand_new", "response": "Hello"})))
        assert (survey[0]["response"], len(survey)) == ("good", 1)
        assert (answer[0]["response"], answer[1]["text"]) == ("<content>", "Hello")
        assert (other[0]["response"], other[1]["text"]) == ("<content>", "Hello")

    def test_unknown_long_text_is_content(self) -> None:
        found = only("logs", logs(log({"short": "x" * 256, "long": "y" * 257, "tree": {"z": "z" * 300}})))
        assert found[0]["attributes"] == {"short": "x" * 256, "long": "<content>"}
        assert found[0]["attributes_json"] == {"tree": '"<content>"'}
        assert [(row["field"], row["length"]) for row in found[1:]] == [("long", 257), ("tree", 308)]

    def test_a_long_body_of_the_record_is_content(self) -> None:
        found = only("logs", logs(log({"event.name": "x"}, body=any_value("y" * 300))))
        assert (found[0]["log_body"], found[1]["field"], found[1]["text"]) == ("<content>", "log_body", "y" * 300)

    def test_a_body_in_a_file_leaves_its_reference(self) -> None:
        values = {"event.name": "api_request_body", "body_ref": "/tmp/body.json", "body_length": 70_000}
        found = only("logs", logs(log(values)))
        assert (found[0]["body"], found[0]["body_ref"]) == (None, "/tmp/body.json")
        assert (found[1]["field"], found[1]["text"]) == ("body", None)
        assert (found[1]["body_ref"], found[1]["length"]) == ("/tmp/body.json", 70_000)

    def test_a_body_that_the_client_cut_says_so(self) -> None:
        values = {"event.name": "api_request_body", "body": "{", "body_truncated": "true", "body_length": "70000"}
        found = only("logs", logs(log(values)))
        assert (found[1]["text"], found[1]["truncated"], found[1]["body_ref"]) == ("{", True, None)

    def test_no_content_text_is_in_the_event(self) -> None:
        texts = {wire: f"secret {wire}" for wire in ("prompt", "prompt_text", "response", "body", "tool_input")}
        found = decoded("logs", logs(log({"event.name": "x", **texts, "tool_parameters": '{"q": "secret"}'})))
        messages = found.entries[0].messages
        assert b"secret" not in messages[0].value
        assert [m.topic for m in messages] == ["events"] + ["content"] * 6


class TestDerived:
    def test_a_shell_command(self) -> None:
        parameters = {"bash_command": "git", "full_command": "git commit", "git_commit_id": "abc", "timeout": 5}
        found = event({"event.name": "tool_result", "tool_parameters": json.dumps(parameters)})
        assert (found["command_line"], found["git_commit_id"]) == ("git commit", "abc")
        assert found["tool_parameters"] == "<content>"
        assert found["pipeline_error"] is None

    def test_an_mcp_tool(self) -> None:
        parameters = {"mcp_server_name": "memory", "mcp_tool_name": "list"}
        found = event({"event.name": "tool_result", "tool_parameters": json.dumps(parameters), "tool_input": "{}"})
        assert (found["mcp_server"], found["mcp_tool"]) == ("memory", "list")

    def test_files_and_urls(self) -> None:
        assert event({"tool_input": '{"file_path": "/a/b.py"}'})["file_path"] == "/a/b.py"
        assert event({"tool_input": '{"url": "https://example.com"}'})["url"] == "https://example.com"
        assert event({"tool_input": '{"command": "ls"}'})["command_line"] == "ls"

    def test_the_program_of_a_command_and_the_host_of_a_url(self) -> None:
        found = event({"event.name": "tool_result", "tool_parameters": '{"full_command": "cd a && /usr/bin/git log"}'})
        assert (found["command_executable"], found["event_action"]) == ("git", "tool_result.command")
        assert event({"tool_input": '{"url": "https://u:p@Example.com/a"}'})["url_host"] == "example.com"

    def test_an_mcp_tool_by_its_name_alone(self) -> None:
        found = event({"event.name": "tool_decision", "tool_name": "mcp__code_graph__find_callers"})
        assert (found["mcp_server"], found["mcp_tool"]) == ("code_graph", "find_callers")

    def test_parameters_that_a_router_parsed_already(self) -> None:
        found = only("logs", logs(log({"event.name": "tool_result", "tool_parameters": {"full_command": "ls"}})))
        assert found[0]["command_line"] == "ls"
        assert found[1]["text"] == '{"full_command":"ls"}'

    @pytest.mark.parametrize("text", ['{"full_command": "ls', "ls -la", "{'a': 1}", '{"a": ' + "[" * 5000])
    def test_malformed_json_keeps_its_text_and_is_flagged(self, text: str) -> None:
        found = only("logs", logs(log({"event.name": "tool_result", "tool_parameters": text, "tool_input": "{}"})))
        assert found[0]["pipeline_error"] == "tool_parameters: malformed JSON"
        assert found[0]["command_line"] is None
        assert found[1]["text"] == text

    def test_the_content_row_has_the_members_beside_the_text(self) -> None:
        text = '{"full_command": "ls \\u00e9", "timeout": 5, "flags": {"b": [1, null], "a": true}, "none": null}'
        found = only("logs", logs(log({"event.name": "tool_result", "tool_parameters": text})))
        parsed = {"full_command": "ls é", "timeout": "5", "flags": '{"a":true,"b":[1,null]}', "none": "null"}
        assert (found[1]["text"], found[1]["parsed"]) == (text, parsed)

    def test_a_text_that_is_no_object_has_no_members(self) -> None:
        for text in ("[1]", '{"a": ', "ls -la"):
            assert only("logs", logs(log({"tool_input": text})))[1]["parsed"] == {}

    def test_the_members_never_take_more_room_than_the_text(self) -> None:
        """Else a record that its text lets through could be refused for what we made of it."""
        long = '{"content": "' + "x" * 600_000 + '"}'
        found = decoded("logs", logs(log({"event.name": "tool_result", "tool_input": long})))
        assert found.rejections == []
        row = records_of(found.entries[0])[1]
        assert (row["text"], row["parsed"]) == (long, {})
        grows = '{"a": [' + ",".join(["1e15"] * 1000) + "]}"
        assert only("logs", logs(log({"tool_input": grows})))[1]["parsed"] == {}

    def test_members_are_those_of_the_text_that_is_stored(self) -> None:
        """A text that was changed on its way (a secret was masked) is read again: its first form is kept nowhere."""
        first = ('{"token": "secret"}', {"token": "secret"})
        row = content.rows([("tool_input", '{"token": "***"}')], {"tool_input": first})[0]
        assert row["parsed"] == {"token": "***"}
        assert "parsed" not in content.rows([("tool_input", "***")], {"tool_input": first})[0]

    @pytest.mark.parametrize("text", ["[]", "null", "5", '"x"', '{"full_command": {"a": 1}}', '{"full_command": null}'])
    def test_json_of_another_shape_derives_nothing(self, text: str) -> None:
        found = event({"event.name": "tool_result", "tool_parameters": text})
        assert (found["command_line"], found["pipeline_error"]) == (None, None)


class TestMessages:
    def message(self, values: dict[str, Any], **parts: Any) -> otlp.Message:
        return decoded("logs", logs(log(values, **parts), resource={"host.name": "h"})).entries[0].messages[0]

    def test_key_and_headers(self) -> None:
        message = self.message(PROMPT)
        assert (message.topic, message.key, message.partition_key) == ("events", b"acme\x1fs-1", b"acme\x1fs-1")
        assert message.headers == (
            ("event_name", b"user_prompt"),
            ("tenant", b"acme"),
            ("content-type", b"application/avro"),
        )

    def test_without_session_the_user_is_the_key(self) -> None:
        user = event({"user.id": "u-1"})["user_key"]
        assert self.message({"user.id": "u-1"}).key == make_key("acme", user)

    def test_without_session_and_user_the_resource_is_the_key(self) -> None:
        first, second = self.message({"event.name": "x"}), self.message({"event.name": "y"})
        assert first.key == second.key
        assert first.key.startswith(b"acme\x1f")

    def test_a_trace_goes_on_in_the_headers(self) -> None:
        message = self.message(PROMPT, traceId="0af7651916cd43dd8448eb211c80319c", spanId="b7ad6b7169203331", flags=1)
        assert dict(message.headers)["traceparent"] == b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def test_content_rows_go_with_their_event(self) -> None:
        entry = decoded("logs", logs(log({**PROMPT, "prompt": "hi"}))).entries[0]
        assert [(m.topic, m.key) for m in entry.messages] == [("events", b"acme\x1fs-1"), ("content", b"acme\x1fs-1")]

    @pytest.mark.parametrize("session", ["a\x1fb", "\x1f", "s" * 1025])
    @pytest.mark.parametrize("signal", ["logs", "metrics", "traces"])
    @pytest.mark.parametrize("place", ["own", "resource"])
    def test_a_session_id_that_is_no_part_of_a_key_is_rejected_alone(
        self, signal: otlp.Signal, session: str, place: str
    ) -> None:
        documents = {
            "logs": lambda own, resource: logs(log(own), resource=resource),
            "metrics": lambda own, resource: metric(
                "m", {"gauge": {"dataPoints": [{"asInt": "1", "attributes": attributes(own)}]}}, resource
            ),
            "traces": lambda own, resource: spans(span(own), resource=resource),
        }
        bad, good = ({"session.id": session}, {}), ({"session.id": "s-1"}, {})
        document = documents[signal](*(bad if place == "own" else bad[::-1]))
        for groups, others in zip(document.values(), documents[signal](*good).values(), strict=True):
            groups += others
        for content_type, body in transports(signal, document):
            found = otlp.transcode(signal, content_type, body, CONTEXT)
            assert [entry.messages[0].key for entry in found.entries] == [b"acme\x1fs-1"]
            assert [(r.reason, r.signal) for r in found.rejections] == [("invalid_id", signal)]
            assert len(found.rejections[0].error) < 500

    @pytest.mark.parametrize("session", ["a\0b", "\0", "s" * 1024, "\ufffd", "a\n\x1eb"])
    def test_any_other_session_id_has_a_key_of_its_own(self, session: str) -> None:
        assert self.message({"session.id": session}).key == b"acme\x1f" + session.encode()

    @pytest.mark.parametrize(
        ("wire", "field"),
        [
            *(("user.id", "user_id"), ("user.email", "user_email"), ("user.account_uuid", "user_account_uuid")),
            *(("organization.id", "organization_id"), ("team.id", "team"), ("cost_center", "cost_center")),
        ],
    )
    def test_other_ids_that_are_too_long_do_not_fit_their_fields(self, wire: str, field: str) -> None:
        found = only("logs", logs(log({"session.id": "s", wire: "x" * 1025}), resource={wire: "own"}))
        assert (found[0][field], found[0]["coercion_errors"], found[0]["user_key"]) == (None, [wire], None)
        assert (found[1]["field"], found[1]["length"]) == (wire, 1025)
        found = only("logs", logs(log({"session.id": "s"}), resource={wire: "x" * 1025}))
        assert (found[0][field], found[0]["user_key"]) == (None, None)
        assert event({wire: "x" * 1024})[field] == "x" * 1024


NAMES = st.sampled_from(
    [*(wire for f in EVENT.fields for wire in f.otel if ":" not in wire), "unknown.one", "unknown.two", "unknown.three"]
)
# 0x1F in a session id rejects the record: tested elsewhere.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x1f"), max_size=300)
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    st.none(),
    st.sampled_from(["56", "true", "undefined", "", "56.5", "<REDACTED>", '{"full_command": "ls"}', "{broken"]),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(TEXT, SCALARS, max_size=3)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=12)
TIMES = st.just(0) | st.integers(0, 2**64 - 1) | st.just(TIME_NS)


@given(ATTRIBUTES, ATTRIBUTES, TIMES, st.none() | VALUES)
@settings(max_examples=300)
def test_the_same_record_is_the_same_over_every_transport(
    own: dict[str, Any], resource: dict[str, Any], time: int, body: Any
) -> None:
    parts = {"timeUnixNano": str(time)} | ({} if body is None else {"body": any_value(body)})
    document = logs(log(own, **parts), resource=resource)
    found = [otlp.transcode("logs", kind, data, CONTEXT) for kind, data in transports("logs", document)]
    assert found[0].rejections == []
    assert all(each.entries == found[0].entries for each in found[1:])


@given(ATTRIBUTES, st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_order_of_attributes_does_not_matter(own: dict[str, Any], random: Any) -> None:
    items = list(own.items())
    random.shuffle(items)
    one, other = (only("logs", logs(log(values))) for values in (own, dict(items)))
    assert one[0] == other[0]
    key = lambda row: (row["field"], row["text"] or "")  # noqa: E731
    assert sorted(one[1:], key=key) == sorted(other[1:], key=key)


@given(ATTRIBUTES)
@settings(max_examples=200)
def test_nothing_is_lost(own: dict[str, Any]) -> None:
    """Every attribute is in a field, a map or on the content topic."""
    rows = only("logs", logs(log(own)))
    event_row = rows[0]
    by_wire = {wire.rpartition(":")[2]: f.name for f in EVENT.fields for wire in f.otel}
    for wire in own:
        field = by_wire.get(wire)
        kept = wire in event_row["attributes"] or wire in event_row["attributes_json"]
        assert kept or (field and event_row[field] is not None), wire


def test_an_entry_of_every_record_of_a_request() -> None:
    document = logs(*(log({**PROMPT, "event.sequence": n}) for n in range(50)))
    found = otlp.transcode("logs", otlp.JSON, as_json(document), CONTEXT)
    assert [records_of(entry)[0]["event_sequence"] for entry in found.entries] == list(range(50))
