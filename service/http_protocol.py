"""uvicorn's HTTP protocol with what it lacks: bounds on a request's head, in bytes and time, and on its body's time.

Idle connections are otherwise free, and enough of them keep everybody else out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# An HTTP status, and why → content type and body of the answer.
Refusal = Callable[[int, str], tuple[str, bytes]]

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def plain(_: int, why: str) -> tuple[str, bytes]:
    """A refusal as text."""
    return "text/plain; charset=utf-8", f"{why}\n".encode()


def bounded_protocol(
    header_bytes_max: int, header_timeout_s: float, body_timeout_s: float | None, refusal: Refusal = plain
) -> type[HttpToolsProtocol]:
    """A protocol class for uvicorn (it takes a class, and gives it no settings).

    Args: header_timeout_s: from the connection, or the first byte of a later request, to the end of the head.
          body_timeout_s: from there to the end of the body. None: the application sees to it itself.
          refusal: the answer to what is no request.
    """

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._within(header_timeout_s)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                # One read may hold the head and much of the body; only a head that goes on beyond the bound is refused.
                if self._head_bytes > header_bytes_max:
                    self._refuse(431, f"the headers are larger than {header_bytes_max} bytes")
                    return
                self._head_bytes += len(data)
                data = _without_upgrade(data)
                if self._deadline is None:
                    self._within(header_timeout_s)
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._within(body_timeout_s)
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._within(None)
            super().on_message_complete()
            self._in_head, self._head_bytes = True, 0

        def connection_lost(self, exc: Exception | None) -> None:
            self._within(None)
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, msg)

        def _refuse(self, status: int, why: str) -> None:
            """Answer what is no request, and hang up."""
            if self.transport.is_closing():
                return
            kind, body = refusal(status, why)
            head = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
            self.transport.close()

        def _within(self, seconds: float | None) -> None:
            """What comes next has so long; None: as long as it takes."""
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    return BoundedProtocol


def _without_upgrade(data: bytes) -> bytes:
    """The head without an offer of another protocol (Java's client offers h2c). We may ignore it, but llhttp does not:
    it would take the body for the other protocol's."""
    end = data.find(b"\r\n\r\n")
    if _UPGRADE.search(data, 0, end if end >= 0 else len(data)) is None:
        return data
    return _UPGRADE.sub(b"\r\nx-upgrade:", data, count=1)
