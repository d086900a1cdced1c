"""How soon an event that was acknowledged is on the pages that are open, which nobody reloads.

    python -m tests.bench.live [--events 30] [--others 10]

A Kafka and a whole stack of their own, with the settings that they have by default, and a real Chromium with a page
for each of tests/console/arrivals.py. The time runs from the gateway's acknowledgement; pages ask again by themselves
every few seconds, so the events are sent at times that know nothing of those. Others: people of the same role with the
overview open too, so that answers are shared: up to a second old, or as old as their query ran.

2 cores, --others 10: in SQL after 0.1 s, its session after 0.4 s (longest 0.5 s); on the overview after 2.6 s (p95 4.3,
longest 4.9), in the list 2.9 (4.1, 4.2), in the timeline 2.5 (4.0, 4.1), in the cost of 90 days 2.3 (4.1, 4.2), on the
page of reliability 1.7 (2.9, 3.2). Pages ask every 3 s.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
import uuid
from collections.abc import Awaitable

import httpx
from playwright.async_api import Page

from console.web import TICK_MS
from tests.bench.own import own_stack
from tests.console.arrivals import PLACES, request
from tests.console.browser import running_async
from tests.console.people import cookie, person
from tests.e2e.requests import Sender
from tests.e2e.stack import Stack, eventually

TENANT = "live"
POLL_S = 0.05
TICK_S = TICK_MS / 1000
TIMEOUT_S = 60.0


async def seconds_until(since: float, shown: Awaitable[object]) -> float:
    """Seconds from since to its end."""
    await shown
    return time.monotonic() - since


async def stored(stack: Stack, sql: str, number: int) -> None:
    """Until the SQL service answers with the number."""
    headers = {"authorization": f"Bearer {stack.admin_key()}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stack.ports['SQL']}", headers=headers) as http:
        while (await http.post("/sql", json={"sql": sql})).json()["rows"] != [[number]]:
            await asyncio.sleep(POLL_S)


async def look(http: httpx.AsyncClient) -> None:
    """Somebody else's overview, asked again as its page does."""
    await asyncio.sleep(random.uniform(0, TICK_S))
    while True:
        await http.get(f"/?tenant={TENANT}")
        await asyncio.sleep(TICK_S)


async def measure(stack: Stack, sender: Sender, session: str, events: int, others: int) -> None:
    """Send them, and print what they took."""
    base, jar = stack.console_url, cookie(stack.console_secret(), person("admin"))
    asked = {
        "SQL, the event": f"SELECT count(*) FROM events WHERE session_id = '{session}'",
        "SQL, its session": f"SELECT api_requests FROM sessions WHERE session_id = '{session}'",
    }
    took: dict[str, list[float]] = {name: [] for name in (*asked, *PLACES)}
    async with running_async() as browser, httpx.AsyncClient(base_url=base, cookies=jar, timeout=60) as http:
        context = await browser.new_context()
        await context.add_cookies([{"name": name, "value": value, "url": base} for name, value in jar.items()])
        pages: dict[str, Page] = {}
        for name, (path, _) in PLACES.items():
            pages[name] = await context.new_page()
            await pages[name].goto(base + path.format(tenant=TENANT, session=session))
        people = [asyncio.create_task(look(http)) for _ in range(others)]
        for number in range(2, events + 2):
            await asyncio.sleep(random.uniform(0, TICK_S))
            await asyncio.to_thread(sender.send, request(session, number))
            since = time.monotonic()
            waits = [stored(stack, sql, number) for sql in asked.values()] + [
                page.wait_for_function(PLACES[name][1], arg=number, timeout=TIMEOUT_S * 1000)
                for name, page in pages.items()
            ]
            found = await asyncio.gather(*(seconds_until(since, one) for one in waits))
            for name, seconds in zip(took, found, strict=True):
                took[name].append(seconds)
        for one in people:
            one.cancel()
    print(f"{events} events, {others} others; seconds after the acknowledgement:")
    print(f"{'':28}{'median':>8}{'p95':>8}{'longest':>9}")
    for name, seconds in took.items():
        p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
        print(f"{name:28}{statistics.median(seconds):>8.2f}{p95:>8.2f}{max(seconds):>9.2f}")


def main() -> None:
    """Start all of it, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--others", type=int, default=10)
    given = parser.parse_args()
    session = str(uuid.uuid4())
    with (
        own_stack("live") as stack,
        Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], stack.key(TENANT)) as sender,
    ):
        ask = stack.sql(stack.admin_key())
        sender.send(request(session, 1))
        eventually(lambda: len(ask("SELECT 1 FROM sessions")) != 1)
        asyncio.run(measure(stack, sender, session, given.events, given.others))


if __name__ == "__main__":
    main()
