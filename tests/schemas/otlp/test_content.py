"""What is content is on the content topic only, wherever in a record, its resource or its scope it stands."""

import base64
import json
import time
from typing import Any

import pytest

from schemas import codec, otlp
from schemas.otlp import content
from tests.schemas.otlp.requests import (
    CONTEXT,
    TIME_NS,
    any_value,
    attributes,
    decoded,
    event,
    log,
    logs,
    only,
    records_of,
    transports,
)

SECRET = "TOPSECRET"
LONG = SECRET * 29  # 261 characters: no field takes a text of more than 256
ENDLESS = SECRET * 114  # 1,026 characters: no name has more than 1,024
HIDDEN = (SECRET.encode(), base64.b64encode(SECRET.encode()).rstrip(b"="))
SIGNALS: tuple[otlp.Signal, ...] = ("logs", "metrics", "traces")


def request(
    signal: otlp.Signal,
    own: dict[str, Any] | None = None,
    *,
    resource: dict[str, Any] | None = None,
    scope: dict[str, Any] | None = None,
    metric: dict[str, Any] | None = None,
    url: str = "",
    **parts: Any,
) -> dict[str, Any]:
    """A request of one record. own: its attributes.  scope, metric, parts: members of the scope, metric and record."""
    record = {"attributes": attributes({"session.id": "s-1"} | (own or {}))}
    inner: dict[str, Any] = {"scope": scope or {}, "schemaUrl": url}
    outer: dict[str, Any] = {"resource": {"attributes": attributes(resource or {})}}
    if signal == "logs":
        record |= {"timeUnixNano": str(TIME_NS), "eventName": "user_prompt"} | parts
        return {"resourceLogs": [outer | {"scopeLogs": [inner | {"logRecords": [record]}]}]}
    if signal == "metrics":
        record |= {"timeUnixNano": str(TIME_NS), "asDouble": 1.5} | parts
        found = {"name": "m", "gauge": {"dataPoints": [record]}} | (metric or {})
        return {"resourceMetrics": [outer | {"scopeMetrics": [inner | {"metrics": [found]}]}]}
    ids = {"traceId": "26cfcfdf49ccb1c13048a9c205eeeed1", "spanId": "5a1e2b3c4d5e6f70", "name": "tool"}
    record |= ids | {"startTimeUnixNano": str(TIME_NS)} | parts
    return {"resourceSpans": [outer | {"scopeSpans": [inner | {"spans": [record]}]}]}


FORMS: list[tuple[str, Any, str]] = [
    ("prompt", SECRET, SECRET),
    ("user_prompt", SECRET, SECRET),
    ("tool_input", {"a": SECRET}, '{"a":"TOPSECRET"}'),
    ("response", [SECRET, 1], '["TOPSECRET",1]'),
    ("body", SECRET.encode(), '{"bytesValue":"VE9QU0VDUkVU"}'),
    ("unknown", LONG, LONG),
    ("unknown", [LONG], f'["{LONG}"]'),
    ("unknown", LONG.encode(), f'{{"bytesValue":"{base64.b64encode(LONG.encode()).decode()}"}}'),
    ("unknown", {"deep": [{"prompt": SECRET}]}, '{"deep":[{"prompt":"TOPSECRET"}]}'),
    ("error", {"prompt": SECRET}, '{"prompt":"TOPSECRET"}'),
    ("full_command", [{"body": SECRET}], '[{"body":"TOPSECRET"}]'),
    ("user.email", ENDLESS, ENDLESS),
    ("user.groups", ["a", ENDLESS], f'["a","{ENDLESS}"]'),
    (ENDLESS, 5, f'{{"{ENDLESS}":5}}'),
]  # fmt: skip

Case = tuple[otlp.Signal, dict[str, Any], str, str]


def cases() -> list[Any]:
    """Signal, request, field and text of its one content row."""
    found: list[tuple[str, Case]] = []
    for signal in SIGNALS:
        for key, value, text in FORMS:
            name, held = key if len(key) < 99 else content.CONTENT_MARK, {key: value}
            found += [
                (f"own {name}", (signal, request(signal, held), name, text)),
                (f"resource {name}", (signal, request(signal, resource=held), f"resource.{name}", text)),
                (
                    f"scope {name}",
                    (signal, request(signal, scope={"attributes": attributes(held)}), f"scope.{name}", text),
                ),
            ]
        found += [
            ("scope name", (signal, request(signal, scope={"name": ENDLESS}), "scope_name", ENDLESS)),
            ("scope version", (signal, request(signal, scope={"version": ENDLESS}), "scope_version", ENDLESS)),
            ("schema url", (signal, request(signal, url=ENDLESS), "schema_url", ENDLESS)),
        ]
    for key, value, text in FORMS[:-1]:
        held = attributes({key: value})
        moment = {"name": "n", "attributes": held}
        exemplar = {"asDouble": 1.5, "filteredAttributes": held}
        found += [
            (f"link {key}", ("traces", request("traces", links=[{}, {"attributes": held}]), f"links.1.{key}", text)),
            (f"moment {key}", ("traces", request("traces", events=[moment]), f"n.{key}", text)),
            (
                f"exemplar {key}",
                ("metrics", request("metrics", exemplars=[{"asDouble": 1.5}, exemplar]), f"exemplars.1.{key}", text),
            ),
        ]
    found += [
        ("name of an event", ("logs", request("logs", eventName=LONG), "event_name", LONG)),
        (
            "tree as name",
            ("logs", request("logs", {"event.name": {"prompt": SECRET}}), "event.name", '{"prompt":"TOPSECRET"}'),
        ),
        ("name as attribute", ("logs", request("logs", {"event.name": ENDLESS}), "event_name", ENDLESS)),
        ("body", ("logs", request("logs", body=any_value(LONG)), "log_body", LONG)),
        ("body as name", ("logs", request("logs", body=any_value(LONG), eventName=""), "log_body", LONG)),
        (
            "body of a prompt",
            ("logs", request("logs", body=any_value({"prompt": SECRET})), "log_body", '{"prompt":"TOPSECRET"}'),
        ),
        ("severity", ("logs", request("logs", severityText=ENDLESS), "severity_text", ENDLESS)),
        ("metric", ("metrics", request("metrics", metric={"name": ENDLESS}), "metric", ENDLESS)),
        ("unit", ("metrics", request("metrics", metric={"unit": ENDLESS}), "metric_unit", ENDLESS)),
        ("span", ("traces", request("traces", name=ENDLESS), "name", ENDLESS)),
        ("state", ("traces", request("traces", traceState=ENDLESS), "trace_state", ENDLESS)),
        ("status", ("traces", request("traces", status={"message": LONG}), "status.message", LONG)),
        ("moment", ("traces", request("traces", events=[{}, {"name": ENDLESS}]), "events.1.name", ENDLESS)),
    ]
    return [pytest.param(*case, id=f"{case[0]}-{name}") for name, case in found]


@pytest.mark.parametrize(("signal", "document", "field", "text"), cases())
def test_content_is_on_its_own_topic_only(signal: otlp.Signal, document: dict[str, Any], field: str, text: str) -> None:
    for content_type, body in transports(signal, document):
        found = otlp.transcode(signal, content_type, body, CONTEXT)
        assert found.rejections == []
        own, row = found.entries[0].messages
        for part in (own.value, own.key, row.key, *(value for _, value in own.headers + row.headers)):
            assert not any(hidden in part for hidden in HIDDEN)
        assert b"<content>" in own.value
        stored = codec.decode("claude_content", row.value)
        where = content.CONTENT_MARK if len(field) > 99 else field
        assert (row.topic, stored["field"], stored["text"]) == ("content", where, text)
        assert stored["length"] == len(text)


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("place", ["own", "resource", "scope", "inner"])
def test_what_the_client_holds_back_stays(signal: otlp.Signal, place: str) -> None:
    held = {"prompt": "<REDACTED>", "tool_input": "<REDACTED>"}
    pairs = attributes(held)
    document = {
        "own": request(signal, held),
        "resource": request(signal, resource=held),
        "scope": request(signal, scope={"attributes": pairs}),
        "inner": {
            "logs": request("logs", body=any_value("<REDACTED>")),
            "metrics": request("metrics", exemplars=[{"filteredAttributes": pairs}]),
            "traces": request("traces", links=[{"attributes": pairs}], events=[{"name": "n", "attributes": pairs}]),
        }[signal],
    }[place]
    for content_type, body in transports(signal, document):
        (message,) = otlp.transcode(signal, content_type, body, CONTEXT).entries[0].messages
        assert b"<REDACTED>" in message.value


def test_marks_stand_in_the_place_of_the_text() -> None:
    scope = {"name": "n", "attributes": attributes({"prompt": SECRET, "short": "s"})}
    found = only("traces", request("traces", resource={"zz": LONG, "body": [SECRET], "n": 1}, scope=scope))
    assert found[0]["resource_attributes"] == {
        "zz": "<content>",
        "otel.scope.prompt": "<content>",
        "otel.scope.short": "s",
    }
    assert found[0]["resource_attributes_json"] == {"body": '"<content>"', "n": "1"}
    link = {"traceId": "26cfcfdf49ccb1c13048a9c205eeeed1", "attributes": attributes({"prompt": SECRET, "n": 1})}
    found = only("traces", request("traces", links=[link], status={"code": 2, "message": LONG}))
    assert json.loads(found[0]["links_json"])[0]["attributes"] == {"prompt": "<content>", "n": 1}
    assert found[0]["status_message"] == "<content>"
    found = only("metrics", request("metrics", {"user.email": ENDLESS, "user.id": "u"}))
    assert (found[0]["user_email"], found[0]["user_id"]) == (None, "u")
    assert (found[0]["attributes"], found[0]["coercion_errors"]) == ({"user.email": "<content>"}, ["user.email"])


def test_ids_of_links_and_exemplars_that_are_texts() -> None:
    for document in (
        request("traces", links=[{"traceId": ENDLESS, "spanId": ENDLESS}], parentSpanId=ENDLESS),
        request("metrics", exemplars=[{"traceId": ENDLESS, "spanId": ENDLESS}]),
    ):
        signal: otlp.Signal = "traces" if "resourceSpans" in document else "metrics"
        own, *rows = decoded(signal, document).entries[0].messages
        assert SECRET.encode() not in own.value.upper()
        assert len(rows) == (3 if signal == "traces" else 2)


@pytest.mark.parametrize(
    "parts",
    [
        {"model": "x" * 1024, "user.groups": ["g" * 1024] * 9},
        {"error": "e" * 5000, "tool_input": json.dumps({"command": "c" * 5000})},
        {"unknown": "u" * 256, "tree": {"a": "b"}},
    ],
)
def test_ordinary_names_errors_and_commands_stay(parts: dict[str, Any]) -> None:
    found = event({"event.name": "tool_result", **parts})
    assert found["coercion_errors"] == []
    for key, value in parts.items():
        field = key.replace(".", "_")
        if key == "tool_input":
            assert found["command_line"] == "c" * 5000
        else:
            assert found.get(field, found["attributes"].get(key, found["attributes_json"].get(key))) in (
                value,
                '{"a":"b"}',
            )


def test_content_in_the_resource_changes_no_id() -> None:
    for signal in SIGNALS:
        plain, marked = (only(signal, request(signal, resource=held))[0] for held in ({}, {"prompt": SECRET}))
        for identity in ("event_id", "point_id", "series", "span_id", "user_key"):
            assert plain.get(identity) == marked.get(identity)


def test_the_first_record_that_is_stored_takes_the_content_of_its_resource() -> None:
    bad = log({"session.id": "a\x1fb"})
    records = [bad, *(log({"event.name": "e", "event.sequence": n}) for n in range(1000))]
    document = logs(*records, resource={"prompt": LONG})
    for content_type, body in transports("logs", document):
        found = otlp.transcode("logs", content_type, body, CONTEXT)
        assert [r.reason for r in found.rejections] == ["invalid_id"]
        assert [len(entry.messages) for entry in found.entries] == [2] + [1] * 999
        first = records_of(found.entries[0])
        assert (first[1]["field"], first[1]["event_id"]) == ("resource.prompt", first[0]["event_id"])
        assert all(SECRET.encode() not in entry.messages[0].value for entry in found.entries)


def test_the_rows_of_a_record_have_different_fields() -> None:
    moment = {"name": "tool.output", "attributes": attributes({"output": SECRET})}
    other = {"name": "tool.output", "attributes": attributes({"output.2": SECRET})}
    found = only("traces", request("traces", events=[moment, other, moment, moment]))
    assert [row["field"] for row in found[1:]] == [
        "tool.output.output",
        "tool.output.output.2",
        "tool.output.output.3",
        "tool.output.output.4",
    ]


def test_many_rows_of_one_name_are_numbered_quickly() -> None:
    texts = [(f"a.{n}", "t") for n in range(50_000)] + [("a", "t")] * 50_000
    began = time.process_time()
    assert len({row["field"] for row in content.rows(texts)}) == 100_000
    assert time.process_time() - began < 2


def test_the_names_of_content_are_those_of_the_schemas() -> None:
    assert {"prompt", "user_prompt", "response", "body", "tool_input", "tool_parameters"} <= content.NAMES
    assert not content.NAMES & {"model", "error", "file_path", "session.id"}
