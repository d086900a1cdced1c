"""The canonical form (schemas.otlp.values.CANONICAL_FORM) as code: everything that is sent can be had back."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from schemas import otlp
from schemas.catalogue import RECORDS
from schemas.otlp.bindings import DEFAULT_NAMES, Binding, bindings
from schemas.otlp.message import Entry
from schemas.otlp.points import METADATA
from schemas.otlp.spelling import spelling
from schemas.otlp.values import canonical, text
from tests.schemas.otlp.requests import (
    CONTEXT,
    TIME_NS,
    as_json,
    as_protobuf,
    decoded,
    log,
    logs,
    metric,
    records_of,
    span,
    spans,
    transports,
)
from tests.schemas.otlp.strategies import (
    KINDS,
    VALUES,
    Record,
    attributes,
    pairs,
    records,
    request,
    with_attributes,
)

MARK = "<content>"
SIGNALS = sorted(KINDS)
PARTS = {"value", "sum", "min", "max", "count", "trace_id", "span_id"}
PARTS |= {f"record.{name}" for name in PARTS}
"""Where a number or an id of the record itself is kept that is none."""
Rows = list[dict[str, Any]]
some = settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # Whole requests take minutes to shrink.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def value_of(parsed: Any) -> Any:
    """The value that canonical JSON stands for."""
    if isinstance(parsed, list):
        return [value_of(item) for item in parsed]
    if not isinstance(parsed, dict):
        return parsed
    if len(parsed) == 1:
        ((kind, held),) = parsed.items()
        if kind == "bytesValue":
            return base64.b64decode(held)
        if kind == "doubleValue":
            return float(held.replace("Infinity", "inf"))
        if kind == "kvlistValue":
            return {key: value_of(item) for key, item in held.items()}
    return {key: value_of(item) for key, item in parsed.items()}


def recovered(kept: dict[str, str], kept_json: dict[str, str], content: Rows, place: str = "") -> dict[str, Any]:
    """The attributes of a place, from its two maps and the content rows. The other half are the fields."""
    texts = {row["field"]: row["text"] for row in content}
    found: dict[str, Any] = {}
    for key, shown in kept.items():
        found[key] = texts.get(place + key, shown) if shown == MARK else shown
    for key, shown in kept_json.items():
        held = texts.get(place + key, shown) if shown == f'"{MARK}"' else shown
        found[key] = value_of(json.loads(held))
    if MARK in found:  # Names too long for a map: their rows have name and value.
        del found[MARK]
        for field, held in texts.items():
            if field == place + MARK or field.startswith(place + MARK + "."):
                found |= value_of(json.loads(held))
    return found


def place(field: str) -> str:
    """The field of a content row without the number that tells several names too long for a map apart."""
    return re.sub(r"(?<=<content>)\.\d+$", "", field)


def unwrapped(value: dict[str, Any]) -> Any:
    """The value of an OTLP/JSON AnyValue."""
    if not value:
        return None
    ((kind, held),) = value.items()
    if kind == "arrayValue":
        return [unwrapped(item) for item in held["values"]]
    if kind == "kvlistValue":
        return {pair["key"]: unwrapped(pair["value"]) for pair in held["values"]}
    if kind == "doubleValue" and isinstance(held, str):
        return float(held.replace("Infinity", "inf"))
    return {"intValue": int, "bytesValue": base64.b64decode}.get(kind, lambda same_: same_)(held)


def split(kept: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Attributes of the record, and those of its metric."""
    of_metric = {key.removeprefix(METADATA): value for key, value in kept.items() if key.startswith(METADATA)}
    return {key: value for key, value in kept.items() if not key.startswith(METADATA)}, of_metric


def same(value: Any) -> str:
    """The value in canonical JSON, so that NaN and types compare."""
    return canonical(value)


def expected(signal: str, row: dict[str, Any], sent: dict[str, Any], resource: dict[str, Any]) -> tuple[Any, Any]:
    """What fields and what attributes must be there, by the documented rules."""
    record = RECORDS[KINDS[signal]]
    known = bindings(record, DEFAULT_NAMES)
    table = known.by_event.get(row.get("event_name", ""), known.default) if signal == "logs" else known.default
    fields: dict[str, tuple[Binding, str, Any]] = {}
    left: dict[str, Any] = {}
    for key, value in sorted(sent.items(), key=lambda item: table[item[0]].rank if item[0] in table else 0):
        binding = table.get(key)
        coerced = binding.coerce(value) if binding else None
        if binding is None or coerced in (None, "") or binding.field in fields:
            left[key] = value
        else:
            fields[binding.field] = (binding, key, coerced)
    return fields, left


def dotted(signal: str, sent: dict[str, Any]) -> dict[str, Any]:
    return spelling(RECORDS[KINDS[signal]], DEFAULT_NAMES)._attributes(sent)[0]


@pytest.mark.parametrize("signal", SIGNALS)
@given(data=st.data())
@some
def test_every_attribute_can_be_had_back_with_its_type(signal: Any, data: st.DataObject) -> None:
    record: Record = data.draw(records(signal))
    resource, scope = data.draw(attributes(signal, 3)), data.draw(attributes(signal, 2))
    # What is of the scope stands among what is of the resource, under this prefix, which none of its own may have here.
    assume(not any("otel.sc" in name for name in (*resource, *dotted(signal, resource))))
    document = request(signal, [with_attributes(record)], resource, scope)
    found = otlp.transcode(signal, otlp.PROTOBUF, as_protobuf(signal, document), CONTEXT)
    assert found.rejections == []
    row, *content = records_of(found.entries[0])
    fields, left = expected(signal, row, dotted(signal, record[1]), resource)

    (kept, of_metric), (kept_json, of_metric_json) = split(row["attributes"]), split(row["attributes_json"])
    back = recovered(kept, kept_json, content)
    stated = record[0].get("eventName", "")
    assert back.pop("record.event_name", stated) == stated
    metadata = {pair["key"]: same(unwrapped(pair["value"])) for pair in record[0].get("metadata", [])}
    found_metadata = recovered(of_metric, of_metric_json, content, METADATA)
    assert {key: same(value) for key, value in found_metadata.items()} == metadata
    for name in PARTS - left.keys():
        back.pop(name, None)
    assert {key: same(value) for key, value in back.items()} == {key: same(value) for key, value in left.items()}

    texts = {one["field"]: one["text"] for one in content}
    for name, (_, _, value) in fields.items():
        if name == "event_name":
            continue  # Without its prefix, and in test_spelling.
        shown = texts.get(name, row[name]) if row[name] == MARK else row[name]
        assert same(shown) == same(value), name

    of_resource = recovered(row["resource_attributes"], row["resource_attributes_json"], content, "resource.")
    wanted = dotted(signal, resource)
    assert {k: same(v) for k, v in of_resource.items() if not k.startswith("otel.scope.") and k in wanted} == {
        k: same(v) for k, v in wanted.items()
    }
    held = {k.removeprefix("otel.scope."): v for k, v in row["resource_attributes"].items() if "otel.scope." in k}
    held_json = {k.removeprefix("otel.scope."): v for k, v in row["resource_attributes_json"].items() if "otel.sc" in k}
    of_scope = recovered(held, held_json, content, "scope.")
    assert {k: same(v) for k, v in of_scope.items()} == {k: same(v) for k, v in scope.items()}


PLACES: dict[str, tuple[str, str, str, str]] = {
    "event": ("traces", "events_json", "attributes", "novel."),
    "link": ("traces", "links_json", "attributes", "links.0."),
    "exemplar": ("metrics", "exemplars_json", "filteredAttributes", "exemplars.0."),
}


def of_place(kind: str, sent: dict[str, Any]) -> tuple[dict[str, Any], Rows]:
    """The attributes of a span's event, a link or an exemplar as they are stored, and the content rows."""
    signal, field, name, _ = PLACES[kind]
    held = {"name": "novel", name: pairs(sent)} if kind == "event" else {name: pairs(sent)}
    if signal == "traces":
        ids = {"traceId": "26cfcfdf49ccb1c13048a9c205eeeed1", "spanId": "5a1e2b3c4d5e6f70"}
        found = {**ids, "events" if kind == "event" else "links": [held]}
    else:
        found = {"name": "m", "gauge": {"dataPoints": [{"asDouble": 1.0, "exemplars": [held]}]}}
    row, *content = records_of(decoded(signal, request(signal, [found], {}, {})).entries[0])
    return json.loads(row[field])[0][name], content


@pytest.mark.parametrize("kind", sorted(PLACES))
@given(data=st.data())
@some
def test_attributes_of_span_events_links_and_exemplars_can_be_had_back(kind: str, data: st.DataObject) -> None:
    signal, _, _, place_ = PLACES[kind]
    sent = data.draw(attributes(signal))
    shown, content = of_place(kind, sent)
    texts = {key: value for key, value in shown.items() if value == MARK}
    trees = {key: f'"{MARK}"' if value == f'"{MARK}"' else canonical(value_of(value)) for key, value in shown.items()}
    back = recovered(texts, {key: value for key, value in trees.items() if key not in texts}, content, place_)
    known = bindings(RECORDS["spans"], DEFAULT_NAMES).default if kind == "event" else {}
    wanted = dict(sent)
    for key in sent.keys() & known.keys():
        if not known[key].content and (coerced := known[key].coerce(sent[key])) not in (None, ""):
            wanted[key] = coerced
    assert {key: same(value) for key, value in back.items()} == {key: same(value) for key, value in wanted.items()}


@pytest.mark.parametrize("kind", sorted(PLACES))
def test_a_text_that_looks_like_a_list_is_not_a_list(kind: str) -> None:
    long = ["a" * 300]
    (text_, _), (list_, _) = of_place(kind, {"k": json.dumps(long)}), of_place(kind, {"k": long})
    assert (text_, list_) == ({"k": MARK}, {"k": f'"{MARK}"'})


def test_a_known_attribute_of_a_span_event_has_its_fields_type() -> None:
    for sent in (2, "2", 2.0):
        assert of_place("event", {"attempt": sent})[0] == {"attempt": 2}


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_that_looks_like_the_mark_hides_no_other(order: int) -> None:
    sent = dict(list({MARK: "real", "k" * 1100: "of a long name"}.items())[::order])
    row, *content = records_of(decoded("logs", request("logs", [{"attributes": pairs(sent)}], {}, {})).entries[0])
    assert recovered(row["attributes"], row["attributes_json"], content) == sent


@pytest.mark.parametrize("signal", SIGNALS)
@given(data=st.data())
@some
def test_a_request_is_the_same_over_every_transport(signal: Any, data: st.DataObject) -> None:
    found = [with_attributes(record) for record in data.draw(st.lists(records(signal), min_size=1, max_size=3))]
    document = request(signal, found, data.draw(attributes(signal, 3)), {})
    outcomes = []
    for content_type, body in transports(signal, document):
        decoded_ = otlp.transcode(signal, content_type, body, CONTEXT)
        rows = [records_of(entry) for entry in decoded_.entries]
        outcomes.append((same(rows), [(r.reason, r.error) for r in decoded_.rejections]))
        assert len(decoded_.entries) == len(found)
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("signal", SIGNALS)
@given(data=st.data())
@some
def test_the_order_of_attributes_says_nothing(signal: Any, data: st.DataObject) -> None:
    record, resource = data.draw(records(signal)), data.draw(attributes(signal, 3))
    shuffled = with_attributes(record, data.draw(st.permutations(pairs(record[1]))))
    turned = dict(reversed(resource.items()))
    outcomes = []
    for document in (
        request(signal, [with_attributes(record)], resource, {}),
        request(signal, [shuffled], turned, {}),
    ):
        row, *content = records_of(decoded(signal, document).entries[0])
        outcomes.append((same(row), sorted(same({**one, "field": place(one["field"])}) for one in content)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("signal", SIGNALS)
@given(data=st.data())
@some
def test_the_order_of_records_says_nothing(signal: Any, data: st.DataObject) -> None:
    found = [with_attributes(record) for record in data.draw(st.lists(records(signal), min_size=2, max_size=4))]
    outcomes = []
    for each in (found, data.draw(st.permutations(found))):
        entries = decoded(signal, request(signal, each, {"team.id": "t", "novel": 1}, {})).entries
        outcomes.append(sorted(same(records_of(entry)) for entry in entries))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("signal", SIGNALS)
@given(data=st.data())
@some
def test_a_value_may_come_as_text_or_as_itself(signal: Any, data: st.DataObject) -> None:
    numbers = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9)
    known = sorted(bindings(RECORDS[KINDS[signal]], DEFAULT_NAMES).default)
    sent = data.draw(st.dictionaries(st.sampled_from(known), numbers, max_size=6))
    bare = data.draw(records(signal))[0]
    outcomes = []
    for values in (sent, {key: text(value) for key, value in sent.items()}):
        row, *_ = records_of(decoded(signal, request(signal, [with_attributes((bare, values))], {}, {})).entries[0])
        outcomes.append({k: v for k, v in row.items() if k not in ("attributes", "attributes_json", "exemplars_json")})
    assert same(outcomes[0]) == same(outcomes[1])


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_canonical_json_can_be_read_back(value: Any) -> None:
    back = value_of(json.loads(canonical(value)))
    assert same(back) == same(value)
    assert back.__class__ is value.__class__
    if isinstance(value, float):
        assert (math.isnan(back) and math.isnan(value)) or back == value


def test_a_request_from_the_official_classes_is_one() -> None:
    document = request("logs", [{"body": {"kvlistValue": {"values": pairs({"bytesValue": "x"})}}}], {}, {})
    for body, kind in ((as_protobuf("logs", document), otlp.PROTOBUF), (as_json(document), otlp.JSON)):
        (entry,) = otlp.transcode("logs", kind, body, CONTEXT).entries
        assert records_of(entry)[0]["log_body"] == '{"kvlistValue":{"bytesValue":"x"}}'


def test_what_stands_beside_the_attributes_is_kept() -> None:
    document = request("logs", [{"eventName": "other", "attributes": pairs({"event.name": "user_prompt"})}], {}, {})
    outer = document["resourceLogs"][0]
    outer["schemaUrl"] = "of the resource"
    outer["resource"] = {"droppedAttributesCount": 9, "attributes": pairs({"otel.resource.schema_url": "mine"})}
    outer["scopeLogs"][0]["scope"]["droppedAttributesCount"] = 4
    for content_type, body in transports("logs", document):
        (row,) = records_of(otlp.transcode("logs", content_type, body, CONTEXT).entries[0])
        assert (row["event_name"], row["attributes"]) == ("user_prompt", {"record.event_name": "other"})
        assert row["resource_attributes"] == {
            "otel.resource.schema_url": "mine",
            "record.otel.resource.schema_url": "of the resource",
        }
        assert row["resource_attributes_json"] == {
            "otel.resource.dropped_attributes_count": "9",
            "otel.scope.dropped_attributes_count": "4",
        }
        assert (row["schema_url"], row["coercion_errors"]) == ("u", [])


def test_a_links_own_state_is_kept() -> None:
    link = {"traceState": "k=v", "flags": 257, "droppedAttributesCount": 3}
    ids = {"traceId": "26cfcfdf49ccb1c13048a9c205eeeed1", "spanId": "5a1e2b3c4d5e6f70"}
    document = request("traces", [{**ids, "links": [link]}], {}, {})
    for content_type, body in transports("traces", document):
        (row,) = records_of(otlp.transcode("traces", content_type, body, CONTEXT).entries[0])
        (kept,) = json.loads(row["links_json"])
        assert (kept["trace_state"], kept["flags"], kept["dropped_attributes_count"]) == ("k=v", 257, 3)


def test_a_prompt_in_the_metadata_of_a_metric_is_content() -> None:
    held = {"name": "m", "metadata": pairs({"prompt": "secret", "origin": "x"}), "gauge": {"dataPoints": [{}, {}]}}
    document = request("metrics", [held], {}, {})
    for entry in decoded("metrics", document).entries:
        row, content = records_of(entry)
        assert row["attributes"] == {"metric.metadata.prompt": MARK, "metric.metadata.origin": "x"}
        assert (content["field"], content["text"]) == ("metric.metadata.prompt", "secret")


def one(signal: str, own: dict[str, Any], resource: dict[str, Any] | None = None) -> Entry:
    """The entry of a request of one record with a prompt."""
    own = own | {"prompt": "secret"}
    point = {"timeUnixNano": str(TIME_NS), "asInt": "1", "attributes": pairs(own)}
    document = {
        "logs": logs(log(own), resource=resource),
        "metrics": metric("m", {"gauge": {"dataPoints": [point]}}, resource=resource),
        "traces": spans(span(own), resource=resource),
    }[signal]
    (entry,) = decoded(signal, document).entries
    return entry


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("name", ["~", "~abc", f"~{'ab' * 16}~20775"])
def test_a_session_id_like_that_of_a_pseudo_session_is_none_and_is_kept(signal: str, name: str) -> None:
    plain = one(signal, {"user.id": "u"})
    for wire in ("session.id", "session_id"):
        entry = one(signal, {wire: name, "user.id": "u"})
        row, content = records_of(entry)
        assert (row["session_id"], content["session_id"]) == (None, None)
        assert (row["attributes"]["session.id"], row["coercion_errors"]) == (name, ["session.id"])
        assert [message.key for message in entry.messages] == [message.key for message in plain.messages]
    row, content = records_of(one(signal, {"user.id": "u"}, {"session.id": name}))
    assert (row["session_id"], content["session_id"]) == (None, None)
    assert row["resource_attributes"]["session.id"] == name


@pytest.mark.parametrize("order", [1, -1])
def test_an_attribute_that_does_not_fit_displaces_none_that_does(order: int) -> None:
    sent = dict(list({"error_type": {"prompt": "x"}, "error.type": "helper_failed"}.items())[::order])
    row = records_of(decoded("logs", request("logs", [{"attributes": pairs(sent)}], {}, {})).entries[0])[0]
    assert (row["error_type"], row["coercion_errors"]) == ("helper_failed", ["error_type"])
    assert (row["attributes"], row["attributes_json"]) == ({}, {"error_type": '"<content>"'})


def test_a_part_of_the_record_never_takes_the_place_of_an_attribute() -> None:
    point = {"asDouble": "NaN", "attributes": pairs({"value": "mine"})}
    document = request("metrics", [{"name": "m", "gauge": {"dataPoints": [point]}}], {}, {})
    row = records_of(decoded("metrics", document).entries[0])[0]
    assert (row["attributes"], row["coercion_errors"]) == ({"value": "mine"}, ["record.value"])
    assert row["attributes_json"] == {"record.value": '{"doubleValue":"NaN"}'}


def test_a_count_beyond_63_bits_is_kept() -> None:
    held = {"name": "m", "histogram": {"dataPoints": [{"count": str(2**64 - 1)}]}}
    row = records_of(decoded("metrics", request("metrics", [held], {}, {})).entries[0])[0]
    assert (row["count"], row["attributes_json"]) == (None, {"count": str(2**64 - 1)})


def test_an_integer_that_no_double_equals_is_kept() -> None:
    sent = pairs({"cost_usd": 2**53 + 1})
    row = records_of(decoded("logs", request("logs", [{"attributes": sent}], {}, {})).entries[0])[0]
    assert (row["cost_usd"], row["attributes_json"]) == (None, {"cost_usd": str(2**53 + 1)})
    assert row["coercion_errors"] == ["cost_usd"]


def test_a_place_in_a_table_that_is_not_there_says_nothing() -> None:
    document = request("logs", [{"attributes": [{"key": "a", "value": {"stringValueStrindex": 7}}]}], {}, {})
    rows = [
        records_of(otlp.transcode("logs", content_type, body, CONTEXT).entries[0])[0]
        for content_type, body in transports("logs", document)
    ]
    assert [row["attributes_json"] for row in rows] == [{"a": "null"}] * len(rows)
    assert len({row["event_id"] for row in rows}) == 1
