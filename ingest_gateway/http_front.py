"""OTLP over HTTP: protobuf and JSON, plain and gzip; carries bytes between clients and the batcher.

The key is checked before a byte of the body is read. Bodies are bounded while they come and while they are inflated;
what uvicorn reads ahead of us stops at 64 KiB a connection.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest_gateway.batcher import Batcher
from ingest_gateway.credentials import Credentials
from ingest_gateway.errors import Refused, meaning, retry_after_s, text
from ingest_gateway.handler import Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.settings import GatewaySettings
from schemas import otlp
from schemas.errors import MillraceError
from schemas.otlp import Signal

PATHS: dict[str, Signal] = {"/v1/logs": "logs", "/v1/metrics": "metrics", "/v1/traces": "traces"}
_TYPES = {otlp.PROTOBUF, otlp.JSON}

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Disconnected(Exception):
    """The client went away; nobody is left to answer."""


class HttpFront:
    """An ASGI application, and the server that runs it."""

    def __init__(
        self, settings: GatewaySettings, batcher: Batcher, credentials: Credentials, metrics: GatewayMetrics
    ) -> None:
        self._settings = settings
        self._batcher = batcher
        self._credentials = credentials
        self._metrics = metrics
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        headers = {name: value for name, value in scope["headers"]}  # noqa: C416  # pairs may be any iterables of two
        content_type = _media_type(headers)
        signal = PATHS.get(scope["path"])
        try:
            body = await self._answer(scope, signal, headers, content_type, receive)
        except Disconnected:
            return
        except MillraceError as error:
            await self._send_error(send, scope, signal, content_type, error)
            return
        if signal is not None:
            self._metrics.answered("http", signal, "200")
        await _send(send, 200, content_type, body, [])

    async def _answer(
        self, scope: Scope, signal: Signal | None, headers: dict[bytes, bytes], content_type: str, receive: Receive
    ) -> bytes:
        if signal is None:
            raise Refused(f"no such path; there are {', '.join(PATHS)}", reason="unknown_path")
        if scope["method"] != "POST":
            raise Refused("only POST is understood here", reason="wrong_method")
        tenant = self._credentials.tenant(_text(headers.get(b"authorization")), _text(headers.get(b"x-api-key")))
        if content_type not in _TYPES:
            raise Refused(f"content type must be one of {', '.join(sorted(_TYPES))}", reason="unsupported_content_type")
        body = await self._body(headers, receive)
        outcome = await self._batcher.submit(Request(signal, content_type, body, tenant))
        if outcome.error is not None:
            if isinstance(outcome.error, MillraceError):
                raise outcome.error
            raise MillraceError("internal error") from outcome.error
        return otlp.response(signal, content_type, outcome.rejected, outcome.message)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, inflated. Raises: Refused; Busy; Disconnected."""
        most = self._settings.body_bytes_max
        encoding = (_text(headers.get(b"content-encoding")) or "identity").strip().lower()
        if encoding not in ("gzip", "identity"):
            raise Refused("content encoding must be gzip or none", reason="unsupported_encoding")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise Refused(f"the body is larger than {most} bytes", reason="too_large")
        inflate = Inflate(most) if encoding == "gzip" else None
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    part: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    if inflate is not None:
                        part = inflate(part)
                    size += len(part)
                    if size > most:
                        raise Refused(f"the body is larger than {most} bytes", reason="too_large")
                    # Asked while it comes, so that many senders at once cannot fill the memory before they are counted.
                    if not self._batcher.has_room(size):
                        raise self._batcher.busy()
                    parts.append(part)
        except TimeoutError:
            raise Refused("the body came too slowly", reason="too_slow") from None
        if inflate is not None:
            inflate.finish()
        return b"".join(parts)

    async def _send_error(
        self, send: Send, scope: Scope, signal: Signal | None, content_type: str, error: MillraceError
    ) -> None:
        code, after_s = meaning(error), retry_after_s(error)
        self._metrics.answered("http", signal or "none", str(code.http))
        kind = content_type if content_type in _TYPES else otlp.JSON
        # What is left of the body is not read: the connection cannot be used again.
        headers = [(b"connection", b"close")]
        if after_s is not None:
            headers.append((b"retry-after", str(max(1, round(after_s))).encode()))
        if code.http == 401:
            headers.append((b"www-authenticate", b'Bearer realm="millrace"'))
        if code.http == 405:
            headers.append((b"allow", b"POST"))
        body = otlp.status(kind, code.code, text(error), after_s)
        await _send(send, code.http, kind, b"" if scope["method"] == "HEAD" else body, headers)

    # -- the server -----------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Listen. Raises: OSError when the port is taken."""
        settings = self._settings
        config = uvicorn.Config(
            self,
            host=settings.host,
            port=settings.http_port,
            http=_bounded_protocol(settings.header_bytes_max, settings.header_timeout_s),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.connections_max,
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


class Inflate:
    """Gzip as it comes, never more than a bound at once."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._stream = zlib.decompressobj(wbits=31)

    def __call__(self, part: bytes) -> bytes:
        out = b""
        try:
            while part:
                if self._stream.eof:  # members may follow each other
                    self._stream = zlib.decompressobj(wbits=31)
                got = self._stream.decompress(part, self._left + 1)
                self._left -= len(got)
                out = out + got if out else got
                if self._left < 0:
                    raise Refused("the body inflates beyond the bound", reason="too_large")
                part = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error as error:
            raise Refused(f"the body is no gzip: {error}", reason="malformed_body") from None
        return out

    def finish(self) -> None:
        """Raises: Refused when the stream ended early."""
        if not self._stream.eof:
            raise Refused("the gzip body is truncated", reason="malformed_body")


def _bounded_protocol(header_bytes_max: int, header_timeout_s: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol with what it lacks: a bound on a request's head, in bytes and in time."""

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._deadline = self.loop.call_later(header_timeout_s, self._too_slow)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head_bytes += len(data)
                # One read may hold the head and much of the body; only a head that goes on beyond the bound is refused.
                if self._head_bytes - len(data) > header_bytes_max:
                    self.transport.abort()
                    return
                if self._deadline is None:
                    self._deadline = self.loop.call_later(header_timeout_s, self._too_slow)
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._cancel()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head, self._head_bytes = True, 0

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            super().connection_lost(exc)

        def _cancel(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_slow(self) -> None:
            self._deadline = None
            if self._in_head:
                self.transport.abort()

    return BoundedProtocol


def _tls(settings: GatewaySettings) -> ssl.SSLContext:
    assert settings.tls_cert_file is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca_file)
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    if settings.tls_client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _media_type(headers: dict[bytes, bytes]) -> str:
    return (_text(headers.get(b"content-type")) or "").partition(";")[0].strip().lower()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


async def _send(send: Send, status: int, content_type: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = str(len(body)).encode()
    heads = [(b"content-type", content_type.encode()), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": heads})
    await send({"type": "http.response.body", "body": body})
