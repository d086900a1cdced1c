"""The canonical form (schemas.otlp.values.CANONICAL_FORM) as code: everything that is sent can be had back."""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas import otlp
from schemas.catalogue import RECORDS
from schemas.otlp.bindings import DEFAULT_NAMES, Binding, bindings
from schemas.otlp.spelling import spelling
from schemas.otlp.values import canonical, text
from tests.schemas.otlp.requests import CONTEXT, as_json, as_protobuf, decoded, records_of, transports
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
    document = request(signal, [with_attributes(record)], resource, scope)
    found = otlp.transcode(signal, otlp.PROTOBUF, as_protobuf(signal, document), CONTEXT)
    assert found.rejections == []
    row, *content = records_of(found.entries[0])
    fields, left = expected(signal, row, dotted(signal, record[1]), resource)

    back = recovered(row["attributes"], row["attributes_json"], content)
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
