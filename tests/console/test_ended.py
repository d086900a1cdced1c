"""What ended stays ended: a copy of the cookie opens nothing, whatever is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from console.__main__ import Process
from console.ended import Ended
from console.people import COOKIE, Cookies, Person
from console.settings import ConsoleSettings
from tests.console.conftest import SECRET, Pages, cookie_header
from tests.console.people import cookie, person
from tests.ports import free_ports

LASTS_S = 1000.0


def cookies(path: Path | None, *, now: float | None = None, grants: str = "") -> Cookies:
    """Of a console that starts now."""

    def clock() -> float:
        return time.time() if now is None else now

    ended = Ended(path, LASTS_S, grants, clock)
    return Cookies(SECRET, secure=False, idle_s=LASTS_S, absolute_s=LASTS_S, ended=ended, clock=clock)


def good(console: Cookies, who: Person) -> bool:
    sent = f"{COOKIE}={cookie(SECRET, who)[COOKIE]}".encode()
    return console.read(Request({"type": "http", "headers": [(b"cookie", sent)]})) == who


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "console" / "ended"


async def test_a_sign_out_outlives_the_console(file: Path) -> None:
    who, elsewhere = person("viewer"), person("viewer")
    first = cookies(file)
    assert good(first, who)
    await first.end(Response(), who)
    for console in (first, cookies(file), cookies(file)):
        assert not good(console, who)
        assert good(console, elsewhere)


async def test_somebodys_sign_ins_end_everywhere_until_they_sign_in_again(file: Path) -> None:
    leaver, other = person("viewer", id_="ann"), person("viewer", id_="bob")
    first = cookies(file)
    await first.end_everywhere("ann")
    again = replace(person("viewer", id_="ann"), since=time.time() + 1)
    for console in (first, cookies(file)):
        assert not good(console, leaver)
        assert good(console, other)
        assert good(console, again)


def test_who_has_roles_by_other_settings_signs_in_again(file: Path) -> None:
    who = person("admin")
    assert good(cookies(file, grants="eng: admin"), who)
    assert good(cookies(file, grants="eng: admin"), who)
    assert not good(cookies(file, grants="eng: viewer"), who)
    assert not good(cookies(file, grants="eng: viewer"), who), "and at the next start too"
    assert good(cookies(file, grants="eng: viewer"), replace(person("viewer"), since=time.time() + 1))


async def test_an_end_is_forgotten_when_no_cookie_from_before_it_is_good(file: Path) -> None:
    who, now = person("viewer"), time.time()
    await cookies(file, now=now).end(Response(), who)
    cookies(file, now=now + LASTS_S - 1)
    assert len(file.read_text().splitlines()) == 2
    cookies(file, now=now + LASTS_S + 1)
    assert len(file.read_text().splitlines()) == 1


async def test_a_line_that_was_cut_off_takes_no_other_with_it(file: Path) -> None:
    who, other = person("viewer"), person("viewer")
    await cookies(file).end(Response(), who)
    with file.open("a") as out:
        out.write("0123456789ab 17")
    await cookies(file).end(Response(), other)
    assert not good(cookies(file), who)
    assert not good(cookies(file), other)


async def test_where_nothing_can_be_written_a_sign_out_holds_and_is_written_later(file: Path) -> None:
    who, other = person("viewer"), person("viewer")
    console = cookies(file)
    file.unlink()
    file.mkdir()
    await console.end(Response(), who)
    assert not good(console, who)
    file.rmdir()
    await console.end(Response(), other)
    assert not good(cookies(file), who)
    assert not good(cookies(file), other)


async def test_a_disk_that_takes_its_time_holds_up_nobody_else(file: Path) -> None:
    who = person("viewer")
    console = cookies(file)
    file.unlink()
    os.mkfifo(file)  # who writes to it waits until somebody reads
    reading = threading.Timer(5, lambda: os.open(file, os.O_RDONLY | os.O_NONBLOCK))
    reading.start()
    ending = asyncio.create_task(console.end(Response(), who))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reading.is_alive(), "the loop goes on before anybody reads"
    assert not good(console, who)
    assert not ending.done()
    await ending


async def test_ends_at_the_same_time_are_all_on_disk_when_they_are_answered(file: Path) -> None:
    who = [person("viewer") for _ in range(50)]
    first = cookies(file)
    await asyncio.gather(*(first.end(Response(), one) for one in who))
    again = cookies(file)
    assert not any(good(again, one) for one in who)


async def test_the_file_is_only_ours_and_names_nobody(file: Path) -> None:
    await cookies(file).end_everywhere("ann@example.com")
    assert file.stat().st_mode & 0o077 == 0
    assert "ann" not in file.read_text()


async def test_what_is_remembered_is_bounded() -> None:
    ended = Ended(None, LASTS_S)
    for number in range(100_101):
        await ended.end(str(number))
    assert len(ended._ends) <= 100_000
    assert ended.has(time.time() - 1, "100100")


@contextlib.asynccontextmanager
async def running(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A console's process, without Kafka or a store."""
    port, health = free_ports(2)
    settings = ConsoleSettings.model_validate(
        {
            "data": data,
            "port": port,
            "health_port": health,
            "bootstrap": "127.0.0.1:1",
            "sql_url": "http://127.0.0.1:1",
            "key": "none",
            "secret": SECRET,
        }
    )
    stop = asyncio.Event()
    process = asyncio.create_task(Process(settings).run(stop))
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    await http.get("/nowhere")
                    break
                await asyncio.sleep(0.05)
            yield http
    finally:
        stop.set()
        await process


async def test_the_process_remembers_who_signed_out_when_it_starts_again(tmp_path: Path) -> None:
    who = person("admin")
    async with running(tmp_path) as http:
        assert (await http.get("/signin", headers=cookie_header(who))).status_code == 303
        assert (await http.post("/signout", data={"csrf": who.csrf}, headers=cookie_header(who))).status_code == 303
    async with running(tmp_path) as http:
        assert (await http.get("/signin", headers=cookie_header(who))).status_code == 200
        assert (await http.get("/", headers=cookie_header(who))).headers["location"].startswith("/signin")


@pytest.mark.asyncio(loop_scope="session")
async def test_only_an_admin_of_all_ends_somebodys_sign_ins(plane: Pages) -> None:
    leaver = person("viewer", tenant="acme", id_="leaver@example.com")
    assert (await plane.get("/signin", leaver)).status_code == 303
    refused = await plane.post("/admin/audit/signout", {"who": leaver.id}, person("admin", tenant="acme"))
    assert refused.status_code == 403
    assert (await plane.post("/admin/audit/signout", {"who": " "})).status_code == 400
    assert (await plane.get("/signin", leaver)).status_code == 303
    answer = await plane.post("/admin/audit/signout", {"who": leaver.id})
    assert answer.status_code == 303
    assert (await plane.get("/signin", leaver)).status_code == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_without_its_audit_nobodys_sign_ins_end(pages: Pages) -> None:
    who = person("viewer", tenant="acme", id_="stays@example.com")
    answer = await pages.post("/admin/audit/signout", {"who": who.id})
    assert answer.status_code == 503
    assert "Nobody is signed out" in answer.text
    assert (await pages.get("/signin", who)).status_code == 303
