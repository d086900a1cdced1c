"""Recorded OTLP requests: loading them, sending each over its own transport, cutting them differently."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from millrace.fleet import Request

REQUEST = {
    "logs": logs_service_pb2.ExportLogsServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "traces": trace_service_pb2.ExportTraceServiceRequest,
}
METHOD = {
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
NESTING = {
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
    "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    "traces": ("resourceSpans", "scopeSpans", "spans"),
}


@dataclass(frozen=True)
class Recorded:
    """One request. transport: "grpc" or "http"; encoding: "json" or "pb"."""

    transport: str
    signal: str
    encoding: str
    body: bytes

    def as_json(self) -> dict[str, Any]:
        if self.encoding == "json":
            return json.loads(self.body)
        return json_format.MessageToDict(REQUEST[self.signal].FromString(self.body), use_integers_for_enums=True)


def keep(requests: Iterable[Request], folder: Path) -> Path:
    """Requests as a folder of recorded ones, for the ledger."""
    folder.mkdir()
    for number, request in enumerate(requests):
        (folder / f"{number:05}-http-{request.signal}.json").write_text(json.dumps(request.body))
    return folder


def dated(folder: Path, out: Path, shift_ns: int) -> Path:
    """A copy of a folder of requests, as if all of it had happened so much later."""
    out.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name.endswith(".meta.json") or path.suffix not in (".json", ".pb"):
            continue
        signal = path.name.split(".")[0].split("-")[2]
        request = Recorded("", signal, path.suffix[1:], path.read_bytes())
        moved = json.dumps(_later(request.as_json(), shift_ns)).encode()
        if request.encoding == "pb":
            moved = json_format.Parse(moved, REQUEST[signal]()).SerializeToString()
        (out / path.name).write_bytes(moved)
    return out


def _later(value: Any, shift_ns: int) -> Any:
    if isinstance(value, dict):
        return {k: _time(v, shift_ns) if k.endswith("UnixNano") else _later(v, shift_ns) for k, v in value.items()}
    return [_later(item, shift_ns) for item in value] if isinstance(value, list) else value


def _time(value: Any, shift_ns: int) -> str:
    return str(int(value) + shift_ns) if int(value) else "0"


def load(folder: Path) -> list[Recorded]:
    """The requests of a folder in the order in which they arrived."""
    out = []
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".meta.json") or path.suffix not in (".json", ".pb"):
            continue
        _, transport, signal = path.name.split(".")[0].split("-")
        out.append(Recorded(transport, signal, path.suffix[1:], path.read_bytes()))
    return out


class Sender:
    """Sends recorded requests to a gateway; raises on anything but an acknowledgement of everything."""

    def __init__(self, grpc_port: int, http_port: int, key: str) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=30)
        self._key = key

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._http.close()

    def send(self, request: Recorded) -> None:
        if request.transport == "grpc":
            call = self._channel.unary_unary(METHOD[request.signal])
            answer = call(request.body, metadata=[("authorization", f"Bearer {self._key}")], timeout=30)
            assert answer == b"", f"partial success: {answer!r}"
            return
        kind = "application/json" if request.encoding == "json" else "application/x-protobuf"
        headers = {"authorization": f"Bearer {self._key}", "content-type": kind}
        answer = self._http.post(f"/v1/{request.signal}", content=request.body, headers=headers)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        assert not answer.json() if request.encoding == "json" else answer.content == b"", answer.content


def recut(requests: Sequence[Recorded]) -> Iterator[Recorded]:
    """The same records, one a request, sent as HTTP/JSON."""
    for request in requests:
        outer, inner, leaf = NESTING[request.signal]
        for resource in request.as_json().get(outer, []):
            for scope in resource.get(inner, []):
                for record in scope.get(leaf, []):
                    one = copy.deepcopy({k: v for k, v in scope.items() if k != leaf}) | {leaf: [record]}
                    body = {outer: [{k: v for k, v in resource.items() if k != inner} | {inner: [one]}]}
                    yield Recorded("http", request.signal, "json", json.dumps(body).encode())


def merged(requests: Sequence[Recorded]) -> list[Recorded]:
    """The same records, all of a signal in one request, sent over gRPC."""
    out = []
    for signal, (outer, _, _) in NESTING.items():
        parts = [part for r in requests if r.signal == signal for part in r.as_json().get(outer, [])]
        if parts:
            message = json_format.ParseDict({outer: parts}, REQUEST[signal]())
            out.append(Recorded("grpc", signal, "pb", message.SerializeToString()))
    return out
