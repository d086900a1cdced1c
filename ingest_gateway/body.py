"""The body of one HTTP request: received in parts, inflated, bounded, and counted while it comes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from ingest_gateway.errors import Busy, Refused
from ingest_gateway.room import Room

Receive = Callable[[], Awaitable[dict[str, Any]]]

_MEMBERS_MAX = 100
"""Gzip members of one body: each costs an inflater, so 20 bytes that hold nothing could cost as much as a kilobyte."""


class Disconnected(Exception):
    """The client went away; nobody is left to answer."""


class Body:
    """Args:    bytes_max: as it comes, and inflated.  room: what `read` returns was taken from it."""

    def __init__(self, receive: Receive, room: Room, *, bytes_max: int, timeout_s: float) -> None:
        self._receive = receive
        self._room = room
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self.complete = False
        """Whether all of it was received: only then can the connection be used again."""

    async def read(self, encoding: str, length: int) -> bytes:
        """The whole body, inflated.

        Args:    encoding: Content-Encoding, "" for none.  length: Content-Length, 0 when it is not said.
        Raises:  Refused; Busy; Disconnected.
        """
        if encoding not in ("gzip", "identity", ""):
            raise Refused("content encoding must be gzip or none", reason="unsupported_encoding")
        if length > self._bytes_max:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                inflate = Inflate(self._bytes_max) if encoding == "gzip" else None
                while not self.complete:
                    part = await self._part()
                    if inflate is not None:
                        part = inflate(part)
                    if size + len(part) > self._bytes_max:
                        raise self._too_large()
                    self._room.take(len(part))
                    size += len(part)
                    parts.append(part)
                if inflate is not None:
                    inflate.finish()
        except BaseException as error:
            self._room.give(size)
            if isinstance(error, TimeoutError):
                # The line or the gateway is slow today: no reason to throw the records away.
                raise Busy("the body came too slowly; send it again") from None
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self.complete = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    def _too_large(self) -> Refused:
        return Refused(f"the body is larger than {self._bytes_max} bytes", reason="too_large")


class Inflate:
    """Gzip as it comes, never more than a bound in all."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max
        self._members = 1
        self._stream = zlib.decompressobj(wbits=31)

    def __call__(self, part: bytes) -> bytes:
        """The next bytes. Raises: Refused (too_large, malformed_body)."""
        out = b""
        try:
            while part:
                if self._stream.eof:
                    self._next_member()
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

    def _next_member(self) -> None:
        self._members += 1
        if self._members > _MEMBERS_MAX:
            raise Refused(f"the gzip body has more than {_MEMBERS_MAX} members", reason="too_large")
        self._stream = zlib.decompressobj(wbits=31)
