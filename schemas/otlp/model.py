"""An OTLP request after decoding, the same for protobuf and JSON: what the normalisers work on.

Attribute values are str, bool, int (64 bits), float, bytes, list, dict (str keys) or None (a value that is not set).
Ids are lower-case hex, "" where there is none. Times are nanoseconds since the epoch, 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Attributes = dict[str, Any]
NOTHING: Attributes = {}


class LogRecord(NamedTuple):
    """`dropped` counts the attributes that the client dropped, `over_limit` those that we did.

    `renamed`, here and below: attribute names that were put right, as they were sent (see spelling.py).
    `unread`: words of enums that are not known, by the field that they were for.
    """

    time: int
    observed: int
    severity_number: int
    severity_text: str
    event_name: str
    body: Any
    attributes: Attributes
    dropped: int
    over_limit: int
    trace_id: str
    span_id: str
    flags: int
    source: Any
    renamed: tuple[str, ...] = ()
    unread: Attributes = NOTHING


class DataPoint(NamedTuple):
    """One point of one metric. `buckets` has what only histograms and summaries have, under OTLP's own names.

    `metadata`: the metric's own attributes, the same for all of its points.
    """

    metric: str
    unit: str
    kind: str
    temporality: str | None
    monotonic: bool | None
    start: int
    time: int
    value: float | int | None
    observations: int | None
    sum: float | None
    min: float | None
    max: float | None
    buckets: dict[str, Any] | None
    exemplars: list[Any] | None
    flags: int
    attributes: Attributes
    over_limit: int
    source: Any
    renamed: tuple[str, ...] = ()
    unread: Attributes = NOTHING
    metadata: Attributes = NOTHING


class SpanEvent(NamedTuple):
    """An event on a span."""

    name: str
    time: int
    attributes: Attributes
    dropped: int


class SpanLink(NamedTuple):
    """A link of a span."""

    trace_id: str
    span_id: str
    attributes: Attributes
    trace_state: str
    flags: int
    dropped: int


class Span(NamedTuple):
    """`kind` and `status_code` are words: internal, server, ...; unset, ok, error."""

    trace_id: str
    span_id: str
    parent_span_id: str
    trace_state: str
    flags: int
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    dropped: int
    over_limit: int
    events: list[SpanEvent]
    dropped_events: int
    links: list[SpanLink]
    dropped_links: int
    status_code: str
    status_message: str
    source: Any
    renamed: tuple[str, ...] = ()
    unread: Attributes = NOTHING


class Malformed(NamedTuple):
    """A record whose request is fine but which cannot be read itself."""

    error: str
    source: Any


@dataclass(frozen=True, slots=True)
class Group:
    """Records that share their resource and scope; `records` are LogRecord, DataPoint or Span, or Malformed.

    `resource` has the scope's attributes as well; `over_limit` counts those of both that were dropped.
    """

    resource: Attributes
    over_limit: int
    scope_name: str
    scope_version: str
    schema_url: str
    records: list[Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded request. `serialise` gives the bytes of a record's `source`, in the encoding it came in."""

    groups: list[Group]
    serialise: Callable[[Any], bytes]


class BadRecord(ValueError):
    """One record cannot be read; the others of the request can."""


SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUS_CODES = ("unset", "ok", "error")
TEMPORALITIES: tuple[str | None, ...] = (None, "delta", "cumulative")
SCOPE_PREFIX = "otel.scope."
RESOURCE_PREFIX = "otel.resource."


def is_hex(text: str, size: int) -> bool:
    """Whether `text` is an id of `size` lower-case hex digits."""
    return len(text) == size and not text.strip("0123456789abcdef")


def word(words: tuple[Any, ...], number: int) -> Any:
    """The word for an enum's number; None for one that is not known."""
    return words[number] if 0 <= number < len(words) else None


def with_own(resource: Attributes, dropped: int, scope_dropped: int, schema_url: str, scope_url: str) -> Attributes:
    """The attributes with what resource and scope say beside them, where they do; never in the place of one.

    Args:    dropped, scope_dropped: attributes that the client dropped.  schema_url, scope_url: the resource's is told
             where it is not the scope's, which is a field.
    """
    own = {
        f"{RESOURCE_PREFIX}dropped_attributes_count": dropped,
        f"{SCOPE_PREFIX}dropped_attributes_count": scope_dropped,
        f"{RESOURCE_PREFIX}schema_url": schema_url if scope_url and schema_url != scope_url else "",
    }
    found = dict(resource)
    for key, value in own.items():
        while value and key in found:
            key = f"record.{key}"
        if value:
            found[key] = value
    return found


def with_scope(resource: Attributes, scope: Attributes) -> Attributes:
    """The resource's attributes and the scope's, whose names get SCOPE_PREFIX."""
    return {**resource, **{SCOPE_PREFIX + key: value for key, value in scope.items()}}


def exemplar(time: int, value: Any, trace_id: str, span_id: str, attributes: Attributes) -> dict[str, Any]:
    """An exemplar under OTLP's own names."""
    return {
        "timeUnixNano": time,
        "value": value,
        "traceId": trace_id,
        "spanId": span_id,
        "filteredAttributes": attributes,
    }


def histogram(bounds: list[float], counts: list[int]) -> dict[str, Any]:
    """Buckets of a histogram under OTLP's own names."""
    return {"explicitBounds": bounds, "bucketCounts": counts}


def exponential_histogram(
    scale: int, zeros: int, threshold: float, positive: tuple[int, list[int]], negative: tuple[int, list[int]]
) -> dict[str, Any]:
    """Buckets of an exponential histogram under OTLP's own names."""
    return {
        "scale": scale,
        "zeroCount": zeros,
        "zeroThreshold": threshold,
        "positive": {"offset": positive[0], "bucketCounts": positive[1]},
        "negative": {"offset": negative[0], "bucketCounts": negative[1]},
    }


def summary(quantiles: list[tuple[float, float]]) -> dict[str, Any]:
    """Quantiles of a summary under OTLP's own names."""
    return {"quantileValues": [{"quantile": q, "value": v} for q, v in quantiles]}
