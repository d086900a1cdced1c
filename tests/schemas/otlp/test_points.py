"""Data points to MetricPoint."""

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
    any_value,
    attributes,
    decoded,
    metric,
    only,
    transports,
)

NAME = "claude_code.token.usage"


def point(values: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    own = {"session.id": "s-1", "type": "input"} if values is None else values
    times = {"startTimeUnixNano": str(TIME_NS - 10**9), "timeUnixNano": str(TIME_NS)}
    return {"attributes": attributes(own), **times} | parts


def total(*points: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return metric(NAME, {"sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": list(points)} | parts})


def row(document: dict[str, Any]) -> dict[str, Any]:
    return only("metrics", document)[0]


def test_a_delta_sum_of_doubles() -> None:
    found = row(
        metric(NAME, total(point(asDouble=2.5))["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0], unit="tokens")
    )
    assert (found["metric"], found["kind"], found["temporality"], found["monotonic"]) == (NAME, "sum", "delta", True)
    assert (found["value"], found["value_int"]) == (2.5, None)
    assert (found["start_time"], found["event_time"]) == (TIME_US - 1_000_000, TIME_US)
    assert (found["session_id"], found["type"], found["received_time"]) == ("s-1", "input", RECEIVED_US)
    assert found["clock_suspect"] is False


@pytest.mark.parametrize("value", ["9007199254740993", 9007199254740993])
def test_integers_stay_exact(value: Any) -> None:
    found = row(total(point(asInt=value)))
    assert (found["value_int"], found["value"]) == (9007199254740993, 9007199254740992.0)


@pytest.mark.parametrize(
    ("temporality", "word"),
    [(1, "delta"), (2, "cumulative"), (0, None), (9, None), ("AGGREGATION_TEMPORALITY_CUMULATIVE", "cumulative")],
)
def test_temporality(temporality: Any, word: str | None) -> None:
    assert row(total(point(asInt=1), aggregationTemporality=temporality))["temporality"] == word


def test_a_gauge() -> None:
    found = row(metric("queue", {"gauge": {"dataPoints": [point(asDouble=1.5)]}}, unit="s"))
    assert (found["kind"], found["value"], found["temporality"], found["monotonic"]) == ("gauge", 1.5, None, None)
    assert found["metric_unit"] == "s"


HISTOGRAM = {"count": "3", "sum": 42.5, "min": 1.5, "max": 30.0, "explicitBounds": [10.0], "bucketCounts": ["2", "1"]}
EXPONENTIAL = {
    "count": "4", "sum": 9.0, "scale": -1, "zeroCount": "1", "zeroThreshold": 0.5,
    "positive": {"offset": 2, "bucketCounts": ["1", "2"]}, "negative": {"offset": -3, "bucketCounts": []},
}  # fmt: skip
SUMMARY = {"count": "2", "sum": 7.0, "quantileValues": [{"quantile": 0.5, "value": 3.5}, {"quantile": 0, "value": 0}]}


def test_histograms_are_kept() -> None:
    data = {"histogram": {"aggregationTemporality": 1, "dataPoints": [point(**HISTOGRAM)]}}
    found = row(metric("latency", data))
    assert (found["kind"], found["temporality"], found["value"]) == ("histogram", "delta", None)
    assert (found["count"], found["sum"], found["min"], found["max"]) == (3, 42.5, 1.5, 30.0)
    assert json.loads(found["buckets_json"]) == {"explicitBounds": [10.0], "bucketCounts": [2, 1]}


def test_exponential_histograms_are_kept() -> None:
    data = {"exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [point(**EXPONENTIAL)]}}
    found = row(metric("latency", data))
    assert (found["kind"], found["temporality"], found["count"]) == ("exponential_histogram", "cumulative", 4)
    assert (found["min"], found["max"]) == (None, None)
    buckets = json.loads(found["buckets_json"])
    assert (buckets["scale"], buckets["zeroCount"], buckets["positive"]["bucketCounts"]) == (-1, 1, [1, 2])


def test_summaries_are_kept() -> None:
    found = row(metric("latency", {"summary": {"dataPoints": [point(**SUMMARY)]}}))
    assert (found["kind"], found["count"], found["sum"]) == ("summary", 2, 7.0)
    assert json.loads(found["buckets_json"])["quantileValues"][0] == {"quantile": 0.5, "value": 3.5}


def test_exemplars_are_kept() -> None:
    exemplar = {"asInt": "5", "timeUnixNano": str(TIME_NS), "filteredAttributes": attributes({"a": 1})}
    found = row(total(point(asInt=1, exemplars=[exemplar])))
    assert json.loads(found["exemplars_json"]) == [
        {"filteredAttributes": {"a": 1}, "spanId": "", "timeUnixNano": TIME_NS, "traceId": "", "value": 5}
    ]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_cannot_be_added_is_flagged(value: str) -> None:
    found = row(total(point(asDouble=value)))
    assert (found["value"], found["coercion_errors"]) == (None, ["value"])
    assert found["attributes_json"] == {"value": json.dumps({"doubleValue": value}, separators=(",", ":"))}


def test_a_point_without_time_has_the_gateways() -> None:
    found = row(total(point(asInt=1, timeUnixNano=None, startTimeUnixNano=None)))
    assert (found["event_time"], found["start_time"], found["clock_suspect"]) == (RECEIVED_US, None, True)


@pytest.mark.parametrize("impossible", ["1", "946684799999999999", str(2**64 - 1)])
def test_a_time_that_cannot_be_gives_way_to_the_gateways(impossible: str) -> None:
    found = row(total(point(asInt=1, timeUnixNano=impossible)))
    assert (found["event_time"], found["start_time"]) == (RECEIVED_US, TIME_US - 1_000_000)
    assert found["clock_suspect"] is True
    found = row(total(point(asInt=1, startTimeUnixNano=impossible)))
    assert (found["event_time"], found["start_time"], found["clock_suspect"]) == (TIME_US, None, True)


def test_a_point_without_value_is_kept() -> None:
    found = row(total(point(flags=1)))
    assert (found["value"], found["value_int"], found["flags"]) == (None, None, 1)


def test_the_id_is_of_series_and_interval() -> None:
    first = row(total(point(asInt=1)))
    resent = row(total(point({"type": "input", "session.id": "s-1"}, asInt=1)))
    later = row(total(point(asInt=1, timeUnixNano=str(TIME_NS + 1))))
    other = row(total(point({"session.id": "s-1", "type": "output"}, asInt=1)))
    assert resent["point_id"] == first["point_id"]
    assert (later["series"], later["point_id"] != first["point_id"]) == (first["series"], True)
    assert other["series"] != first["series"]
    assert len(first["series"]) == 32


def test_the_resource_does_not_tell_series_apart() -> None:
    """As in the ledger: a router that adds a resource attribute must not split a series."""
    document = total(point(asInt=1))
    document["resourceMetrics"][0]["resource"] = {"attributes": attributes({"host.name": "h", "team.id": "t"})}
    assert row(document)["point_id"] == row(total(point(asInt=1)))["point_id"]
    assert row(document)["team"] == "t"


def test_keys_and_headers() -> None:
    message = decoded("metrics", total(point(asInt=1))).entries[0].messages[0]
    assert (message.topic, message.key) == ("metrics", b"acme\x1fs-1")
    assert dict(message.headers)["event_name"] == NAME.encode()
    user = row(total(point({"user.id": "u"}, asInt=1)))["user_key"]
    assert (
        decoded("metrics", total(point({"user.id": "u"}, asInt=1))).entries[0].messages[0].key.endswith(user.encode())
    )


def test_unknown_attributes_survive() -> None:
    found = row(total(point({"a": "b", "n": 5}, asInt=1)))
    assert (found["attributes"], found["attributes_json"]) == ({"a": "b"}, {"n": "5"})


def test_unknown_long_text_is_content() -> None:
    found = only("metrics", total(point({"a": "x" * 300}, asInt=1)))
    assert found[0]["attributes"] == {"a": "<content>"}
    assert (found[1]["event_id"], found[1]["field"], found[1]["length"]) == (found[0]["point_id"], "a", 300)


def test_a_metric_without_data_has_no_points() -> None:
    assert decoded("metrics", metric("empty", {})).entries == []


NUMBERS = st.integers(-(2**63), 2**63 - 1).map(lambda n: {"asInt": str(n)}) | st.floats().map(
    lambda x: {"asDouble": any_value(x)["doubleValue"]}
)
UNSIGNED = st.integers(0, 2**63 - 1).map(str)
DATA = st.one_of(
    NUMBERS.map(lambda n: {"sum": {"aggregationTemporality": 2, "dataPoints": [point(**n)]}}),
    NUMBERS.map(lambda n: {"gauge": {"dataPoints": [point(**n)]}}),
    UNSIGNED.map(lambda n: {"histogram": {"dataPoints": [point(**HISTOGRAM | {"count": n})]}}),
    UNSIGNED.map(lambda n: {"exponentialHistogram": {"dataPoints": [point(**EXPONENTIAL | {"zeroCount": n})]}}),
    UNSIGNED.map(lambda n: {"summary": {"dataPoints": [point(**SUMMARY | {"count": n})]}}),
)


@given(DATA)
def test_the_same_point_is_the_same_over_every_transport(data: dict[str, Any]) -> None:
    document = metric("m", data, resource={"team.id": "t"}, unit="s")
    found = [otlp.transcode("metrics", kind, body, CONTEXT) for kind, body in transports("metrics", document)]
    assert len(found[0].entries) == 1
    assert all(each == found[0] for each in found[1:])


@pytest.mark.parametrize("held", [{}, {"a": 1}, "x", None])
def test_metadata_that_is_no_list_of_attributes_costs_no_point(held: Any) -> None:
    document = metric("m", {"gauge": {"dataPoints": [{"asDouble": 1.0}]}})
    document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["metadata"] = held
    assert only("metrics", document)[0]["value"] == 1.0
