"""Health of a process over HTTP: GET /healthz (it lives), /readyz (it works), /metrics (Prometheus)."""

import asyncio
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

logger = logging.getLogger(__name__)

# A health request is one line and a few headers; more is not a probe.
_HEAD_BYTES_MAX = 8 * 1024
_HEAD_TIMEOUT_S = 5.0
_ERROR_CHARS_MAX = 500


class Health:
    """What a process says of itself. Change it from the event loop's thread only.

    lag: records not yet worked off, by topic (full name).  details: anything else worth showing, JSON-able.
    last_error: the latest error's text, kept after recovery so that it can still be seen.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.ready = False
        self.why = "starting"
        self.since = _now()
        self.lag: dict[str, int] = {}
        self.details: dict[str, Any] = {}
        self.last_error: str | None = None
        self.last_error_at: str | None = None
        self._server: asyncio.Server | None = None

    def set_ready(self, ready: bool, why: str = "") -> None:
        """Say whether the process does its work now.  why: what it waits for; shown while it is not ready."""
        if ready != self.ready:
            self.since = _now()
            logger.info("%s", "ready" if ready else f"not ready: {why}")
        self.ready = ready
        self.why = why

    def failed(self, error: BaseException | str) -> None:
        """Note an error as the latest one."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.last_error = text[:_ERROR_CHARS_MAX]
        self.last_error_at = _now()

    def set_lag(self, lag: Mapping[str, int]) -> None:
        """Replace the lag of every topic."""
        self.lag = dict(lag)

    def snapshot(self) -> dict[str, Any]:
        """The body of /readyz."""
        return {
            "process": self.process,
            "ready": self.ready,
            "why": self.why,
            "since": self.since,
            "pid": os.getpid(),
            "lag": self.lag,
            "lag_total": sum(self.lag.values()),
            "last_error": self.last_error,
            "last_error_at": self.last_error_at,
            "details": self.details,
        }

    async def serve(self, host: str, port: int, registry: CollectorRegistry | None = None) -> int:
        """Start answering in the background and return the port (the system's choice when port is 0).

        Raises: OSError when the port is taken.
        """

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(_HEAD_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(head, registry))
                    await writer.drain()
            except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass  # a probe that went away, or something that is no probe
            finally:
                writer.close()

        self._server = await asyncio.start_server(answer, host, port, limit=_HEAD_BYTES_MAX)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _response(self, head: bytes, registry: CollectorRegistry | None) -> bytes:
        parts = head.split(b" ", 2)
        method, path = (parts[0], parts[1].split(b"?")[0]) if len(parts) == 3 else (b"", b"")
        if method not in (b"GET", b"HEAD"):
            return _http("405 Method Not Allowed", "text/plain", b"GET only\n")
        if path == b"/healthz":
            answer = ("200 OK", "text/plain", b"ok\n")
        elif path == b"/readyz":
            state = "200 OK" if self.ready else "503 Service Unavailable"
            body = orjson.dumps(
                self.snapshot(), default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
            )
            answer = (state, "application/json", body)
        elif path == b"/metrics":
            answer = ("200 OK", CONTENT_TYPE_LATEST, generate_latest(registry) if registry is not None else b"")
        else:
            answer = ("404 Not Found", "text/plain", b"try /healthz, /readyz or /metrics\n")
        status, content_type, body = answer
        return _http(status, content_type, body, send_body=method == b"GET")


def _http(status: str, content_type: str, body: bytes, *, send_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if send_body else b"")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
