"""The console falls over alone, and stands up alone: beside a store, a gateway and browsers that come and go."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from millrace.fleet import NS_PER_S, Fleet
from service.priority import NICENESS
from sinks.query.runner import Limits
from tests.console.browser import WAIT_MS, Window
from tests.console.conftest import ENDLESS, Fed
from tests.console.people import cookie, headers_of, person
from tests.e2e.requests import keep, load
from tests.e2e.stack import eventually
from tests.e2e.truth import differences, truth

pytestmark = pytest.mark.slow

UNREACHABLE = "the SQL service"
PLACES = Limits().running


def queries(fed: Fed) -> tuple[int, int]:
    """How many the SQL service runs, and how many wait for a place there."""
    text = httpx.get(f"http://127.0.0.1:{fed.stack.ports['SINKS_HEALTH']}/metrics", trust_env=False).text
    running, waiting = (re.search(rf"^sinks_query_{one} (\S+)$", text, re.M) for one in ("running", "waiting"))
    assert running is not None
    assert waiting is not None
    return int(float(running[1])), int(float(waiting[1]))


def niceness(thread: int) -> int:
    """Of a thread, or of a process's first."""
    return os.getpriority(os.PRIO_PROCESS, thread)


def spent(pid: int) -> dict[int, float]:
    """CPU seconds of each thread of a process."""
    ticks = {}
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError):  # it has ended
            user, system = stat.read_text().rpartition(")")[2].split()[11:13]
            ticks[int(stat.parent.name)] = int(user) + int(system)
    return {thread: count / os.sysconf("SC_CLK_TCK") for thread, count in ticks.items()}


def until(check: Callable[[], bool]) -> None:
    """Fails if it does not come to be."""
    eventually(lambda: not check())


@contextmanager
def asked(port: int, *requests: tuple[str, str, dict[str, str], str | None]) -> Iterator[None]:
    """Clients that send a request each, never read the answer, and leave at the end."""
    clients = [http.client.HTTPConnection("127.0.0.1", port) for _ in requests]
    try:
        for client, (method, path, headers, body) in zip(clients, requests, strict=True):
            client.request(method, path, body, headers)
        yield
    finally:
        for client in clients:
            client.close()


@contextmanager
def no_place_left(fed: Fed) -> Iterator[None]:
    """Two others hold all places of the SQL service with queries that do not end."""
    keys = (fed.stack.admin_key(), fed.stack.key("captures", "query"))
    body = json.dumps({"sql": ENDLESS})
    heavy = [("POST", "/sql", {"x-api-key": keys[i % 2]}, body) for i in range(PLACES)]
    with asked(fed.stack.ports["SQL"], *heavy):
        until(lambda: queries(fed) == (PLACES, 0))
        yield


def test_an_open_page_says_that_the_store_is_gone_and_heals_by_itself(fed: Fed, browser: Browser) -> None:
    """Nobody reloads. What the browser says of the answers that failed is not looked at here."""
    one = Window(browser, fed.base, fed.secret, person("admin"))
    page = one.go("/?range=30d")
    page.wait_for_selector(".stat-value")
    os.kill(fed.stack.pid("sinks"), signal.SIGSTOP)
    page.wait_for_selector(".fault", timeout=3 * WAIT_MS)
    assert UNREACHABLE in page.locator(".fault").first.inner_text()
    fed.stack.kill("sinks")
    page.wait_for_selector(".fault", state="detached", timeout=6 * WAIT_MS)
    page.wait_for_selector(".stat-value")
    one.context.close()
    fed.stack.wait_ready()


def test_a_page_says_that_the_console_is_gone_and_who_was_signed_in_still_is(fed: Fed, browser: Browser) -> None:
    one = Window(browser, fed.base, fed.secret, person("admin"))
    page = one.go("/?range=7d")
    # It hangs, so that the page waits for it, and then is gone.
    os.kill(fed.stack.pid("console"), signal.SIGSTOP)
    with page.expect_request(lambda request: "range=7d" in request.url):
        pass
    fed.stack.kill("console")
    page.wait_for_selector("#stale:not(:empty)", timeout=3 * WAIT_MS)
    assert "No answer since" in page.locator("#stale").inner_text()
    page.wait_for_selector("#stale", state="hidden", timeout=6 * WAIT_MS)
    page.reload()
    assert page.locator("h1").inner_text() == "Overview"
    one.context.close()
    fed.stack.wait_ready()


def test_a_page_that_only_gets_errors_says_that_it_stands_still(fed: Fed, browser: Browser) -> None:
    one = Window(browser, fed.base, fed.secret, person("admin"))
    page = one.go("/?range=7d")
    page.route("**/*", lambda route: route.fulfill(status=503, body="busy"))
    page.wait_for_selector("#stale:not(:empty)")
    page.unroute("**/*")
    page.wait_for_selector("#stale", state="hidden")
    one.context.close()


def test_no_record_is_lost_or_late_for_a_console_that_hangs_or_for_browsers_that_leave(fed: Fed) -> None:
    tenant = "alone"
    pid = fed.stack.pid("console")
    jar = cookie(fed.secret, person("admin"))
    os.kill(pid, signal.SIGSTOP)
    try:
        # Browsers that ask and hang up; the questions wait in the socket of a process that does nothing.
        for _ in range(50):
            with pytest.raises(httpx.TimeoutException):
                httpx.get(fed.base + "/?range=90d", cookies=jar, timeout=0.02, trust_env=False)
        fed.send(load(fed.captures[0]), tenant)  # every request is acknowledged, or this fails
        ask = fed.stack.sql(fed.stack.admin_key())
        eventually(lambda: ask(f"select count(*) as n from events where tenant = '{tenant}'")[0]["n"] == 0)
    finally:
        os.kill(pid, signal.SIGCONT)
    fed.stack.wait_ready()
    eventually(lambda: httpx.get(fed.base + "/", cookies=jar, timeout=5, trust_env=False).status_code != 200)


@contextmanager
def crowd(fed: Fed) -> Iterator[None]:
    """People who ask for heavy pages and for SQL without end, again as soon as they have an answer."""
    base = f"http://127.0.0.1:{fed.stack.ports['SQL']}/sql"
    keys = [fed.stack.admin_key(), *(fed.stack.key(tenant, "query") for tenant in ("captures", "local", "hostile"))]
    browser = headers_of(fed.secret, person("admin"))
    paths = [f"/{name}?range=90d" for name in ("", "cost", "sessions", "adoption", "security", "reliability")]
    leaving = threading.Event()

    async def again(ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        while True:
            await ask()

    async def come() -> None:
        async with httpx.AsyncClient(timeout=120, trust_env=False, limits=httpx.Limits(max_connections=None)) as http:
            sql = [partial(http.post, base, json={"sql": ENDLESS}, headers={"x-api-key": key}) for key in keys * 2]
            pages = [partial(http.get, fed.base + path, headers=browser) for path in paths]
            asking = [asyncio.create_task(again(ask)) for ask in (*sql, *pages)]
            await asyncio.to_thread(leaving.wait)
            for one in asking:
                one.cancel()
            ended = await asyncio.gather(*asking, return_exceptions=True)
            assert {type(one) for one in ended} == {asyncio.CancelledError}, ended

    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(asyncio.run, come())
        try:
            yield
        finally:
            leaving.set()
            there.result()


def test_what_is_sent_while_people_ask_for_all_that_there_is_is_stored_as_ever(fed: Fed, tmp_path: Path) -> None:
    tenant, step_ns, turns = "steady", 2 * NS_PER_S, 30
    requests = Fleet(11).turns(turns, start_ns=time.time_ns() - turns * step_ns, step_ns=step_ns)
    sent = keep(requests, tmp_path / "sent")
    with crowd(fed):
        until(lambda: queries(fed)[0] == PLACES and queries(fed)[1] > 0)
        fed.send(load(sent), tenant)  # every request is acknowledged, or this fails
        eventually(fed.stack.sinks_lag, timeout_s=180)
        until(lambda: queries(fed)[0] == PLACES and queries(fed)[1] > 0)
    ask = fed.stack.sql(fed.stack.key(tenant, "query"))
    eventually(lambda: differences(ask, truth([sent])))


def test_who_asks_gives_way_to_what_arrives(fed: Fed) -> None:
    ingest, sinks, console = (niceness(fed.stack.pid(name)) for name in ("gateway", "sinks", "console"))
    assert (sinks, console) == (ingest, ingest + NICENESS), "what stores records does not give way"
    groups = {name: Path(f"/proc/{fed.stack.pid(name)}/autogroup") for name in ("gateway", "console")}
    if groups["gateway"].exists():  # where it does, niceness alone says nothing between two sessions
        said = {name: path.read_text().split()[-1] for name, path in groups.items()}
        assert said == {"gateway": "0", "console": str(NICENESS)}
    pid = fed.stack.pid("sinks")
    with no_place_left(fed):
        began = spent(pid)

        def since() -> dict[int, float]:
            return {thread: seconds - began.get(thread, 0.0) for thread, seconds in spent(pid).items()}

        until(lambda: sum(seconds > 1.0 for seconds in since().values()) >= PLACES)
        took = since()
        busiest = sorted(took, key=lambda thread: took[thread])[-PLACES:]
        assert {niceness(thread) for thread in busiest} == {ingest + NICENESS}


def test_browsers_that_leave_in_the_middle_leave_nothing_behind(fed: Fed) -> None:
    browser = headers_of(fed.secret, person("admin"))
    paths = ("/?range=90d", "/cost?range=90d", "/sessions?range=90d", "/sessions.csv?range=90d")
    with no_place_left(fed):
        with asked(fed.stack.ports["CONSOLE"], *(("GET", path, browser, None) for path in paths)):
            until(lambda: queries(fed)[1] >= len(paths))
        until(lambda: queries(fed)[1] == 0)
        assert queries(fed)[0] == PLACES, "theirs are gone, and those of others run on"
    until(lambda: queries(fed) == (0, 0))
    answer = httpx.get(fed.base + "/?range=7d", headers=browser, timeout=60, trust_env=False)
    assert (answer.status_code, "No answer" in answer.text) == (200, False)
