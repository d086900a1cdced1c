"""OTLP/JSON bodies to the model.

As the specification writes them, and as routers re-emit them: camelCase or snake_case names, ints as numbers or
strings, bools as words or 1 and 0, enums as numbers or names (in full or not, in any case), times as ISO 8601 text, ids
in hex of either case or in base64, null for what is not set, unknown members ignored. An enum's word that nobody knows
is kept beside the record (`unread`). A record of the wrong shape is Malformed alone; a request of the wrong shape is
refused.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1 import trace_pb2

from schemas.errors import OtlpError
from schemas.otlp import model
from schemas.otlp.message import Limits, Signal
from schemas.otlp.model import BadRecord
from schemas.otlp.repair import repair_json
from schemas.otlp.values import as_boolean, as_long, as_timestamp

# Lengths of an id in base64, with padding and without. Those of hex are others: 32 and 16.
_BASE64_IDS = {"traceId": (22, 24), "spanId": (11, 12), "parentSpanId": (11, 12)}
_KINDS = (
    ("sum", "sum"),
    ("gauge", "gauge"),
    ("histogram", "histogram"),
    ("exponentialHistogram", "exponential_histogram"),
    ("summary", "summary"),
)
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NAMED_DOUBLES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SNAKE = re.compile(r"[A-Z]")
_WRITABLE = 200
_MAX_UINT64 = (1 << 64) - 1
_MAX_INT64 = (1 << 63) - 1


def decode(signal: Signal, body: bytes, limits: Limits) -> model.Request:
    """Raises: OtlpError(malformed_json, too_deep, too_many_records)."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = repair_json(body)
        if document is None:
            raise OtlpError(f"not JSON: {error}", reason="malformed_json") from error
    reader = _Reader(limits)
    try:
        groups = {"logs": reader.logs, "metrics": reader.metrics, "traces": reader.traces}[signal](document)
    except BadRecord as error:
        raise OtlpError(f"not an OTLP {signal} request: {error}", reason="malformed_json") from error
    return model.Request(groups, _serialise)


def _serialise(source: Any) -> bytes:
    """A record as it came, but for what is nested deeper than orjson writes (it reads four times as deep)."""
    try:
        return orjson.dumps(source)
    except orjson.JSONEncodeError:
        return orjson.dumps(_cut(source, _WRITABLE))


def _cut(value: Any, depth: int) -> Any:
    if depth <= 0 and value.__class__ in (dict, list):
        return "nested too deep"
    if value.__class__ is dict:
        return {key: _cut(member, depth - 1) for key, member in value.items()}
    return [_cut(item, depth - 1) for item in value] if value.__class__ is list else value


def _snake(name: str) -> str:
    return _SNAKE.sub(lambda m: "_" + m[0].lower(), name)


class _Names(dict[str, str]):
    """camelCase → snake_case, computed once per name."""

    def __missing__(self, name: str) -> str:
        return self.setdefault(name, _snake(name))


_names = _Names()


def _member(holder: Any, name: str) -> Any:
    """A member under either spelling; None where it is not set."""
    if holder.__class__ is not dict:
        raise BadRecord(f"expected an object with {name}, got {type(holder).__name__}")
    found = holder.get(name)
    return holder.get(_names[name]) if found is None else found


def _list(holder: Any, name: str) -> list[Any]:
    found = _member(holder, name)
    if found is None:
        return []
    if found.__class__ is not list:
        raise BadRecord(f"{name}: expected a list, got {type(found).__name__}")
    return found


def _object(holder: Any, name: str) -> dict[str, Any]:
    found = _member(holder, name)
    if found is None:
        return {}
    if found.__class__ is not dict:
        raise BadRecord(f"{name}: expected an object, got {type(found).__name__}")
    return found


def _string(holder: Any, name: str) -> str:
    found = _member(holder, name)
    if found is None:
        return ""
    if found.__class__ is not str:
        raise BadRecord(f"{name}: expected a string, got {type(found).__name__}")
    return found


def _kind(value: Any) -> str:
    """What an error may say of a value. Not the value: a prompt may have been sent as an integer."""
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, str | list | dict) else type(value).__name__


def _integer(sent: Any, low: int, high: int) -> int:
    value = sent
    if value.__class__ is str:
        value = int(value) if _INTEGER.fullmatch(value) else as_long(value)
    elif value.__class__ is float and value.is_integer():
        value = int(value)
    if value.__class__ is not int or not low <= value <= high:
        raise BadRecord(f"not an integer from {low} to {high}: {_kind(sent)}")
    return value


def _time(holder: Any, name: str) -> int:
    """Nanoseconds since the epoch, 0 where there are none."""
    found = _member(holder, name)
    if found.__class__ is str and not found.isdecimal() and (micros := as_timestamp(found)) is not None:
        found = micros * 1000
    return 0 if found is None else _integer(found, 0, _MAX_UINT64)


def _unsigned(holder: Any, name: str, high: int = _MAX_UINT64) -> int:
    found = _member(holder, name)
    return 0 if found is None else _integer(found, 0, high)


def _signed(holder: Any, name: str) -> int:
    found = _member(holder, name)
    return 0 if found is None else _integer(found, -_MAX_INT64 - 1, _MAX_INT64)


def _double(value: Any) -> float:
    if value.__class__ is float or value.__class__ is int:
        return float(value)
    if value.__class__ is str:
        named = _NAMED_DOUBLES.get(value)
        if named is not None:
            return named
        try:
            return float(value)
        except ValueError:
            pass
    raise BadRecord(f"not a number: {_kind(value)}")


def _optional_double(holder: Any, name: str) -> float | None:
    found = _member(holder, name)
    return None if found is None else _double(found)


def _flag(value: Any) -> bool:
    found = as_boolean(value)
    if found is None:
        raise BadRecord(f"not a boolean: {_kind(value)}")
    return found


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise BadRecord(f"not a string: {type(value).__name__}")
    return value


def _bytes(value: Any) -> bytes:
    raw = _text(value).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(raw + "=" * (-len(raw) % 4), validate=True)
    except ValueError as error:  # binascii.Error, and what is not ASCII
        raise BadRecord(f"not base64: {error}") from error


def _long(value: Any) -> int:
    return _integer(value, -_MAX_INT64 - 1, _MAX_INT64)


def _enum(holder: Any, name: str, numbers: Mapping[str, int], field: str, unread: model.Attributes) -> int:
    """The enum's number; 0 for a word that is not known, which goes to `unread` under the field's name."""
    found = _member(holder, name)
    if found.__class__ is str:
        number = numbers.get(found.strip().upper())
        if number is not None:
            return number
        if as_long(found) is None:
            if found:
                unread[field] = found
            return 0
    return 0 if found is None else _integer(found, -(1 << 31), (1 << 31) - 1)


def _id(holder: Any, name: str) -> str:
    """Lower-case hex; an id of zeros is none."""
    found = _string(holder, name)
    if len(found) in _BASE64_IDS[name] and (sized := _from_base64(found, 16 if name == "traceId" else 8)):
        found = sized
    found = found.lower()
    return found if found.strip("0") else ""


def _from_base64(found: str, size: int) -> str | None:
    """Hex of an id in the JSON of protobuf itself; None for what is none, or hex already."""
    if not found.strip("0123456789abcdefABCDEF"):
        return None
    try:
        raw = _bytes(found)
    except BadRecord:
        return None
    return raw.hex() if len(raw) == size else None


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "stringValue": _text,
    "string_value": _text,
    "intValue": _long,
    "int_value": _long,
    "boolValue": _flag,
    "bool_value": _flag,
    "doubleValue": _double,
    "double_value": _double,
    "bytesValue": _bytes,
    "bytes_value": _bytes,
}
_ARRAYS = ("arrayValue", "array_value")
_KVLISTS = ("kvlistValue", "kvlist_value")


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self._most = limits.attributes_per_record
        self._depth = limits.depth
        self._records = limits.records_per_request

    def _count(self, counts: Iterator[int]) -> None:
        """Before anything is built of them."""
        total = 0
        for count in counts:
            total += count
            if total > self._records:
                raise OtlpError(f"more than {self._records} records in one request", reason="too_many_records")

    def logs(self, document: Any) -> list[model.Group]:
        return self._groups(document, "resourceLogs", "scopeLogs", lambda s: _list(s, "logRecords"), self._logs)

    def metrics(self, document: Any) -> list[model.Group]:
        def points(scope: Any) -> list[Any]:
            return [
                (metric, wire, kind, point)
                for metric in _list(scope, "metrics")
                for wire, kind in _KINDS
                if (data := _object(metric, wire))
                for point in _list(data, "dataPoints")
            ]

        return self._groups(document, "resourceMetrics", "scopeMetrics", points, self._points)

    def traces(self, document: Any) -> list[model.Group]:
        return self._groups(document, "resourceSpans", "scopeSpans", lambda s: _list(s, "spans"), self._spans)

    def _groups(
        self,
        document: Any,
        outer_name: str,
        inner_name: str,
        items: Callable[[Any], list[Any]],
        read: Callable[[list[Any]], list[Any]],
    ) -> list[model.Group]:
        found = [
            (outer, inner, items(inner)) for outer in _list(document, outer_name) for inner in _list(outer, inner_name)
        ]
        self._count(len(records) for _, _, records in found)
        groups = []
        for outer, inner, records in found:
            resource, over = self._attributes(_object(outer, "resource"))
            scope = _object(inner, "scope")
            own, own_over = self._attributes(scope)
            if own:
                resource = model.with_scope(resource, own)
            scope_url, outer_url = _string(inner, "schemaUrl"), _string(outer, "schemaUrl")
            dropped = _unsigned(_object(outer, "resource"), "droppedAttributesCount")
            scope_dropped = _unsigned(scope, "droppedAttributesCount")
            if dropped or scope_dropped or (scope_url and outer_url):
                resource = model.with_own(resource, dropped, scope_dropped, outer_url, scope_url)
            name, version = _string(scope, "name"), _string(scope, "version")
            groups.append(model.Group(resource, over + own_over, name, version, scope_url or outer_url, read(records)))
        return groups

    def _attributes(self, holder: Any, name: str = "attributes") -> tuple[model.Attributes, int]:
        """The attributes, and how many there are over the limit."""
        pairs = _list(holder, name)
        over = len(pairs) - self._most
        if over > 0:
            pairs = pairs[: self._most]
        found: model.Attributes = {}
        depth = self._depth
        for pair in pairs:
            try:
                found[_text(pair["key"])] = self._value(pair.get("value"), depth)
            except (KeyError, TypeError, AttributeError):
                found[_string(pair, "key")] = self._value(_member(pair, "value"), depth)
        return found, max(over, 0)

    def _value(self, value: Any, depth: int) -> Any:
        if value is None:
            return None
        if value.__class__ is not dict:
            raise BadRecord(f"expected an AnyValue, got {type(value).__name__}")
        if depth <= 0:
            raise OtlpError(f"values nested deeper than {self._depth} levels", reason="too_deep")
        for kind, held in value.items():
            if held is None:
                continue
            scalar = _SCALARS.get(kind)
            if scalar is not None:
                return scalar(held)
            if kind in _ARRAYS:
                return [self._value(item, depth - 1) for item in _list(held, "values")]
            if kind in _KVLISTS:
                pairs = _list(held, "values")
                return {_string(pair, "key"): self._value(_member(pair, "value"), depth - 1) for pair in pairs}
        return None

    def _logs(self, records: list[Any]) -> list[Any]:
        return [self._guarded(self._log, record, record) for record in records]

    def _points(self, items: list[Any]) -> list[Any]:
        return [self._guarded(self._point, item, {"name": item[0].get("name"), item[1]: item[3]}) for item in items]

    def _spans(self, spans: list[Any]) -> list[Any]:
        return [self._guarded(self._span, span, span) for span in spans]

    def _guarded(self, read: Callable[[Any], Any], item: Any, source: Any) -> Any:
        try:
            return read(item)
        except BadRecord as error:
            return model.Malformed(str(error), source)

    def _log(self, record: Any) -> model.LogRecord:
        attributes, over = self._attributes(record)
        unread: model.Attributes = {}
        return model.LogRecord(
            time=_time(record, "timeUnixNano"),
            observed=_time(record, "observedTimeUnixNano"),
            severity_number=_enum(record, "severityNumber", _SEVERITIES, "severity_number", unread),
            severity_text=_string(record, "severityText"),
            event_name=_string(record, "eventName"),
            body=self._value(_member(record, "body"), self._depth),
            attributes=attributes,
            dropped=_unsigned(record, "droppedAttributesCount"),
            over_limit=over,
            trace_id=_id(record, "traceId"),
            span_id=_id(record, "spanId"),
            flags=_unsigned(record, "flags"),
            source=record,
            unread=unread,
        )

    def _point(self, item: tuple[Any, str, str, Any]) -> model.DataPoint:
        metric, wire, kind, point = item
        data = _object(metric, wire)
        attributes, over = self._attributes(point)
        # Some routers put an object of their own there.
        ours = _member(metric, "metadata").__class__ is list
        metadata, metadata_over = self._attributes(metric, "metadata") if ours else (model.NOTHING, 0)
        scalar = kind in ("sum", "gauge")
        temporality = None
        unread: model.Attributes = {}
        if kind not in ("gauge", "summary"):
            number = _enum(data, "aggregationTemporality", _TEMPORALITIES, "temporality", unread)
            temporality = model.word(model.TEMPORALITIES, number)
        return model.DataPoint(
            metric=_string(metric, "name"),
            unit=_string(metric, "unit"),
            kind=kind,
            temporality=temporality,
            monotonic=_flag(_member(data, "isMonotonic") or False) if kind == "sum" else None,
            start=_time(point, "startTimeUnixNano"),
            time=_time(point, "timeUnixNano"),
            value=_number(point) if scalar else None,
            observations=None if scalar else _unsigned(point, "count"),
            sum=None if scalar else _summary_sum(kind, point),
            min=None if scalar or kind == "summary" else _optional_double(point, "min"),
            max=None if scalar or kind == "summary" else _optional_double(point, "max"),
            buckets=None if scalar else _buckets(kind, point),
            exemplars=None if kind == "summary" else self._exemplars(point),
            flags=_unsigned(point, "flags"),
            attributes=attributes,
            over_limit=over + metadata_over,
            source={"name": _string(metric, "name"), wire: point},
            unread=unread,
            metadata=metadata,
        )

    def _exemplars(self, point: Any) -> list[Any] | None:
        return [
            model.exemplar(
                _time(exemplar, "timeUnixNano"),
                _number(exemplar),
                _id(exemplar, "traceId"),
                _id(exemplar, "spanId"),
                self._attributes(exemplar, "filteredAttributes")[0],
            )
            for exemplar in _list(point, "exemplars")
        ] or None

    def _span(self, span: Any) -> model.Span:
        attributes, over = self._attributes(span)
        status = _object(span, "status")
        unread: model.Attributes = {}
        kind = _enum(span, "kind", _SPAN_KINDS, "kind", unread)
        code = _enum(status, "code", _STATUS_CODES, "status_code", unread)
        return model.Span(
            trace_id=_id(span, "traceId"),
            span_id=_id(span, "spanId"),
            parent_span_id=_id(span, "parentSpanId"),
            trace_state=_string(span, "traceState"),
            flags=_unsigned(span, "flags"),
            name=_string(span, "name"),
            kind=model.word(model.SPAN_KINDS, kind) or str(kind),
            start=_time(span, "startTimeUnixNano"),
            end=_time(span, "endTimeUnixNano"),
            attributes=attributes,
            dropped=_unsigned(span, "droppedAttributesCount"),
            over_limit=over,
            events=[
                model.SpanEvent(
                    _string(event, "name"),
                    _time(event, "timeUnixNano"),
                    self._attributes(event)[0],
                    _unsigned(event, "droppedAttributesCount"),
                )
                for event in _list(span, "events")
            ],
            dropped_events=_unsigned(span, "droppedEventsCount"),
            links=[
                model.SpanLink(
                    _id(link, "traceId"),
                    _id(link, "spanId"),
                    self._attributes(link)[0],
                    _string(link, "traceState"),
                    _unsigned(link, "flags"),
                    _unsigned(link, "droppedAttributesCount"),
                )
                for link in _list(span, "links")
            ],
            dropped_links=_unsigned(span, "droppedLinksCount"),
            status_code=model.word(model.STATUS_CODES, code) or str(code),
            status_message=_string(status, "message"),
            source=span,
            unread=unread,
        )


def _number(point: Any) -> float | int | None:
    found = _member(point, "asDouble")
    if found is not None:
        return _double(found)
    found = _member(point, "asInt")
    return None if found is None else _long(found)


def _summary_sum(kind: str, point: Any) -> float | None:
    found = _optional_double(point, "sum")
    return 0.0 if found is None and kind == "summary" else found


def _buckets(kind: str, point: Any) -> dict[str, Any]:
    if kind == "histogram":
        return model.histogram(
            [_double(bound) for bound in _list(point, "explicitBounds")],
            [_integer(count, 0, _MAX_UINT64) for count in _list(point, "bucketCounts")],
        )
    if kind == "summary":
        quantiles = _list(point, "quantileValues")
        return model.summary(
            [(_optional_double(q, "quantile") or 0.0, _optional_double(q, "value") or 0.0) for q in quantiles]
        )
    sides = [_object(point, side) for side in ("positive", "negative")]
    positive, negative = (
        (_signed(side, "offset"), [_integer(count, 0, _MAX_UINT64) for count in _list(side, "bucketCounts")])
        for side in sides
    )
    return model.exponential_histogram(
        _signed(point, "scale"),
        _unsigned(point, "zeroCount"),
        _optional_double(point, "zeroThreshold") or 0.0,
        positive,
        negative,
    )


def _enum_words(numbers: Iterable[tuple[str, int]], prefix: str) -> dict[str, int]:
    """Upper-case names of an enum, in full and without what they all begin with."""
    return {word: number for name, number in numbers for word in (name, name.removeprefix(prefix))}


# Words of syslog and of the loggers that most languages come with, as OpenTelemetry's log data model reads them.
_OTHER_SEVERITIES = (
    *(("INFORMATION", 9), ("INFORMATIONAL", 9), ("NOTICE", 10), ("WARNING", 13), ("ERR", 17), ("SEVERE", 17)),
    *(("CRITICAL", 18), ("CRIT", 18), ("ALERT", 19), ("EMERGENCY", 21), ("EMERG", 21)),
)
_SEVERITIES = _enum_words((*SeverityNumber.items(), *_OTHER_SEVERITIES), "SEVERITY_NUMBER_")
_TEMPORALITIES = _enum_words(AggregationTemporality.items(), "AGGREGATION_TEMPORALITY_")
_SPAN_KINDS = _enum_words(trace_pb2.Span.SpanKind.items(), "SPAN_KIND_")
_STATUS_CODES = _enum_words(trace_pb2.Status.StatusCode.items(), "STATUS_CODE_")
