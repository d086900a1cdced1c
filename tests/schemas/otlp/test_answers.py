"""Bodies of answers, and the record of what was rejected."""

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from schemas import codec, otlp
from tests.schemas.otlp.requests import CONTEXT, RECEIVED_US

RESPONSES: list[tuple[otlp.Signal, Any, str, str]] = [
    ("logs", ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
    ("metrics", ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
    ("traces", ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
]


@pytest.mark.parametrize(("signal", "kind", "field", "name"), RESPONSES)
def test_success_is_empty_and_partial_success_is_not(signal: otlp.Signal, kind: Any, field: str, name: str) -> None:
    assert otlp.response(signal, otlp.PROTOBUF) == b""
    assert otlp.response(signal, otlp.JSON) == b"{}"
    found = kind.FromString(otlp.response(signal, otlp.PROTOBUF, 3, "too large")).partial_success
    assert (getattr(found, field), found.error_message) == (3, "too large")
    assert json.loads(otlp.response(signal, otlp.JSON, 3, "too large")) == {
        "partialSuccess": {name: "3", "errorMessage": "too large"}
    }


def test_an_error_is_a_status() -> None:
    found = status_pb2.Status.FromString(otlp.status(otlp.PROTOBUF, 3, "bad body"))
    assert (found.code, found.message, len(found.details)) == (3, "bad body", 0)
    assert json.loads(otlp.status(otlp.JSON, 3, "bad body")) == {"code": 3, "message": "bad body"}


def test_a_retryable_error_says_when() -> None:
    found = status_pb2.Status.FromString(otlp.status(otlp.PROTOBUF, 14, "Kafka is slow", 1.5))
    info = error_details_pb2.RetryInfo()
    assert found.details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1500
    assert json.loads(otlp.status(otlp.JSON, 14, "Kafka is slow", 1.5))["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"}
    ]


def test_the_rejected_record_keeps_64_kib_and_the_hash_of_all() -> None:
    original = bytes(range(256)) * 400
    rejection = otlp.Rejection("too_large", "limit " * 2000, original, "logs", otlp.PROTOBUF)
    message = otlp.rejected_message(rejection, dataclasses.replace(CONTEXT, ingest_key_id="k1"), "gateway")
    found = codec.decode("rejected", message.value)
    assert (message.topic, message.key) == ("rejected", b"")
    assert found == {
        "tenant": "acme",
        "received_at": RECEIVED_US,
        "ingest_key_id": "k1",
        "stage": "gateway",
        "reason": "too_large",
        "error": ("limit " * 2000)[:4096],
        "original": original[:65_536],
        "length": 102_400,
        "sha256": hashlib.sha256(original).hexdigest(),
        "signal": "logs",
        "content_type": otlp.PROTOBUF,
        "source_topic": None,
        "source_partition": None,
        "source_offset": None,
    }


def test_a_stage_says_where_the_record_came_from() -> None:
    message = otlp.rejected(
        b"x", tenant="", received_us=1, stage="sessions", reason="malformed_record", error="e", source=("t", 3, 99)
    )
    found = codec.decode("rejected", message.value)
    assert (found["source_topic"], found["source_partition"], found["source_offset"]) == ("t", 3, 99)
    assert found["ingest_key_id"] is None


def test_contexts_and_limits_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONTEXT.tenant = "other"  # type: ignore[misc]
