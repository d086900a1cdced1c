"""Small OTLP requests for tests, as JSON and as protobuf."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from tests.e2e.requests import METHOD, REQUEST

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TIME = "1795178530595000000"


def attributes(**values: Any) -> list[dict[str, Any]]:
    def any_value(value: Any) -> dict[str, Any]:
        if isinstance(value, bool):
            return {"boolValue": value}
        return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}

    return [{"key": name.replace("__", "."), "value": any_value(value)} for name, value in values.items()]


def log(name: str = "user_prompt", sequence: int = 0, session: str = "s1", **more: Any) -> dict[str, Any]:
    values = {"event__name": name, "event__sequence": sequence, "session__id": session, **more}
    return {
        "timeUnixNano": TIME,
        "body": {"stringValue": f"claude_code.{name}"},
        "attributes": attributes(**values),
    }


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": attributes(service__name="claude-code")}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": list(records)}]}]}


def metrics(*found: dict[str, Any]) -> dict[str, Any]:
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": list(found)}]}]}


def spans(*found: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(found)}]}]}


def as_json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def as_protobuf(signal: str, body: dict[str, Any]) -> bytes:
    body = copy.deepcopy(body)
    for resource in body.get("resourceSpans", []):
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:  # the JSON mapping of protobuf wants base64 where OTLP/JSON has hex
                span |= {k: base64.b64encode(bytes.fromhex(span[k])).decode() for k in ("traceId", "spanId")}
    return json_format.ParseDict(body, REQUEST[signal]()).SerializeToString()


def bearer(key: str, content_type: str = JSON, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": content_type, **more}


async def export(channel: grpc.aio.Channel, signal: str, body: bytes, key: str | None, **options: Any) -> bytes:
    metadata = [] if key is None else [("authorization", f"Bearer {key}")]
    return await channel.unary_unary(METHOD[signal])(body, metadata=metadata, timeout=30, **options)


async def refusal(channel: grpc.aio.Channel, signal: str, body: bytes, key: str | None, **options: Any) -> Any:
    """The error of a call that must fail: (code, message, google.rpc.Status or None)."""
    try:
        await export(channel, signal, body, key, **options)
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        status = None if details is None else status_pb2.Status.FromString(details)
        return error.code(), error.details(), status
    raise AssertionError("the call was answered")


def retry_delay_s(status: Any) -> float | None:
    """What RetryInfo says."""
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToMicroseconds() / 1e6
    return None
