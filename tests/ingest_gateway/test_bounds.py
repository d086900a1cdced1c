"""Memory, time and connections: what a client without a key, or with bad intentions, can cost."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest

from tests.ingest_gateway import otlp
from tests.ingest_gateway.otlp import JSON, as_json, as_protobuf, bearer, log, logs
from tests.ingest_gateway.process import Gateway

MB_MORE = 96
"""What the process may grow by under any of these; the floods themselves are several times as large."""


async def test_a_flood_of_gzip_bombs_does_not_fill_the_memory(gateway: Gateway, key: str) -> None:
    bomb = gzip.compress(b" " * (256 << 20))
    grpc_bomb = as_protobuf("logs", logs(log(prompt=" " * (128 << 20))))
    before = gateway.resident_mb()
    highest = before

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, gateway.resident_mb())
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    url = f"http://127.0.0.1:{gateway.http_port}/v1/logs"
    async with httpx.AsyncClient(timeout=60) as client:
        headers = bearer(key, **{"content-encoding": "gzip"})
        answers = await asyncio.gather(*(client.post(url, content=bomb, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {413}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        for _ in range(2):
            code, *_ = await otlp.refusal(channel, "logs", grpc_bomb, key, compression=grpc.Compression.Gzip)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    watching.cancel()
    assert highest - before < MB_MORE, f"{before:.0f} MB grew to {highest:.0f} MB"


async def test_uploads_without_a_key_are_answered_before_they_are_read(gateway: Gateway) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            yield b" " * 65_536
            sent += 65_536

    async def upload() -> int | None:
        async with httpx.AsyncClient(timeout=20) as client:
            with contextlib.suppress(httpx.TransportError):  # hung up on
                url = f"http://127.0.0.1:{gateway.http_port}/v1/logs"
                return (await client.post(url, content=endless(), headers={"content-type": JSON})).status_code
        return None

    before = gateway.resident_mb()
    answers = await asyncio.gather(*(upload() for _ in range(10)))
    assert set(answers) <= {401, None}
    assert sent < 10 * 2000 * 65_536 / 4, "the gateway read on"
    assert gateway.resident_mb() - before < MB_MORE


async def test_grpc_messages_without_a_key_do_not_fill_the_memory(gateway: Gateway) -> None:
    before = gateway.resident_mb()
    body = b"\0" * (3 << 20)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        refusals = await asyncio.gather(*(otlp.refusal(channel, "logs", body, None) for _ in range(100)))
    assert {code for code, *_ in refusals} == {grpc.StatusCode.UNAUTHENTICATED}
    assert gateway.resident_mb() - before < MB_MORE


@pytest.mark.parametrize("lines", [b"", b"POST /v1/logs HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_never_ends_is_cut_off(gateway: Gateway, lines: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gateway.http_port), timeout=20) as connection:
        connection.sendall(lines)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
        assert time.monotonic() - began < 19


def test_a_head_that_grows_without_end_is_cut_off(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.http_port), timeout=20) as connection:
        connection.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\n")
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for sent in range(100_000):
                connection.sendall(b"X-%d: %s\r\n" % (sent, b"y" * 1000))
        assert sent < 99_999


async def test_requests_go_on_over_a_kept_connection(gateway: Gateway, key: str, tenant: str) -> None:
    big = as_json(logs(*[log(sequence=n, filler="x" * 300) for n in range(300)]))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}", timeout=20) as client:
        for _ in range(5):
            assert (await client.post("/v1/logs", content=big, headers=bearer(key))).status_code == 200
    assert len(await gateway.stored("events", tenant)) == 1500
