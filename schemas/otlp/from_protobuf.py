"""OTLP protobuf bodies to the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import OtlpError
from schemas.otlp import model
from schemas.otlp.message import Limits, Signal
from schemas.otlp.repair import repair_protobuf

_REQUESTS: dict[Signal, Any] = {
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "traces": ExportTraceServiceRequest,
}
_KINDS = ("sum", "gauge", "histogram", "exponential_histogram", "summary")


def decode(signal: Signal, body: bytes, limits: Limits) -> model.Request:
    """Raises: OtlpError(malformed_protobuf, too_deep, too_many_records)."""
    kind = _REQUESTS[signal]
    try:
        request = kind.FromString(body)
    except DecodeError as error:
        repaired = repair_protobuf(kind, body)
        if repaired is None:
            raise OtlpError(f"not an OTLP {signal} request: {error}", reason="malformed_protobuf") from error
        request = repaired
    reader = _Reader(limits)
    groups = {"logs": reader.logs, "metrics": reader.metrics, "traces": reader.traces}[signal](request)
    return model.Request(groups, lambda source: bytes(source.SerializeToString()))


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

    def logs(self, request: Any) -> list[model.Group]:
        self._count(len(s.log_records) for r in request.resource_logs for s in r.scope_logs)
        groups = []
        for outer in request.resource_logs:
            resource = self._attributes(outer.resource.attributes)
            for inner in outer.scope_logs:
                records = [self._log(record) for record in inner.log_records]
                groups.append(self._group(resource, outer, inner, records))
        return groups

    def metrics(self, request: Any) -> list[model.Group]:
        self._count(
            len(getattr(m, kind).data_points)
            for r in request.resource_metrics
            for s in r.scope_metrics
            for m in s.metrics
            if (kind := m.WhichOneof("data"))
        )
        groups = []
        for outer in request.resource_metrics:
            resource = self._attributes(outer.resource.attributes)
            for inner in outer.scope_metrics:
                points = [point for metric in inner.metrics for point in self._points(metric)]
                groups.append(self._group(resource, outer, inner, points))
        return groups

    def traces(self, request: Any) -> list[model.Group]:
        self._count(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
        groups = []
        for outer in request.resource_spans:
            resource = self._attributes(outer.resource.attributes)
            for inner in outer.scope_spans:
                records = [self._span(span) for span in inner.spans]
                groups.append(self._group(resource, outer, inner, records))
        return groups

    def _group(
        self, outer_attributes: tuple[model.Attributes, int], outer: Any, inner: Any, records: list[Any]
    ) -> model.Group:
        resource, over = outer_attributes
        scope = inner.scope
        if scope.attributes:
            own, own_over = self._attributes(scope.attributes)
            resource, over = model.with_scope(resource, own), over + own_over
        dropped = outer.resource.dropped_attributes_count
        if dropped or scope.dropped_attributes_count or (inner.schema_url and outer.schema_url):
            resource = model.with_own(
                resource, dropped, scope.dropped_attributes_count, outer.schema_url, inner.schema_url
            )
        return model.Group(resource, over, scope.name, scope.version, inner.schema_url or outer.schema_url, records)

    def _attributes(self, pairs: Any) -> tuple[model.Attributes, int]:
        """The attributes, and how many there are over the limit."""
        over = len(pairs) - self._most
        if over > 0:
            pairs = pairs[: self._most]
        found: model.Attributes = {}
        for pair in pairs:
            value = pair.value
            # Nearly all values are strings; "" is also what the other kinds show here.
            found[pair.key] = value.string_value or self._value(value, self._depth)
        return found, max(over, 0)

    def _value(self, value: Any, depth: int) -> Any:
        kind = value.WhichOneof("value")
        if kind is None:
            return None
        if depth <= 0:
            raise OtlpError(f"values nested deeper than {self._depth} levels", reason="too_deep")
        if kind == "array_value":
            return [self._value(item, depth - 1) for item in value.array_value.values]
        if kind == "kvlist_value":
            return {pair.key: self._value(pair.value, depth - 1) for pair in value.kvlist_value.values}
        # A place in a table that only profiles have: here it says nothing, in JSON neither.
        return None if kind == "string_value_strindex" else getattr(value, kind)

    def _log(self, record: Any) -> model.LogRecord:
        attributes, over = self._attributes(record.attributes)
        return model.LogRecord(
            record.time_unix_nano,
            record.observed_time_unix_nano,
            record.severity_number,
            record.severity_text,
            record.event_name,
            self._value(record.body, self._depth),
            attributes,
            record.dropped_attributes_count,
            over,
            _hex(record.trace_id),
            _hex(record.span_id),
            record.flags,
            record,
        )

    def _points(self, metric: Any) -> Iterator[model.DataPoint]:
        kind = metric.WhichOneof("data")
        if kind is None:
            return
        data = getattr(metric, kind)
        metadata, metadata_over = self._attributes(metric.metadata) if metric.metadata else (model.NOTHING, 0)
        temporality = None if kind in ("gauge", "summary") else data.aggregation_temporality
        for point in data.data_points:
            attributes, over = self._attributes(point.attributes)
            scalar = kind in ("sum", "gauge")
            which = point.WhichOneof("value") if scalar else None
            yield model.DataPoint(
                metric=metric.name,
                unit=metric.unit,
                kind=kind,
                temporality=None if temporality is None else model.word(model.TEMPORALITIES, temporality),
                monotonic=data.is_monotonic if kind == "sum" else None,
                start=point.start_time_unix_nano,
                time=point.time_unix_nano,
                value=getattr(point, which) if which else None,
                observations=None if scalar else point.count,
                sum=None if scalar or (kind != "summary" and not point.HasField("sum")) else point.sum,
                min=point.min if kind in _KINDS[2:4] and point.HasField("min") else None,
                max=point.max if kind in _KINDS[2:4] and point.HasField("max") else None,
                buckets=None if scalar else _buckets(kind, point),
                exemplars=None if kind == "summary" else self._exemplars(point.exemplars),
                flags=point.flags,
                attributes=attributes,
                over_limit=over + metadata_over,
                source=point,
                metadata=metadata,
            )

    def _exemplars(self, exemplars: Any) -> list[Any] | None:
        found = []
        for exemplar in exemplars:
            which = exemplar.WhichOneof("value")
            found.append(
                model.exemplar(
                    exemplar.time_unix_nano,
                    getattr(exemplar, which) if which else None,
                    _hex(exemplar.trace_id),
                    _hex(exemplar.span_id),
                    self._attributes(exemplar.filtered_attributes)[0],
                )
            )
        return found or None

    def _span(self, span: Any) -> model.Span:
        attributes, over = self._attributes(span.attributes)
        return model.Span(
            trace_id=_hex(span.trace_id),
            span_id=_hex(span.span_id),
            parent_span_id=_hex(span.parent_span_id),
            trace_state=span.trace_state,
            flags=span.flags,
            name=span.name,
            kind=model.word(model.SPAN_KINDS, span.kind) or str(span.kind),
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            attributes=attributes,
            dropped=span.dropped_attributes_count,
            over_limit=over,
            events=[
                model.SpanEvent(e.name, e.time_unix_nano, self._attributes(e.attributes)[0], e.dropped_attributes_count)
                for e in span.events
            ],
            dropped_events=span.dropped_events_count,
            links=[
                model.SpanLink(
                    _hex(link.trace_id),
                    _hex(link.span_id),
                    self._attributes(link.attributes)[0],
                    link.trace_state,
                    link.flags,
                    link.dropped_attributes_count,
                )
                for link in span.links
            ],
            dropped_links=span.dropped_links_count,
            status_code=model.word(model.STATUS_CODES, span.status.code) or str(span.status.code),
            status_message=span.status.message,
            source=span,
        )


def _hex(raw: bytes) -> str:
    """Lower-case hex; an id of zeros is none."""
    return raw.hex() if raw.strip(b"\0") else ""


def _buckets(kind: str, point: Any) -> dict[str, Any]:
    if kind == "histogram":
        return model.histogram(list(point.explicit_bounds), list(point.bucket_counts))
    if kind == "summary":
        return model.summary([(q.quantile, q.value) for q in point.quantile_values])
    return model.exponential_histogram(
        point.scale,
        point.zero_count,
        point.zero_threshold,
        (point.positive.offset, list(point.positive.bucket_counts)),
        (point.negative.offset, list(point.negative.bucket_counts)),
    )
