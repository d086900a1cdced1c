"""An OTLP client: sends requests over HTTP (JSON, protobuf) or gRPC until each is acknowledged or refused for good.

It plays the part of a Claude Code client: it writes OTLP with the official protobuf classes and knows nothing of ours.
"""

import asyncio
import base64
import copy
import gzip
import random
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import grpc
import httpx
import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from millrace.fleet import Request, Signal

Protocol = Literal["http/json", "http/protobuf", "grpc"]

_MESSAGES: dict[Signal, Any] = {
    "logs": logs_service_pb2.ExportLogsServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "traces": trace_service_pb2.ExportTraceServiceRequest,
}
_RESPONSES: dict[Signal, Any] = {
    "logs": logs_service_pb2.ExportLogsServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
    "traces": trace_service_pb2.ExportTraceServiceResponse,
}
_STUBS: dict[Signal, Any] = {
    "logs": logs_service_pb2_grpc.LogsServiceStub,
    "metrics": metrics_service_pb2_grpc.MetricsServiceStub,
    "traces": trace_service_pb2_grpc.TraceServiceStub,
}
# OTLP's specification: what a client sends again.
_HTTP_RETRYABLE = {429, 502, 503, 504}
_GRPC_RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_TIMEOUT_S = 10.0
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of a request.  refused: "" when it was acknowledged, else why not.  rejected: records that a partial
    success named.  attempts: how often it was sent."""

    refused: str
    rejected: int
    attempts: int


@dataclass(frozen=True)
class _Answer:
    refused: str = ""
    retry: bool = False
    retry_after_s: float | None = None
    rejected: int = 0


class Sender:
    """One client of a gateway; an async context manager.

    Args: endpoint: root URL (http://host:port).  attempts_max: 0 never gives up.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        protocol: Protocol = "http/protobuf",
        *,
        compress: bool = True,
        attempts_max: int = 0,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._key = key
        self._protocol = protocol
        self._compress = compress
        self._attempts_max = attempts_max
        self._timeout_s = timeout_s
        self._http: httpx.AsyncClient | None = None
        self._channel: Any = None
        self._stubs: dict[Signal, Any] = {}

    async def __aenter__(self) -> Self:
        if self._protocol == "grpc":
            target = urlsplit(self._endpoint)
            secure = target.scheme == "https"
            options = [
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ]
            compression = grpc.Compression.Gzip if self._compress else grpc.Compression.NoCompression
            if secure:
                credentials = grpc.ssl_channel_credentials()
                self._channel = grpc.aio.secure_channel(target.netloc, credentials, options, compression)
            else:
                self._channel = grpc.aio.insecure_channel(target.netloc, options, compression)
            self._stubs = {signal: stub(self._channel) for signal, stub in _STUBS.items()}
        else:
            self._http = httpx.AsyncClient(timeout=self._timeout_s, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.aclose()
        if self._channel is not None:
            await self._channel.close()

    async def send(self, request: Request) -> Outcome:
        """Send one request, the same bytes each time, until it is acknowledged or refused for good."""
        payload = encode(request, self._protocol)
        backoff_s = _BACKOFF_FIRST_S
        attempts = 0
        while True:
            attempts += 1
            answer = await (self._send_grpc if self._protocol == "grpc" else self._send_http)(request.signal, payload)
            if not answer.retry or attempts == self._attempts_max:
                return Outcome(answer.refused, answer.rejected, attempts)
            pause_s = answer.retry_after_s if answer.retry_after_s is not None else backoff_s * random.uniform(0.5, 1.0)
            await asyncio.sleep(min(pause_s, _BACKOFF_MAX_S))
            backoff_s = min(backoff_s * 2, _BACKOFF_MAX_S)

    async def _send_http(self, signal: Signal, payload: bytes) -> _Answer:
        assert self._http is not None
        as_json = self._protocol == "http/json"
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json" if as_json else "application/x-protobuf",
        }
        if self._compress:
            headers["Content-Encoding"] = "gzip"
            payload = gzip.compress(payload, compresslevel=1)
        try:
            response = await self._http.post(f"{self._endpoint}/v1/{signal}", content=payload, headers=headers)
        except httpx.TransportError as error:
            return _Answer(refused=type(error).__name__, retry=True)
        if response.status_code == 200:
            return _Answer(rejected=_rejected_of(signal, response.content, as_json=as_json))
        after = response.headers.get("Retry-After", "")
        return _Answer(
            refused=f"HTTP {response.status_code}",
            retry=response.status_code in _HTTP_RETRYABLE,
            retry_after_s=float(after) if after.isdigit() else None,
        )

    async def _send_grpc(self, signal: Signal, payload: Any) -> _Answer:
        metadata = (("authorization", f"Bearer {self._key}"),)
        try:
            response = await self._stubs[signal].Export(payload, metadata=metadata, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return _Answer(refused=f"{error.code().name}: {error.details()}", retry=error.code() in _GRPC_RETRYABLE)
        return _Answer(rejected=_partial(signal, response.partial_success))


def encode(request: Request, protocol: Protocol) -> Any:
    """What goes over the wire: bytes for HTTP, the message for gRPC."""
    if protocol == "http/json":
        return orjson.dumps(request.body)
    body = request.body
    if request.signal == "traces":
        body = _ids_as_base64(body)
    message = json_format.ParseDict(body, _MESSAGES[request.signal]())
    return message if protocol == "grpc" else message.SerializeToString()


def _ids_as_base64(body: dict[str, Any]) -> dict[str, Any]:
    """OTLP/JSON writes ids in hex; protobuf's own JSON mapping, which encodes for us, wants base64."""
    body = copy.deepcopy(body)
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return body


def _rejected_of(signal: Signal, body: bytes, *, as_json: bool) -> int:
    message = _RESPONSES[signal]()
    if as_json:
        json_format.Parse(body or b"{}", message, ignore_unknown_fields=True)
    else:
        message.ParseFromString(body)
    return _partial(signal, message.partial_success)


def _partial(signal: Signal, partial: Any) -> int:
    name = {"logs": "rejected_log_records", "metrics": "rejected_data_points", "traces": "rejected_spans"}[signal]
    return int(getattr(partial, name))
