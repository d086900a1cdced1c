"""Bodies of OTLP answers: success, partial success, and google.rpc.Status for errors."""

from __future__ import annotations

from typing import Any

from google.protobuf import duration_pb2, json_format
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from schemas.otlp.message import Signal

JSON = "application/json"
_RESPONSES: dict[Signal, tuple[Any, str]] = {
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
}


def response(signal: Signal, content_type: str, rejected: int = 0, message: str = "") -> bytes:
    """The answer to a request that was taken: partial success where there is a message or records were rejected."""
    kind, name = _RESPONSES[signal]
    answer = kind()
    if rejected or message:
        setattr(answer.partial_success, name, rejected)
        answer.partial_success.error_message = message
    return _body(answer, content_type)


def status_message(code: int, message: str, retry_after_s: float | None = None) -> Any:
    """A google.rpc.Status. code: gRPC's.  retry_after_s: adds RetryInfo, which makes the error retryable."""
    status = status_pb2.Status(code=code, message=message)
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(round(retry_after_s * 1_000_000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def status(content_type: str, code: int, message: str, retry_after_s: float | None = None) -> bytes:
    """The body of an error answer."""
    return _body(status_message(code, message, retry_after_s), content_type)


def _body(message: Any, content_type: str) -> bytes:
    if content_type == JSON:
        return str(json_format.MessageToJson(message, indent=None)).encode()
    return bytes(message.SerializeToString())
