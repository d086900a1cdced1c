"""OTLP requests for tests, written as JSON and given in every transport."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas import codec, otlp
from schemas.topics import CATALOGUE

CAPTURES = Path(__file__).parents[2] / "captures"
TIME_NS = 1_795_178_530_595_000_000
TIME_US = TIME_NS // 1000
RECEIVED_US = TIME_US + 2_000_000
CONTEXT = otlp.Context("acme", RECEIVED_US, b"k" * 32)
KINDS: dict[str, Any] = {
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "traces": ExportTraceServiceRequest,
}


def any_value(value: Any) -> dict[str, Any]:
    """An OTLP/JSON AnyValue, with ints as strings as the specification wants them."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        named = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value))
        return {"doubleValue": named or value}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(v) for v in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {"stringValue": value}


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP/JSON attributes."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def log(values: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A log record."""
    return {"timeUnixNano": str(TIME_NS), "attributes": attributes(values)} | parts


def logs(*records: dict[str, Any], resource: dict[str, Any] | None = None, **scope: Any) -> dict[str, Any]:
    """A logs request of one resource."""
    inner = {"scope": scope, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": {"attributes": attributes(resource or {})}, "scopeLogs": [inner]}]}


def metric(name: str, data: dict[str, Any], resource: dict[str, Any] | None = None, unit: str = "") -> dict[str, Any]:
    """A metrics request with one metric; data: {"sum": {...}} or another kind."""
    inner = {"scope": {"name": "com.anthropic.claude_code"}, "metrics": [{"name": name, "unit": unit} | data]}
    return {"resourceMetrics": [{"resource": {"attributes": attributes(resource or {})}, "scopeMetrics": [inner]}]}


def spans(*records: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    """A traces request of one resource."""
    inner = {"scope": {"name": "com.anthropic.claude_code.tracing"}, "spans": list(records)}
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": [inner]}]}


def span(values: dict[str, Any], name: str = "claude_code.tool", **parts: Any) -> dict[str, Any]:
    """A span."""
    return {
        "traceId": "26cfcfdf49ccb1c13048a9c205eeeed1",
        "spanId": "5a1e2b3c4d5e6f70",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(TIME_NS),
        "endTimeUnixNano": str(TIME_NS + 214_000_000),
        "attributes": attributes(values),
    } | parts


def as_json(document: Any) -> bytes:
    """The body of a JSON request."""
    return json.dumps(document, ensure_ascii=False).encode()


def as_protobuf(signal: str, document: dict[str, Any]) -> bytes:
    """The same request in protobuf. OTLP/JSON has hex ids where protobuf's own JSON has base64."""
    ids = ("traceId", "spanId", "parentSpanId")

    def base64_ids(value: Any) -> Any:
        if isinstance(value, list):
            return [base64_ids(v) for v in value]
        if isinstance(value, dict):
            return {
                k: base64.b64encode(bytes.fromhex(v)).decode() if k in ids and isinstance(v, str) else base64_ids(v)
                for k, v in value.items()
            }
        return value

    return bytes(json_format.ParseDict(base64_ids(document), KINDS[signal]()).SerializeToString())


def with_int_numbers(value: Any) -> Any:
    """The same document with every 64-bit integer as a number, as JavaScript exporters write them."""
    if isinstance(value, list):
        return [with_int_numbers(v) for v in value]
    if isinstance(value, dict):
        return {k: int(v) if _is_int_member(k, v) else with_int_numbers(v) for k, v in value.items()}
    return value


def _is_int_member(name: str, value: Any) -> bool:
    return isinstance(value, str) and (name in ("intValue", "asInt", "count") or name.endswith("UnixNano"))


def with_snake_names(value: Any) -> Any:
    """The same document with snake_case names, as some routers write it."""
    if isinstance(value, list):
        return [with_snake_names(v) for v in value]
    if isinstance(value, dict):
        return {re.sub("[A-Z]", lambda m: "_" + m[0].lower(), k): with_snake_names(v) for k, v in value.items()}
    return value


def transports(signal: str, document: dict[str, Any]) -> list[tuple[str, bytes]]:
    """(content type, body) of the same request in every way that we take it."""
    return [
        (otlp.PROTOBUF, as_protobuf(signal, document)),
        (otlp.JSON, as_json(document)),
        (otlp.JSON, as_json(with_int_numbers(document))),
        (otlp.JSON, as_json(with_snake_names(document))),
    ]


def decoded(signal: Any, document: dict[str, Any], context: otlp.Context = CONTEXT) -> otlp.Decoded:
    """The request, transcoded from JSON."""
    return otlp.transcode(signal, otlp.JSON, as_json(document), context)


def records_of(entry: otlp.Entry) -> list[dict[str, Any]]:
    """The records in an entry's messages: the event, point or span first, then its content rows."""
    return [codec.decode(CATALOGUE[message.topic].record, message.value) for message in entry.messages]


def only(signal: Any, document: dict[str, Any], context: otlp.Context = CONTEXT) -> list[dict[str, Any]]:
    """The records of a request's one entry."""
    found = decoded(signal, document, context)
    assert found.rejections == []
    assert len(found.entries) == 1
    return records_of(found.entries[0])


def event(values: dict[str, Any], resource: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """The ClaudeEvent of one log record."""
    return only("logs", logs(log(values, **parts), resource=resource))[0]


def captured() -> list[Path]:
    """Every recorded request."""
    return [path for path in sorted(CAPTURES.glob("*/*-*-*.*")) if not path.name.endswith(".meta.json")]


def signal_of(path: Path) -> Any:
    """Which service a recorded request was sent to."""
    return path.name.split(".")[0].rpartition("-")[2]


def content_type_of(path: Path) -> str:
    """How a recorded request is encoded."""
    return otlp.PROTOBUF if path.suffix == ".pb" else otlp.JSON
