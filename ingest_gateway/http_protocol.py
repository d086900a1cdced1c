"""uvicorn's HTTP protocol with what it lacks: a bound on a request's head, in bytes and in time, and OTLP's errors."""

from __future__ import annotations

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ingest_gateway.errors import Refused, meaning
from schemas import otlp

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def bounded_protocol(header_bytes_max: int, header_timeout_s: float) -> type[HttpToolsProtocol]:
    """A protocol class for uvicorn (it takes a class, and gives it no settings)."""

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._deadline = self.loop.call_later(header_timeout_s, self._too_slow)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                # One read may hold the head and much of the body; only a head that goes on beyond the bound is refused.
                if self._head_bytes > header_bytes_max:
                    self._refuse(Refused(f"the headers are larger than {header_bytes_max} bytes", reason="large_head"))
                    return
                self._head_bytes += len(data)
                data = _without_upgrade(data)
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

        def send_400_response(self, msg: str) -> None:
            self._refuse(Refused(msg, reason="malformed_head"))

        def _refuse(self, error: Refused) -> None:
            """Answer what is no request, and hang up."""
            if self.transport.is_closing():
                return
            code = meaning(error)
            body = otlp.status(otlp.JSON, code.code, str(error))
            head = f"content-type: {otlp.JSON}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[code.http] + head.encode() + body)
            self.transport.close()

        def _cancel(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_slow(self) -> None:
            self._deadline = None
            if self._in_head:
                self.transport.abort()

    return BoundedProtocol


def _without_upgrade(data: bytes) -> bytes:
    """The head without an offer of another protocol (Java's client offers h2c). We may ignore it, but llhttp does not:
    it would take the body for the other protocol's."""
    end = data.find(b"\r\n\r\n")
    if _UPGRADE.search(data, 0, end if end >= 0 else len(data)) is None:
        return data
    return _UPGRADE.sub(b"\r\nx-upgrade:", data, count=1)
