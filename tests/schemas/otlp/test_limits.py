"""What is refused, what is rejected, and what is only cut: bad bodies, bad records, too much of a thing."""

import contextlib
import dataclasses
import json
import time
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import otlp
from schemas.errors import OtlpError, PermanentError
from schemas.otlp import Limits
from tests.schemas.otlp.requests import (
    CONTEXT,
    KINDS,
    TIME_NS,
    any_value,
    as_json,
    as_protobuf,
    captured,
    content_type_of,
    decoded,
    log,
    logs,
    metric,
    only,
    records_of,
    signal_of,
    span,
    spans,
    transports,
)

SIGNALS: list[otlp.Signal] = ["logs", "metrics", "traces"]


def limited(**limits: Any) -> otlp.Context:
    return dataclasses.replace(CONTEXT, limits=Limits(**limits))


def refused(signal: otlp.Signal, content_type: str, body: bytes, context: otlp.Context = CONTEXT) -> str:
    with pytest.raises(OtlpError) as caught:
        otlp.transcode(signal, content_type, body, context)
    assert isinstance(caught.value, PermanentError)
    return caught.value.reason


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"<html>", b'{"a": "\\ud8"}']
)
def test_a_body_that_is_no_json_object_is_refused(signal: otlp.Signal, body: bytes) -> None:
    assert refused(signal, otlp.JSON, body) == "malformed_json"


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("body", [b"{}", b'{"unknown": {"a": [1]}}', b'{"resourceLogs": null}'])
def test_an_empty_request_is_none(signal: otlp.Signal, body: bytes) -> None:
    assert otlp.transcode(signal, otlp.JSON, body, CONTEXT) == otlp.Decoded()
    assert otlp.transcode(signal, otlp.PROTOBUF, b"", CONTEXT) == otlp.Decoded()


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05ab", b"\xff" * 20, b"not protobuf at all", b"\x0b" * 500])
def test_a_body_that_is_no_protobuf_is_refused(signal: otlp.Signal, body: bytes) -> None:
    assert refused(signal, otlp.PROTOBUF, body) == "malformed_protobuf"


@pytest.mark.parametrize(
    "document",
    [
        {"resourceLogs": {}},
        {"resourceLogs": [5]},
        {"resourceLogs": [{"scopeLogs": "x"}]},
        {"resourceLogs": [{"scopeLogs": [{"logRecords": {}}]}]},
        {"resourceLogs": [{"resource": [], "scopeLogs": [{}]}]},
        {"resourceLogs": [{"resource": {"attributes": {"a": "b"}}, "scopeLogs": [{}]}]},
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(document: Any) -> None:
    assert refused("logs", otlp.JSON, as_json(document)) == "malformed_json"


def test_another_content_type_is_refused() -> None:
    assert refused("logs", "text/plain", b"{}") == "unsupported_content_type"


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


class TestDepth:
    def test_values_may_be_nested_to_the_limit(self) -> None:
        document = logs(log({"a": nested(31)}))
        for content_type, body in transports("logs", document):
            found = otlp.transcode("logs", content_type, body, CONTEXT)
            assert records_of(found.entries[0])[0]["attributes_json"] == {"a": "[" * 31 + '"x"' + "]" * 31}

    def test_deeper_values_are_refused(self) -> None:
        for content_type, body in transports("logs", logs(log({"a": nested(32)}))):
            assert refused("logs", content_type, body) == "too_deep"

    @pytest.mark.parametrize("place", ["attribute", "body", "resource"])
    def test_a_hundred_levels_are_refused(self, place: str) -> None:
        value = any_value(nested(100))
        pair = [{"key": "a", "value": value}]
        document = {
            "attribute": logs({"attributes": pair}),
            "body": logs({"body": value}),
            "resource": {"resourceLogs": [{"resource": {"attributes": pair}, "scopeLogs": [{"logRecords": [{}]}]}]},
        }[place]
        assert refused("logs", otlp.JSON, as_json(document)) == "too_deep"

    def test_a_hundred_levels_of_protobuf_are_refused(self) -> None:
        value = b"\x0a\x01x"  # AnyValue.string_value
        for _ in range(100):
            item = b"\x0a" + _size(len(value)) + value  # ArrayValue.values
            value = b"\x2a" + _size(len(item)) + item  # AnyValue.array_value
        body = value
        for tag in (b"\x2a", b"\x12", b"\x12", b"\x0a"):  # LogRecord.body, ScopeLogs, ResourceLogs, request
            body = tag + _size(len(body)) + body
        assert refused("logs", otlp.PROTOBUF, body) == "malformed_protobuf"

    @pytest.mark.parametrize("depth", [1_000, 100_000])
    def test_any_depth_is_refused(self, depth: int) -> None:
        assert refused("logs", otlp.JSON, b"[" * depth + b"]" * depth) == "malformed_json"
        assert refused("logs", otlp.JSON, b'{"resourceLogs":' * depth + b"1" + b"}" * depth) == "malformed_json"

    def test_members_that_nobody_reads_may_be_nested(self) -> None:
        body = as_json(logs(log({"a": 1}, unknown=nested(100))))
        assert len(otlp.transcode("logs", otlp.JSON, body, CONTEXT).entries) == 1


def _size(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + _size(n >> 7)


class TestCounts:
    def test_too_many_records_are_refused(self) -> None:
        document = logs(*(log({}) for _ in range(6)))
        for content_type, body in transports("logs", document):
            assert len(otlp.transcode("logs", content_type, body, limited(records_per_request=6)).entries) == 6
            assert refused("logs", content_type, body, limited(records_per_request=5)) == "too_many_records"

    def test_attributes_over_the_limit_are_dropped_counted_and_flagged(self) -> None:
        document = logs(log({f"a{n}": n for n in range(10)}, droppedAttributesCount=2), resource={"b": 1})
        for content_type, body in transports("logs", document):
            found = otlp.transcode("logs", content_type, body, limited(attributes_per_record=7))
            event = records_of(found.entries[0])[0]
            assert sorted(event["attributes_json"]) == [f"a{n}" for n in range(7)]
            assert event["dropped_attributes_count"] == 5
            assert event["pipeline_error"] == "attributes over the limit: 3 dropped"

    def test_attributes_of_the_resource_count_as_well(self) -> None:
        document = logs(log({"x": 1}), resource={f"a{n}": n for n in range(10)})
        event = only("logs", document, limited(attributes_per_record=7))[0]
        assert len(event["resource_attributes_json"]) == 7
        assert event["dropped_attributes_count"] == 3

    def test_a_record_that_kafka_would_not_take_is_rejected_alone(self) -> None:
        document = logs(log({"event.name": "x", "prompt": "p" * 5000}), log({"event.name": "y"}))
        for content_type, body in transports("logs", document):
            found = otlp.transcode("logs", content_type, body, limited(message_bytes=5000))
            assert [records_of(entry)[0]["event_name"] for entry in found.entries] == ["y"]
            assert [(r.reason, r.signal, r.content_type) for r in found.rejections] == [
                ("too_large", "logs", content_type)
            ]
            assert b"p" * 5000 in found.rejections[0].original


MALFORMED = [
    {"timeUnixNano": "soon"},
    {"timeUnixNano": -1},
    {"timeUnixNano": 2**64},
    {"timeUnixNano": 1.5},
    {"observedTimeUnixNano": True},
    {"severityNumber": 1.5},
    {"severityText": 5},
    {"attributes": {"a": "b"}},
    {"attributes": ["a"]},
    {"attributes": [{"key": 5, "value": any_value("x")}]},
    {"attributes": [{"key": "a", "value": "x"}]},
    {"attributes": [{"key": "a", "value": {"intValue": "1.5"}}]},
    {"attributes": [{"key": "a", "value": {"intValue": str(2**63)}}]},
    {"attributes": [{"key": "a", "value": {"boolValue": "yes"}}]},
    {"attributes": [{"key": "a", "value": {"bytesValue": "*"}}]},
    {"attributes": [{"key": "a", "value": {"bytesValue": "é"}}]},
    {"attributes": [{"key": "a", "value": {"doubleValue": "x"}}]},
    {"attributes": [{"key": "a", "value": {"arrayValue": []}}]},
    {"body": "claude_code.user_prompt"},
    {"traceId": 5},
]


@pytest.mark.parametrize("change", MALFORMED)
def test_a_malformed_record_is_rejected_alone(change: dict[str, Any]) -> None:
    document = logs(log({"event.name": "a"}), {**log({"event.name": "b"}), **change}, log({"event.name": "c"}))
    found = decoded("logs", document)
    assert [records_of(entry)[0]["event_name"] for entry in found.entries] == ["a", "c"]
    assert [r.reason for r in found.rejections] == ["malformed_record"]
    assert json.loads(found.rejections[0].original) == document["resourceLogs"][0]["scopeLogs"][0]["logRecords"][1]


NS = "2026-11-20T12:42:10.595Z"
TRACE, SPAN = "26cfcfdf49ccb1c13048a9c205eeeed1", "5a1e2b3c4d5e6f70"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"timeUnixNano": NS}, {"event_time": TIME_NS // 1000}),
        ({"observedTimeUnixNano": NS}, {"observed_time": TIME_NS // 1000}),
        ({"severityNumber": "WARNING"}, {"severity_number": 13, "coercion_errors": []}),
        ({"severityNumber": "Information"}, {"severity_number": 9}),
        ({"severityNumber": "9"}, {"severity_number": 9}),
        ({"severityNumber": "Unspecified"}, {"severity_number": None, "coercion_errors": []}),
        ({"severityNumber": ""}, {"severity_number": None, "coercion_errors": []}),
        ({"severityNumber": "LOUD"}, {"severity_text": "LOUD", "coercion_errors": ["severity_number"]}),
        ({"severityNumber": "LOUD"}, {"severity_number": None, "attributes": {"severity_number": "LOUD"}}),
        ({"severityNumber": "LOUD", "severityText": "loud"}, {"severity_text": "loud"}),
        ({"attributes": [{"key": "success", "value": {"boolValue": "True"}}]}, {"success": True}),
        ({"attributes": [{"key": "success", "value": {"boolValue": 0}}]}, {"success": False}),
        ({"attributes": [{"key": "n", "value": {"boolValue": 1}}]}, {"attributes_json": {"n": "true"}}),
        ({"attributes": [{"key": "n", "value": {"intValue": "12.0"}}]}, {"attributes_json": {"n": "12"}}),
        ({"traceId": "Js/P30nMscEwSKnCBe7u0Q==", "spanId": "Wh4rPE1eb3A="}, {"trace_id": TRACE, "span_id": SPAN}),
        ({"traceId": "Js_P30nMscEwSKnCBe7u0Q", "spanId": "Wh4rPE1eb3A"}, {"trace_id": TRACE, "span_id": SPAN}),
        ({"spanId": "AAAAAAAAAAA="}, {"span_id": None, "coercion_errors": []}),
        ({"spanId": "abcdefabcdef"}, {"span_id": None, "coercion_errors": ["span_id"]}),
    ],
)
def test_a_record_as_collectors_write_it_is_taken(change: dict[str, Any], expected: dict[str, Any]) -> None:
    row = only("logs", logs({**log({}), **change}))[0]
    assert {name: row[name] for name in expected} == expected


def test_words_that_nobody_knows_are_kept_on_spans_and_points() -> None:
    row = only("traces", spans(span({"kind": "mine"}, kind="SIDEWAYS", status={"code": "MAYBE"})))[0]
    assert (row["kind"], row["status_code"]) == ("unspecified", "unset")
    assert row["attributes"] == {"kind": "mine", "record.kind": "SIDEWAYS", "status_code": "MAYBE"}
    assert row["coercion_errors"] == ["record.kind", "status_code"]
    data = {"aggregationTemporality": "HOURLY", "dataPoints": [{"asDouble": 1.0}]}
    row = only("metrics", metric("m", {"sum": data}))[0]
    assert (row["temporality"], row["attributes"], row["coercion_errors"]) == (
        None,
        {"temporality": "HOURLY"},
        ["temporality"],
    )


def test_protobufs_own_json_is_read() -> None:
    document = spans(span({"tool_name": "Bash"}, parentSpanId="5a1e2b3c4d5e6f71", status={"code": 2}))
    request = KINDS["traces"].FromString(as_protobuf("traces", document))
    body = json_format.MessageToJson(request, preserving_proto_field_name=True).encode()
    (entry,) = otlp.transcode("traces", otlp.JSON, body, CONTEXT).entries
    assert records_of(entry) == only("traces", document)


def test_a_record_that_is_no_object_is_rejected_alone() -> None:
    found = decoded("logs", logs(log({}), 5, log({})))  # type: ignore[arg-type]
    assert (len(found.entries), [r.original for r in found.rejections]) == (2, [b"5"])


def test_unusual_but_valid_json_is_taken() -> None:
    record = {
        "timeUnixNano": 1.795e18,
        "severityNumber": "SEVERITY_NUMBER_WARN",
        "attributes": [
            {"key": "a", "value": {"doubleValue": "NaN"}},
            {"key": "b", "value": {"bytesValue": "_-8"}},
            {"key": "c", "value": {"intValue": 5.0}},
            {"key": "d", "value": {}},
            {"key": "e", "value": None},
            {"key": "f"},
            {"value": any_value("no key")},
            {"key": "g", "value": {"stringValue": None, "intValue": 1}},
            {"key": "h", "value": {"future": 1}},
        ],
        "futureMember": [1],
    }
    event = only("logs", logs(record))[0]
    assert event["severity_number"] == 13
    assert event["attributes"] == {"": "no key"}
    assert event["attributes_json"] == {
        "a": '{"doubleValue":"NaN"}',
        "b": '{"bytesValue":"/+8="}',
        "c": "5",
        "d": "null",
        "e": "null",
        "f": "null",
        "g": "1",
        "h": "null",
    }


@given(st.sampled_from(captured()), st.data())
@settings(max_examples=300)
def test_damaged_bodies_never_crash(path: Any, data: st.DataObject) -> None:
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(body)))
    with contextlib.suppress(OtlpError):
        otlp.transcode(signal_of(path), content_type_of(path), bytes(body[:cut]), CONTEXT)


@given(
    st.sampled_from(SIGNALS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *(
                            "resourceLogs",
                            "scopeLogs",
                            "logRecords",
                            "resource",
                            "attributes",
                            "key",
                            "value",
                            "intValue",
                        ),
                        *(
                            "resourceMetrics",
                            "scopeMetrics",
                            "metrics",
                            "sum",
                            "dataPoints",
                            "histogram",
                            "asInt",
                            "scope",
                        ),
                        *("resourceSpans", "scopeSpans", "spans", "events", "status", "arrayValue", "values", "body"),
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=30,
    ),
)
@settings(max_examples=500)
def test_json_of_any_shape_never_crashes(signal: otlp.Signal, document: Any) -> None:
    with contextlib.suppress(OtlpError):
        otlp.transcode(signal, otlp.JSON, json.dumps(document).encode(), CONTEXT)


@pytest.mark.parametrize("filler", ['"', "\\ud83d", "[", "\\\\"])
def test_hostile_bodies_are_decided_quickly(filler: str) -> None:
    body = b'{"resourceLogs": "' + filler.encode() * 500_000
    start = time.process_time()
    assert refused("logs", otlp.JSON, body) == "malformed_json"
    assert time.process_time() - start < 2


def test_protobuf_of_the_wrong_signal_is_harmless() -> None:
    body = as_protobuf("logs", logs(log({"a": 1})))
    with contextlib.suppress(OtlpError):
        otlp.transcode("metrics", otlp.PROTOBUF, body, CONTEXT)
