"""OTLP over gRPC: carries bytes between clients and the batcher.

The key is checked when the headers are there, before the message is received: a request without one is answered unread.
What waits unread is bounded by HTTP/2's flow control, at 64 KiB a request.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ingest_gateway.batcher import Batcher
from ingest_gateway.credentials import Credentials
from ingest_gateway.errors import Busy, Refused, meaning, retry_after_s, text
from ingest_gateway.handler import Outcome, Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.room import Room
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
    """Handlers that read for themselves: only then can we say how many bodies are received at once."""

    def __init__(
        self,
        settings: GatewaySettings,
        batcher: Batcher,
        room: Room,
        credentials: Credentials,
        metrics: GatewayMetrics,
    ) -> None:
        self._settings = settings
        self._batcher = batcher
        self._room = room
        self._credentials = credentials
        self._metrics = metrics
        self._reads = asyncio.Semaphore(settings.reads_max)

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        signal = METHODS.get(call.method)
        if signal is None:
            return None  # UNIMPLEMENTED
        metadata = {key: value for key, value in call.invocation_metadata if key in ("authorization", "x-api-key")}

        async def export(_unread: Any, context: Any) -> bytes:
            try:
                outcome = await self._submit(signal, metadata, context)
            except MillraceError as error:
                # The abort is kept by its own call; whatever it knows stays until the collector of cycles comes by.
                outcome = Outcome(error=error.with_traceback(None))
            if outcome.error is not None:
                await self._abort(signal, context, outcome.error)
            self._metrics.answered("grpc", signal, "OK")
            return outcome.body(signal, otlp.PROTOBUF)

        return grpc.stream_unary_rpc_method_handler(export)

    async def _submit(self, signal: Signal, metadata: dict[str, str], context: Any) -> Outcome:
        sender = self._credentials.sender(metadata.get("authorization", ""), metadata.get("x-api-key", ""))
        body = await self._read(context)
        self._room.take(len(body))
        return await self._batcher.submit(Request(signal, otlp.PROTOBUF, body, sender))

    async def _read(self, context: Any) -> bytes:
        try:
            async with asyncio.timeout(self._settings.body_timeout_s), self._reads:
                body = await context.read()
        except TimeoutError:
            raise Busy("the body came too slowly; send it again", retry_after_s=self._settings.retry_after_s) from None
        if body is grpc.aio.EOF:
            raise Refused("the request has no body", reason="malformed_body")
        return bytes(body)

    async def _abort(self, signal: Signal, context: Any, error: BaseException) -> NoReturn:
        code, after_s = meaning(error), retry_after_s(error)
        self._metrics.answered("grpc", signal, code.grpc.name)
        details = otlp.status_message(code.code, text(error), after_s).SerializeToString()
        await context.abort(code.grpc, text(error), (("grpc-status-details-bin", details),))
        raise AssertionError("abort raises")


class GrpcFront:
    """The gRPC server with the three OTLP services and grpc health."""

    def __init__(
        self,
        settings: GatewaySettings,
        batcher: Batcher,
        room: Room,
        credentials: Credentials,
        metrics: GatewayMetrics,
    ) -> None:
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.body_bytes_max),
                ("grpc.max_metadata_size", settings.header_bytes_max),
                ("grpc.max_concurrent_streams", settings.streams_max),
                ("grpc.max_allowed_incoming_connections", settings.connections_max),
                ("grpc.server_handshake_timeout_ms", round(settings.header_timeout_s * 1000)),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                # Without probing, what a connection may send ahead of its reader stays at HTTP/2's 64 KiB.
                ("grpc.http2.bdp_probe", 0),
            ],
        )
        self._server.add_generic_rpc_handlers((_Export(settings, batcher, room, credentials, metrics),))
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
