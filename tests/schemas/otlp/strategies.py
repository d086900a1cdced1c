"""OTLP requests of every shape that the official protobuf classes can hold, as OTLP/JSON documents."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas.catalogue import RECORDS, Kind
from schemas.otlp.bindings import DEFAULT_NAMES, bindings
from tests.schemas.otlp.requests import TIME_NS, any_value

KINDS: dict[str, Kind] = {"logs": "events", "metrics": "metrics", "traces": "spans"}
#: A client's own text that looks like our mark is told apart by nothing; no client sends it.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12).filter(lambda text: text != "<content>")
LONG = st.builds(lambda text, count: (text or "x") * count, TEXT, st.integers(257, 400))
WORDS = st.sampled_from(
    (
        *("", "undefined", "true", "FALSE", "0", "56", "-1", "1.0", "1e3", "9007199254740993", "1" * 30, "NaN"),
        *("2026-11-20T12:42:10.595Z", '["a", 1]', "[not json", '{"full_command": "ls"}', '{"broken'),
        *("<REDACTED>", "claude_code.tool_result"),
    )
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(),
    TEXT,
    LONG,
    WORDS,
    st.binary(max_size=12),
)
INNER = TEXT | st.sampled_from(["bytesValue", "doubleValue", "kvlistValue", "prompt"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=3),
    max_leaves=6,
)


def names(signal: str) -> st.SearchStrategy[str]:
    """Names of the schema, in both spellings, names that look like our own, and any other, long ones too."""
    found = bindings(RECORDS[KINDS[signal]], DEFAULT_NAMES)
    known = sorted({name for table in (found.default, *found.by_event.values()) for name in table} - {"session.id"})
    ours = ["event_id", "log_body", "value", "trace_id", "events_json", "attributes", "a", "a.2", "metric", "name", ""]
    ours.append("<content>")
    return st.one_of(
        st.sampled_from(known),
        st.sampled_from([name.replace(".", "_") for name in known if "." in name]),
        st.sampled_from(ours),
        TEXT,
        st.builds(lambda text: (text or "k") * 1100, TEXT.filter(bool)),
    )


def attributes(signal: str, max_size: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    """Attributes of a record; now and then with a session."""
    session = st.just({}) | st.builds(lambda text: {"session.id": "s-" + text.replace("\x1f", "")}, TEXT)
    return st.builds(lambda a, b: {**a, **b}, st.dictionaries(names(signal), VALUES, max_size=max_size), session)


def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP/JSON attributes."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


TIMES = st.sampled_from([0, 1, TIME_NS, TIME_NS + 1, (1 << 64) - 1]).map(str)
COUNTS = st.sampled_from([0, 1, 7, (1 << 32) - 1])
IDS = st.sampled_from(["", "00" * 16, "26cfcfdf49ccb1c13048a9c205eeeed1", "5a1e2b3c4d5e6f70", "ab"])
ENUMS = st.sampled_from([0, 1, 2, 5, 77])
DOUBLES = st.floats().map(lambda value: any_value(value)["doubleValue"])


def _parts(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=strategies)


def _logs() -> st.SearchStrategy[dict[str, Any]]:
    return _parts(
        timeUnixNano=TIMES,
        observedTimeUnixNano=TIMES,
        severityNumber=ENUMS,
        severityText=TEXT,
        eventName=TEXT | WORDS,
        body=VALUES.map(any_value),
        droppedAttributesCount=COUNTS,
        flags=COUNTS,
        traceId=IDS,
        spanId=IDS,
    )


def _spans() -> st.SearchStrategy[dict[str, Any]]:
    inner = attributes("traces", 3).map(pairs)
    return st.builds(
        lambda ids, parts: ids | parts,
        st.just({"traceId": "26cfcfdf49ccb1c13048a9c205eeeed1", "spanId": "5a1e2b3c4d5e6f70"}),
        _parts(
            parentSpanId=IDS,
            traceState=TEXT,
            flags=COUNTS,
            name=TEXT,
            kind=ENUMS,
            startTimeUnixNano=TIMES,
            endTimeUnixNano=TIMES,
            droppedAttributesCount=COUNTS,
            droppedEventsCount=COUNTS,
            droppedLinksCount=COUNTS,
            status=_parts(code=ENUMS, message=TEXT | LONG),
            events=st.lists(_parts(name=TEXT, timeUnixNano=TIMES, attributes=inner), max_size=2),
            links=st.lists(
                _parts(
                    traceId=IDS,
                    spanId=IDS,
                    attributes=inner,
                    traceState=TEXT,
                    flags=COUNTS,
                    droppedAttributesCount=COUNTS,
                ),
                max_size=2,
            ),
        ),
    )


def _points() -> st.SearchStrategy[dict[str, Any]]:
    exemplar = _parts(
        timeUnixNano=TIMES,
        traceId=IDS,
        spanId=IDS,
        filteredAttributes=attributes("metrics", 3).map(pairs),
        asDouble=DOUBLES,
    )
    return _parts(startTimeUnixNano=TIMES, timeUnixNano=TIMES, flags=COUNTS, exemplars=st.lists(exemplar, max_size=2))


def _metric(
    point: dict[str, Any], numbers: dict[str, Any], name: str, metadata: list[dict[str, Any]]
) -> dict[str, Any]:
    kind, own = numbers["kind"], numbers["own"]
    if kind == "summary":
        point = {key: value for key, value in point.items() if key != "exemplars"}
    data: dict[str, Any] = {"dataPoints": [point | own]}
    if kind not in ("gauge", "summary"):
        data["aggregationTemporality"] = numbers["temporality"]
    if kind == "sum":
        data["isMonotonic"] = numbers["monotonic"]
    return {"name": name, "unit": "tokens", "metadata": metadata, kind: data}


def _numbers() -> st.SearchStrategy[dict[str, Any]]:
    scalar = _parts(asDouble=DOUBLES) | st.builds(
        lambda value: {"asInt": str(value)}, st.integers(-(1 << 63), (1 << 63) - 1)
    )
    counted = {"count": TIMES, "sum": DOUBLES, "min": DOUBLES, "max": DOUBLES}
    side = _parts(offset=st.integers(-5, 5), bucketCounts=st.lists(TIMES, max_size=2))
    own = {
        "gauge": scalar,
        "sum": scalar,
        "histogram": _parts(
            **counted, explicitBounds=st.lists(DOUBLES, max_size=2), bucketCounts=st.lists(TIMES, max_size=2)
        ),
        "exponentialHistogram": _parts(
            **counted, scale=st.integers(-5, 5), zeroCount=TIMES, zeroThreshold=DOUBLES, positive=side, negative=side
        ),
        "summary": _parts(
            count=TIMES, sum=DOUBLES, quantileValues=st.lists(_parts(quantile=DOUBLES, value=DOUBLES), max_size=2)
        ),
    }
    return st.one_of(
        *(
            st.fixed_dictionaries(
                {"kind": st.just(kind), "own": held, "temporality": ENUMS, "monotonic": st.booleans()}
            )
            for kind, held in own.items()
        )
    )


Record = tuple[dict[str, Any], dict[str, Any]]
"""A record without attributes, and its attributes."""


def records(signal: str) -> st.SearchStrategy[Record]:
    """One log record, span or metric of one point, and the attributes that it is to have."""
    found = {
        "logs": _logs(),
        "traces": _spans(),
        "metrics": st.builds(_metric, _points(), _numbers(), TEXT, attributes("metrics", 2).map(pairs)),
    }[signal]
    return st.tuples(found, attributes(signal))


def with_attributes(record: Record, values: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The record with its attributes, or with these."""
    bare, own = record
    held = pairs(own) if values is None else values
    for kind in ("gauge", "sum", "histogram", "exponentialHistogram", "summary"):
        if kind in bare:
            (point,) = bare[kind]["dataPoints"]
            return {**bare, kind: {**bare[kind], "dataPoints": [{**point, "attributes": held}]}}
    return {**bare, "attributes": held}


_OUTER = {
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "traces": ("resourceSpans", "scopeSpans", "spans"),
}


def request(
    signal: str, found: list[dict[str, Any]], resource: dict[str, Any], scope: dict[str, Any]
) -> dict[str, Any]:
    """The records of one group."""
    outer, inner, leaf = _OUTER[signal]
    held = {"scope": {"name": "s", "attributes": pairs(scope)}, "schemaUrl": "u", leaf: found}
    return {outer: [{"resource": {"attributes": pairs(resource)}, inner: [held]}]}
