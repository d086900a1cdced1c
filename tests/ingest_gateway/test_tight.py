"""A gateway with little room: slow and stalled senders, and too many of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import Iterator

import grpc
import httpx
import pytest

from millrace.kafka import Broker
from tests.ingest_gateway.otlp import JSON, as_json, as_protobuf, bearer, export, log, logs, refusal
from tests.ingest_gateway.process import Gateway

BODY_MAX = 1 << 20
CONNECTIONS_MAX = 5
BODY_TIMEOUT_S = 2
BODY = logs(log())


@pytest.fixture(scope="module")
def gateway(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(
        kafka.bootstrap,
        f"n{uuid.uuid4().hex[:8]}",
        tmp_path_factory.mktemp("tight") / "log",
        BODY_BYTES_MAX=str(BODY_MAX),
        IN_FLIGHT_BYTES_MAX=str(2 * BODY_MAX),
        BODY_TIMEOUT_S=str(BODY_TIMEOUT_S),
        CONNECTIONS_MAX=str(CONNECTIONS_MAX),
        READS_MAX="2",
        RETRY_AFTER_S="2.5",
    )
    asyncio.run(gateway.make_topics())
    try:
        yield gateway.start()
    finally:
        gateway.kill()


def connect(stack: contextlib.ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=15))


def read_all(connection: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            got += part
    return got


async def one(gateway: Gateway, key: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=15) as client:
        url = f"http://127.0.0.1:{gateway.http_port}/v1/logs"
        return await client.post(url, content=as_json(BODY), headers=bearer(key))


async def one_over_grpc(gateway: Gateway, key: str) -> bytes:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        return await export(channel, "logs", as_protobuf("logs", BODY), key)


async def test_bodies_that_never_end_are_counted_and_given_up(gateway: Gateway, tenant: str) -> None:
    key = await gateway.key(tenant)
    head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {JSON}\r\n"
    with contextlib.ExitStack() as stack:
        stalled = [connect(stack, gateway.http_port) for _ in range(2)]
        for connection in stalled:
            connection.sendall(f"{head}Content-Length: {BODY_MAX}\r\n\r\n".encode() + b" " * (BODY_MAX - 1))
        await asyncio.sleep(0.5)
        third = await one(gateway, key)  # the room is all but taken
        assert (third.status_code, third.headers["retry-after"]) == (503, "3")
        assert third.json()["details"][0]["retryDelay"] == "2.500s"
        for connection in stalled:
            answer = await asyncio.to_thread(read_all, connection)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after:" in answer
    assert (await one(gateway, key)).status_code == 200


async def test_too_many_http_connections_are_told_to_come_again(gateway: Gateway, tenant: str) -> None:
    key = await gateway.key(tenant)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            connect(stack, gateway.http_port)
        answer = await one(gateway, key)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "3", 14)
    await asyncio.sleep(0.2)
    assert (await one(gateway, key)).status_code == 200


async def test_too_many_grpc_connections_are_hung_up_on(gateway: Gateway, tenant: str) -> None:
    key = await gateway.key(tenant)
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            connect(stack, gateway.grpc_port)
        await asyncio.sleep(0.2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await one_over_grpc(gateway, key)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):  # the client waits a second before it connects again
                assert await one_over_grpc(gateway, key) == b""
                break
            await asyncio.sleep(0.2)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def an_upload(key: str, length: int, sent: bytes) -> bytes:
    """A gRPC call by hand, with less of its message than it says. Header lines as HPACK literals."""
    heads = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
        "authorization": f"Bearer {key}",
    }
    assert all(len(value) < 127 for value in heads.values())
    block = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in heads.items()
    )
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    return preface + frame(1, 4, 1, block) + frame(0, 0, 1, b"\0" + length.to_bytes(4) + sent)


async def test_grpc_messages_that_never_end_hold_up_the_others_only_so_long(gateway: Gateway, tenant: str) -> None:
    key = await gateway.key(tenant)
    with contextlib.ExitStack() as stack:
        for _ in range(2):  # as many as may be read at once
            connect(stack, gateway.grpc_port).sendall(an_upload(key, 500_000, b"x" * 10_000))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        assert await one_over_grpc(gateway, key) == b""
        assert 0.5 < time.monotonic() - began < BODY_TIMEOUT_S + 2
    assert len(await gateway.stored("events", tenant)) == 1


async def test_many_large_grpc_messages_at_once_do_not_fill_the_memory(gateway: Gateway, tenant: str) -> None:
    key = await gateway.key(tenant)
    body = b"\xff" * (BODY_MAX - 1000)
    highest = before = gateway.resident_mb()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        flood = asyncio.gather(*(refusal(channel, "logs", body, key) for _ in range(200)))
        while not flood.done():
            highest = max(highest, gateway.resident_mb())
            await asyncio.sleep(0.01)
    codes = {code for code, *_ in await flood}
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}
    assert highest - before < 64, f"{before:.0f} MB grew to {highest:.0f} MB; 200 MB were sent"
