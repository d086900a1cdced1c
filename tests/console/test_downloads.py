"""Files that nobody fetches: what they cost the console, and everybody else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from console.app import application
from console.ask import Answer
from console.downloads import Downloads
from console.people import Person
from tests.console.conftest import Pages, cookie_header
from tests.console.handmade import pages_over
from tests.console.people import person
from tests.sinks.query import samples

ADA, BOB = person("admin", id_="ada"), person("admin", id_="bob")
ROWS = 3000
# For what would never come if it waited for others.
PATIENCE_S = 20


@pytest_asyncio.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    sessions = [samples.session(number) for number in range(ROWS)]
    hours = [samples.session_hour(number) for number in range(ROWS)]
    async with pages_over(tmp_path, sessions=sessions, session_hours=hours) as found:
        yield found


class Browser:
    """One that asks for a file, and takes the pieces when it is told to."""

    def __init__(self, pages: Pages, who: Person, path: str = "/sessions.csv?range=7d") -> None:
        self.status = 0
        self.body = b""
        self.begun, self.takes, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        path, _, query = path.partition("?")
        cookie = cookie_header(who)["cookie"]
        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": [(b"cookie", cookie.encode())], "client": ("192.0.2.1", 1), "server": ("console", 80),
            "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        self.task = asyncio.create_task(application(pages.console)(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.begun.set()
        else:
            await self.takes.wait()
            self.body += message.get("body", b"")

    async def fetched(self) -> bytes:
        self.takes.set()
        await self.task
        return self.body


async def test_a_file_that_nobody_fetches_holds_a_place_of_its_person_and_no_row(pages: Pages) -> None:
    waiting = [Browser(pages, ADA) for _ in range(3)]
    await asyncio.gather(*(one.begun.wait() for one in waiting))
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, Answer) and len(one.rows) >= ROWS] == []
    refused = Browser(pages, ADA)
    assert b"3 of your downloads are not done" in await refused.fetched()
    assert refused.status == 429
    other = Browser(pages, BOB)
    assert (await other.fetched()).count(b"\n") == ROWS + 1
    first = await waiting[0].fetched()
    assert first == other.body
    assert (await Browser(pages, ADA).fetched()) == first, "a place is free again"
    waiting[1].gone.set()  # who leaves gives it back, too
    await waiting[1].task
    again = Browser(pages, ADA)
    assert await again.fetched() == first
    await waiting[2].fetched()


async def test_few_files_are_made_at_a_time(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    pages.console.downloads = Downloads(made_max=1)
    most = now = 0
    fresh = pages.console.ask.fresh

    async def counted(*arguments: Any, **named: Any) -> Answer:
        nonlocal most, now
        now += 1
        most = max(most, now)
        try:
            return await fresh(*arguments, **named)
        finally:
            now -= 1

    monkeypatch.setattr(pages.console.ask, "fresh", counted)
    found = await asyncio.gather(*(Browser(pages, who).fetched() for who in (ADA, BOB, ADA, BOB)))
    assert {body.count(b"\n") for body in found} == {ROWS + 1}
    assert most == 1


async def test_who_asks_slow_questions_holds_up_nobody_else(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, asked, slow = pages.console.ask.fresh, asyncio.Event(), asyncio.Event()

    async def held(actor: Any, *arguments: Any, **named: Any) -> Answer:
        if actor.id == ADA.id:
            asked.set()
            await slow.wait()
        return await fresh(actor, *arguments, **named)

    monkeypatch.setattr(pages.console.ask, "fresh", held)
    waiting = [Browser(pages, ADA) for _ in range(3)]
    await asked.wait()
    assert (await asyncio.wait_for(Browser(pages, BOB).fetched(), PATIENCE_S)).count(b"\n") == ROWS + 1
    slow.set()
    assert {(await one.fetched()).count(b"\n") for one in waiting} == {ROWS + 1}


async def test_what_is_refused_gives_its_place_back(pages: Pages) -> None:
    for _ in range(5):
        one = Browser(pages, ADA, "/cost.csv?table=none")
        assert b"there is no table" in await one.fetched()
        assert one.status == 400
