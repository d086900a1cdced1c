"""OTLP over gRPC: carries bytes between clients and the batcher.

The key is checked when the headers are there, before the message is received: a request without one is answered by a
handler that never reads. What waits unread on a connection is bounded by HTTP/2's flow control.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ingest_gateway.batcher import Batcher
from ingest_gateway.credentials import Credentials
from ingest_gateway.errors import meaning, retry_after_s, text
from ingest_gateway.handler import Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.settings import GatewaySettings
from schemas import otlp
from schemas.errors import MillraceError
from schemas.otlp import Signal

METHODS: dict[str, Signal] = {
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
}


class _Export(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no annotations
    def __init__(self, batcher: Batcher, credentials: Credentials, metrics: GatewayMetrics) -> None:
        self._batcher = batcher
        self._credentials = credentials
        self._metrics = metrics

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        signal = METHODS.get(call.method)
        if signal is None:
            return None  # UNIMPLEMENTED
        found = {key: value for key, value in call.invocation_metadata if key in ("authorization", "x-api-key")}
        try:
            tenant = self._credentials.tenant(found.get("authorization"), found.get("x-api-key"))
        except MillraceError as error:
            return grpc.stream_unary_rpc_method_handler(self._refuse(signal, error))
        return grpc.unary_unary_rpc_method_handler(self._export(signal, tenant))

    def _export(self, signal: Signal, tenant: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def export(body: bytes, context: Any) -> bytes:
            outcome = await self._batcher.submit(Request(signal, otlp.PROTOBUF, body, tenant))
            if outcome.error is not None:
                await self._abort(signal, context, outcome.error)
            self._metrics.answered("grpc", signal, "OK")
            return otlp.response(signal, otlp.PROTOBUF, outcome.rejected, outcome.message)

        return export

    def _refuse(self, signal: Signal, error: MillraceError) -> Callable[[Any, Any], Awaitable[bytes]]:
        async def refuse(_unread: Any, context: Any) -> bytes:
            await self._abort(signal, context, error)
            raise AssertionError("abort raises")

        return refuse

    async def _abort(self, signal: Signal, context: Any, error: BaseException) -> None:
        code, after_s = meaning(error), retry_after_s(error)
        self._metrics.answered("grpc", signal, code.grpc.name)
        details = otlp.status_message(code.code, text(error), after_s).SerializeToString()
        await context.abort(code.grpc, text(error), (("grpc-status-details-bin", details),))


class GrpcFront:
    """The gRPC server with the three OTLP services and grpc health."""

    def __init__(
        self, settings: GatewaySettings, batcher: Batcher, credentials: Credentials, metrics: GatewayMetrics
    ) -> None:
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.body_bytes_max),
                ("grpc.max_metadata_size", settings.header_bytes_max),
                ("grpc.max_concurrent_streams", settings.streams_max),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                # Without probing, what a connection may send ahead of its reader stays at HTTP/2's 64 KiB.
                ("grpc.http2.bdp_probe", 0),
            ],
        )
        self._server.add_generic_rpc_handlers((_Export(batcher, credentials, metrics),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises: OSError when the port is taken."""
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        try:
            if (credentials := _tls(self._settings)) is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        await self._server.start()

    async def set_ready(self, ready: bool) -> None:
        """What grpc health says."""
        state = health_pb2.HealthCheckResponse
        status = state.SERVING if ready else state.NOT_SERVING
        for service in ("", *(method.split("/")[1] for method in METHODS)):
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Take no new requests, let those in flight end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def _tls(settings: GatewaySettings) -> grpc.ServerCredentials | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    ca = settings.tls_client_ca_file
    return grpc.ssl_server_credentials(
        [(settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())],
        root_certificates=ca.read_bytes() if ca else None,
        require_client_auth=ca is not None,
    )
