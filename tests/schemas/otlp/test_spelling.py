"""What routers make of a record: other names, other types, another place of its name. It is the same record."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import otlp, records
from schemas.catalogue import KINDS, RECORDS, catalogue
from schemas.otlp.bindings import DEFAULT_NAMES
from schemas.otlp.spelling import spelling
from tests.schemas.otlp.requests import (
    CONTEXT,
    TIME_NS,
    any_value,
    as_json,
    attributes,
    captured,
    decoded,
    event,
    log,
    logs,
    metric,
    only,
    records_of,
    signal_of,
    span,
    spans,
    with_int_numbers,
    with_snake_names,
)

RECORDED = [path for path in captured() if path.suffix == ".json"]
SIGNALS = [("logs", "events"), ("metrics", "metrics"), ("traces", "spans")]


def respelled(value: Any) -> Any:
    """The document with every attribute's name spelled with underscores."""
    if isinstance(value, list):
        return [respelled(v) for v in value]
    if isinstance(value, dict):
        if set(value) == {"key", "value"}:
            return {"key": value["key"].replace(".", "_"), "value": value["value"]}
        return {k: respelled(v) for k, v in value.items()}
    return value


def quoted(value: Any) -> Any:
    """The document with every attribute's value as a string."""
    if isinstance(value, list):
        return [quoted(v) for v in value]
    if isinstance(value, dict):
        if len(value) == 1 and (kind := next(iter(value))) in ("intValue", "doubleValue", "boolValue"):
            held = value[kind]
            return {"stringValue": str(held).lower() if isinstance(held, bool) else str(held)}
        return {k: quoted(v) for k, v in value.items()}
    return value


def rows(signal: Any, document: Any) -> list[dict[str, Any]]:
    """The records of a request, without the names as they were sent."""
    found = decoded(signal, document)
    assert found.rejections == []
    return [{k: v for k, v in row.items() if k != "renamed"} for entry in found.entries for row in records_of(entry)]


@pytest.mark.parametrize("change", [respelled, quoted, with_snake_names, with_int_numbers])
@pytest.mark.parametrize("path", RECORDED, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_recorded_request_is_the_same_in_every_spelling(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    assert rows(signal_of(path), change(document)) == rows(signal_of(path), document)


@pytest.mark.parametrize("kind", KINDS)
def test_every_dotted_name_of_the_catalogue_has_its_other_spelling(kind: Any) -> None:
    spelled = spelling(RECORDS[kind], DEFAULT_NAMES)
    known = catalogue()
    for item in known.items[kind].values():
        dotted = {name: name for name in known.attributes(kind, item) if "." in name}
        for name in dotted:
            sent, before = spelled._attributes({name.replace(".", "_"): "v"})
            field = name.replace(".", "_")
            taken = field in {wire for f in records.record(RECORDS[kind]).fields for wire in f.otel}
            assert (sent, before) == (({field: "v"}, ()) if taken else ({name: "v"}, (field,)))


def test_the_name_that_was_sent_is_kept() -> None:
    row = event({"event_name": "user_prompt", "session_id": "s-1", "event.sequence": 3}, resource={"service_name": "x"})
    assert (row["event_name"], row["session_id"], row["service_name"]) == ("user_prompt", "s-1", "x")
    assert row["renamed"] == ["event_name", "session_id", "resource.service_name"]
    assert (row["attributes"], row["resource_attributes"]) == ({}, {"service.name": "x"})


def test_a_record_with_both_names_keeps_both() -> None:
    row = event({"event.name": "x", "session.id": "right", "session_id": "other"})
    assert (row["session_id"], row["attributes"], row["renamed"]) == ("right", {"session_id": "other"}, [])


def test_a_name_that_is_the_schemas_own_is_left() -> None:
    row = only("traces", spans(span({"skill_name": "deploy"})))[0]
    assert (row["skill_name"], row["renamed"]) == ("deploy", [])


def test_names_of_the_settings_have_two_spellings_as_well() -> None:
    context = otlp.Context("acme", CONTEXT.received_us, b"k", team_attribute="org.unit")
    row = only("logs", logs(log({"org_unit": "platform"})), context)[0]
    assert (row["team"], row["renamed"]) == ("platform", ["org_unit"])


def test_one_group_in_two_spellings_is_put_right_record_by_record() -> None:
    found = decoded("logs", logs(log({"session.id": "a"}), log({"session_id": "b"}), {"flags": "many"}))
    assert [(r["session_id"], r["renamed"]) for r in (records_of(e)[0] for e in found.entries)] == [
        ("a", []),
        ("b", ["session_id"]),
    ]
    assert len(found.rejections) == 1


NAMED = [
    ({"event.name": "user_prompt"}, {}),
    ({"event.name": "claude_code.user_prompt"}, {}),
    ({"event_name": "claude_code.user_prompt"}, {}),
    ({}, {"body": any_value("claude_code.user_prompt")}),
    ({}, {"body": any_value("user_prompt")}),
    ({}, {"eventName": "claude_code.user_prompt"}),
    ({}, {"event_name": "user_prompt"}),
]


@pytest.mark.parametrize("sequence", [{}, {"event.sequence": 7}])
def test_an_event_is_the_same_wherever_its_name_stands(sequence: dict[str, Any]) -> None:
    found = [event({**names, **sequence, "session.id": "s", "prompt_length": 3}, **parts) for names, parts in NAMED]
    assert {row["event_name"] for row in found} == {"user_prompt"}
    assert len({row["event_id"] for row in found}) == 1


@pytest.mark.parametrize(
    ("word", "severity"), [("SEVERITY_NUMBER_INFO", 9), ("INFO", 9), ("info", 9), ("9", 9), (9, 9), ("Error2", 18)]
)
def test_severities_are_read_in_every_spelling(word: Any, severity: int) -> None:
    assert event({"event.name": "x"}, severityNumber=word)["severity_number"] == severity


@pytest.mark.parametrize("word", ["SPAN_KIND_CLIENT", "client", "Client", 3, "3"])
@pytest.mark.parametrize("code", ["STATUS_CODE_ERROR", "Error", 2, "2"])
def test_span_kinds_and_codes_are_read_in_every_spelling(word: Any, code: Any) -> None:
    row = only("traces", spans(span({}, kind=word, status={"code": code})))[0]
    assert (row["kind"], row["status_code"]) == ("client", "error")


@pytest.mark.parametrize("temporality", ["AGGREGATION_TEMPORALITY_DELTA", "Delta", 1, "1"])
@pytest.mark.parametrize("monotonic", [True, "true"])
def test_sums_are_read_in_every_spelling(temporality: Any, monotonic: Any) -> None:
    point = {"timeUnixNano": str(TIME_NS), "asInt": "5", "attributes": attributes({"type": "input"})}
    data = {"aggregationTemporality": temporality, "isMonotonic": monotonic, "dataPoints": [point]}
    row = only("metrics", metric("claude_code.token.usage", {"sum": data}))[0]
    assert (row["temporality"], row["monotonic"], row["value_int"]) == ("delta", True, 5)


@pytest.mark.parametrize(("word", "flag"), [("true", True), ("false", False), (True, True)])
def test_a_quoted_bool_is_one(word: Any, flag: bool) -> None:
    record = {"attributes": [{"key": "novel", "value": {"boolValue": word}}]}
    assert only("logs", logs(record))[0]["attributes_json"] == {"novel": json.dumps(flag)}


@pytest.mark.parametrize(
    "bad", [{"boolValue": "yes"}, {"boolValue": 2}, {"intValue": "1.5"}, {"doubleValue": "much"}, {"bytesValue": "%"}]
)
def test_what_is_no_value_is_refused_alone(bad: Any) -> None:
    found = otlp.transcode(
        "logs", otlp.JSON, as_json(logs({"attributes": [{"key": "k", "value": bad}]}, log({}))), CONTEXT
    )
    assert (len(found.entries), len(found.rejections)) == (1, 1)
