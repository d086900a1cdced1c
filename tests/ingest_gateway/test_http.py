"""HTTP itself, byte by byte: what a tidy client library would never send, or would hide."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from tests.ingest_gateway.otlp import JSON, as_json, log, logs
from tests.ingest_gateway.process import Gateway

BODY = as_json(logs(log()))


class Answer(NamedTuple):
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def status(self) -> dict[str, Any]:
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *lines: str, body: bytes = b"") -> None:
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> Answer:
        async with asyncio.timeout(15):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(head[0].split()[1]), headers, body)

    async def closed(self) -> bool:
        async with asyncio.timeout(15):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True


@pytest.fixture
async def wire(gateway: Gateway) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
    yield Wire(reader, writer)
    writer.close()


def post(key: str, body: bytes = BODY, *more: str) -> list[str]:
    return [
        "POST /v1/logs HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        f"Content-Type: {JSON}",
        f"Content-Length: {len(body)}",
        *more,
    ]


async def test_requests_sent_ahead_are_answered_in_turn(gateway: Gateway, wire: Wire, key: str, tenant: str) -> None:
    for number in range(5):
        body = as_json(logs(log(sequence=number)))
        wire.send(*post(key, body), body=body)
    assert [(await wire.answer()).code for _ in range(5)] == [200] * 5
    assert len(await gateway.stored("events", tenant)) == 5


async def test_a_client_that_asks_first_is_told_to_go_on(gateway: Gateway, wire: Wire, key: str, tenant: str) -> None:
    wire.send(*post(key, BODY, "Expect: 100-continue"))
    assert (await wire.answer()).code == 100
    assert await gateway.stored("events", tenant) == []
    wire.writer.write(BODY)
    assert (await wire.answer()).code == 200


async def test_a_client_without_a_key_that_asks_first_is_told_no(wire: Wire) -> None:
    wire.send(*post("unknown", BODY, "Expect: 100-continue"))
    answer = await wire.answer()
    assert (answer.code, answer.headers["connection"]) == (401, "close")
    assert await wire.closed()


async def test_the_offer_to_speak_http_2_is_declined(wire: Wire, key: str) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
    for _ in range(2):
        wire.send(*post(key, BODY, *upgrade), body=BODY)
        assert (await wire.answer()).code == 200


async def test_the_connection_goes_on_after_an_error_when_its_body_was_read(wire: Wire, key: str) -> None:
    for body, expected in ((b"{nonsense", 400), (BODY, 200), (b"", 400), (BODY, 200)):
        wire.send(*post(key, body), body=body)
        answer = await wire.answer()
        assert (answer.code, "connection" in answer.headers) == (expected, False)


async def test_the_connection_ends_where_a_body_was_not_read(wire: Wire) -> None:
    wire.send(*post("unknown"), body=BODY)
    answer = await wire.answer()
    assert (answer.code, answer.headers["connection"]) == (401, "close")
    assert await wire.closed()


@pytest.mark.parametrize("line", ["nonsense", "POST /v1/logs HTTP/1.1\r\nno colon", "\x16\x03\x01 a TLS hello"])
async def test_what_is_no_http_is_refused_in_otlps_words(wire: Wire, line: str) -> None:
    wire.send(line)
    answer = await wire.answer()
    assert (answer.code, answer.headers["content-type"], answer.status["code"]) == (400, JSON, 3)
    assert await wire.closed()


async def test_both_a_length_and_chunks_are_no_http(wire: Wire, key: str) -> None:
    wire.send(*post(key, BODY, "Transfer-Encoding: chunked"), body=b"0\r\n\r\n")
    assert (await wire.answer()).code == 400


async def test_a_head_request_gets_no_body(wire: Wire) -> None:
    wire.send("HEAD /v1/logs HTTP/1.1", "Host: x")
    async with asyncio.timeout(10):
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert await wire.closed()


async def test_large_headers_that_end_in_time_are_taken(wire: Wire, key: str) -> None:
    wire.send(*post(key, BODY, f"X-Filler: {'y' * 30_000}"), body=BODY)
    assert (await wire.answer()).code == 200


async def test_headers_beyond_the_bound_are_refused(wire: Wire) -> None:
    wire.writer.write(b"POST /v1/logs HTTP/1.1\r\nX-0: %s\r\n" % (b"y" * 40_000))
    await asyncio.sleep(0.3)
    wire.writer.write(b"X-1: and so on\r\n")
    answer = await wire.answer()
    assert (answer.code, answer.status["code"]) == (431, 3)
    assert await wire.closed()
