"""Who holds a connection without a request keeps nobody out for longer than the bounds say: the pages and SQL alike."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from console.__main__ import Process
from console.settings import ConsoleSettings
from service.serving import Bounds, listen, server
from sinks.query.database import Database
from sinks.query.service import SqlService
from tests.ports import free_ports
from tests.sinks.query.conftest import DOOR, RESOURCES

BOUNDS = Bounds(header_timeout_s=1.0, body_timeout_s=1.0)
PATIENT = Bounds(header_timeout_s=3600, body_timeout_s=3600)
HEAD = b"POST /sql HTTP/1.1\r\nHost: x\r\nX-API-KEY: acme-key\r\nContent-Type: application/x-www-form-urlencoded\r\n"
# What a client may hold back: all of it, a part of the head, a part of the body, and that after an answer.
HELD_BACK = {
    "nothing": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 100\r\n\r\n{",
    "half a body, answered before": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
    "half a second head": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /",
}

# Opens a server with these bounds, and returns its port.
Open = Callable[[Bounds], Awaitable[int]]


async def pages(bounds: Bounds, stack: contextlib.AsyncExitStack) -> int:
    port, health = free_ports(2)
    settings = ConsoleSettings.model_validate(
        {
            "port": port,
            "health_port": health,
            "bootstrap": "127.0.0.1:1",
            "key": "none",
            "secret": "a secret of the tests, long enough",
        }
    )
    stop = asyncio.Event()
    running = asyncio.create_task(Process(settings, bounds).run(stop))

    async def end() -> None:
        stop.set()
        await running

    stack.push_async_callback(end)
    return port


async def sql(bounds: Bounds, stack: contextlib.AsyncExitStack, folder: Path) -> int:
    service = SqlService(Database(folder / "query", RESOURCES), DOOR, port=0, bounds=bounds)
    stack.push_async_callback(service.close)
    return await service.start()


@pytest_asyncio.fixture(params=["pages", "sql"])
async def open_(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:
        yield lambda bounds: pages(bounds, stack) if request.param == "pages" else sql(bounds, stack, tmp_path)


async def answer(port: int) -> int:
    """The status of an honest question; once the server listens."""
    async with asyncio.timeout(60), httpx.AsyncClient() as http:
        while True:
            with contextlib.suppress(httpx.ConnectError):
                return (await http.get(f"http://127.0.0.1:{port}/nowhere")).status_code
            await asyncio.sleep(0.05)


async def held(stack: contextlib.AsyncExitStack, port: int, sent: bytes) -> asyncio.StreamReader:
    """A connection of somebody who sends this, and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    writer.write(sent)
    return reader


async def hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        await reader.read()


async def test_a_thousand_idle_connections_keep_an_honest_one_out_only_until_their_time_is_over(open_: Open) -> None:
    # Long enough for all of them to be there before the first one's time is over, on a slow machine too.
    port = await open_(Bounds(header_timeout_s=6.0))
    assert await answer(port) == 404
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        idle = [await held(stack, port, b"") for _ in range(Bounds().connections)]
        assert await answer(port) == 503, "they do not fill it"
        await asyncio.gather(*(hung_up(reader) for reader in idle))
        assert await answer(port) == 404


@pytest.mark.parametrize("sent", HELD_BACK.values(), ids=HELD_BACK)
async def test_who_holds_back_a_request_is_hung_up_on(open_: Open, sent: bytes) -> None:
    port = await open_(BOUNDS)
    assert await answer(port) == 404
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        await hung_up(await held(stack, port, sent))


@pytest.mark.parametrize(
    ("bounds", "begun", "more"),
    [
        (BOUNDS, HEAD, b"X: x\r\n"),
        (BOUNDS, HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (PATIENT, HEAD, b"X: " + 1000 * b"x" + b"\r\n"),
    ],
    ids=["a head that trickles", "a body that trickles", "a head without end"],
)
async def test_who_never_ends_is_hung_up_on(open_: Open, bounds: Bounds, begun: bytes, more: bytes) -> None:
    port = await open_(bounds)
    assert await answer(port) == 404
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        writer.write(begun)
        ended = asyncio.create_task(hung_up(reader))
        while not ended.done():
            writer.write(more)
            await asyncio.wait({ended}, timeout=0.05)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such bound")
async def test_who_takes_nothing_of_an_answer_is_hung_up_on() -> None:
    answered = asyncio.Event()

    async def much(_: Any, __: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _piece in range(1000):  # more than any buffer takes, so that it ends only with the connection
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        answered.set()

    listening = listen("127.0.0.1", 0, stall_s=1.0)
    serving = server(much, BOUNDS, stop_timeout_s=1)
    running = asyncio.create_task(serving.serve(sockets=[listening]))
    with socket.create_connection(listening.getsockname()) as taking:
        taking.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            await answered.wait()
        serving.should_exit = True
        await running
