"""OTLP over HTTP: protobuf and JSON, plain and gzip; carries bytes between clients and the batcher.

The key is checked before a byte of the body is read; what uvicorn reads ahead of us stops at 64 KiB a connection.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import uvicorn

from ingest_gateway.batcher import Batcher
from ingest_gateway.body import Body, Disconnected, Receive
from ingest_gateway.credentials import Credentials
from ingest_gateway.errors import Busy, Refused, meaning, retry_after_s, text
from ingest_gateway.handler import Outcome, Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.room import Room
from ingest_gateway.settings import GatewaySettings
from schemas import otlp
from schemas.errors import MillraceError
from schemas.otlp import Signal
from service.http_protocol import bounded_protocol

PATHS: dict[str, Signal] = {"/v1/logs": "logs", "/v1/metrics": "metrics", "/v1/traces": "traces"}
_TYPES = {otlp.PROTOBUF, otlp.JSON}

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class HttpFront:
    """An ASGI application, and the server that runs it."""

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
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        settings = self._settings
        headers = dict(scope["headers"])
        content_type = _text(headers, b"content-type").partition(";")[0].strip().lower()
        signal = PATHS.get(scope["path"])
        body = Body(receive, self._room, bytes_max=settings.body_bytes_max, timeout_s=settings.body_timeout_s)
        try:
            if signal is None:
                raise Refused(f"no such path; there are {', '.join(PATHS)}", reason="unknown_path")
            outcome = await self._submit(scope["method"], signal, headers, content_type, body)
        except Disconnected:
            return
        except MillraceError as error:
            await self._refuse(send, scope["method"], signal or "none", content_type, body, error)
            return
        if outcome.error is not None:
            await self._refuse(send, scope["method"], signal, content_type, body, outcome.error)
            return
        self._metrics.answered("http", signal, "200")
        await _send(send, 200, content_type, outcome.body(signal, content_type), [])

    async def _submit(
        self, method: str, signal: Signal, headers: dict[bytes, bytes], content_type: str, body: Body
    ) -> Outcome:
        if method != "POST":
            raise Refused("only POST is understood here", reason="wrong_method")
        if self._server is not None and len(self._server.server_state.connections) > self._settings.connections_max:
            raise Busy("too many connections; send it again", retry_after_s=self._settings.retry_after_s)
        sender = self._credentials.sender(_text(headers, b"authorization"), _text(headers, b"x-api-key"))
        if content_type not in _TYPES:
            raise Refused(f"content type must be one of {', '.join(sorted(_TYPES))}", reason="unsupported_content_type")
        encoding = _text(headers, b"content-encoding").strip().lower()
        data = await body.read(encoding, int(headers.get(b"content-length", b"0")))
        return await self._batcher.submit(Request(signal, content_type, data, sender))

    async def _refuse(
        self, send: Send, method: str, signal: str, content_type: str, body: Body, error: Exception
    ) -> None:
        code, after_s = meaning(error), retry_after_s(error)
        self._metrics.answered("http", signal, str(code.http))
        kind = content_type if content_type in _TYPES else otlp.JSON
        headers = []
        if not body.complete:  # the next request would stand behind what was not read
            headers.append((b"connection", b"close"))
        if after_s is not None:
            headers.append((b"retry-after", str(math.ceil(after_s)).encode()))
        if code.http == 401:
            headers.append((b"www-authenticate", b'Bearer realm="millrace"'))
        if code.http == 405:
            headers.append((b"allow", b"POST"))
        answer = otlp.status(kind, code.code, text(error), after_s)
        await _send(send, code.http, kind, b"" if method == "HEAD" else answer, headers)

    # -- the server -----------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Listen. Raises: OSError when the port is taken."""
        settings = self._settings
        config = uvicorn.Config(
            self,
            host=settings.host,
            port=settings.http_port,
            http=bounded_protocol(
                settings.header_bytes_max, settings.header_timeout_s, None, _no_request
            ),  # Body has its own
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            backlog=1024,
        )
        config.load()
        if settings.tls_cert_file is not None:
            config.ssl = _tls(settings)
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        sock = config.bind_socket() if settings.http_port == 0 else None
        try:
            await server.startup(sockets=[sock] if sock else None)
        except SystemExit:
            raise OSError(f"cannot listen on {settings.host}:{settings.http_port}: the port is taken") from None
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self._server = server
        self._serving = asyncio.create_task(server.main_loop(), name="http")

    async def stop(self, grace_s: float) -> None:
        """Take no new connections, let requests in flight end."""
        if self._server is None:
            return
        self._server.should_exit = True
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._server.shutdown(), grace_s)
        if self._serving is not None:
            await self._serving


def _tls(settings: GatewaySettings) -> ssl.SSLContext:
    assert settings.tls_cert_file is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca_file)
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    if settings.tls_client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_request(status: int, why: str) -> tuple[str, bytes]:
    """The answer to what is no HTTP request, or one with too large a head."""
    error = Refused(why, reason="large_head" if status == 431 else "malformed_head")
    return otlp.JSON, otlp.status(otlp.JSON, meaning(error).code, why)


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


async def _send(send: Send, status: int, content_type: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = str(len(body)).encode()
    heads = [(b"content-type", content_type.encode()), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": heads})
    await send({"type": "http.response.body", "body": body})
