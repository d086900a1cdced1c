"""What people who click take from what arrives: acknowledgements a second, and how soon an event is in SQL.

    python -m tests.bench.clicking [--seconds 20] [--people 10] [--rate 20]

A Kafka and a whole stack of their own, with the settings that they have by default. A few clients send so many requests
a second (0: as fast as they are acknowledged), first with nobody there, then with people who each open one page of 90
days after the other, a moment after they have the last one: more than anybody does. Beside them single events are sent,
one after the other, whose way into SQL is timed from their acknowledgement; who times it asks the SQL service, and
waits for a turn there like everybody. That nothing is lost by it is proven in tests/console/test_alone.py.

2 cores, --rate 10, nobody and then ten people: 10 and 10 acknowledgements a second, in SQL after 0.4 s (longest 0.5)
and 1.4 s (2.8). --rate 0, where the clients take what there is of both cores, two rounds: 94 and 96 acknowledgements
a second and then 104 and 91, in SQL after 1.4 s and 2.8 to 3.9 s (6.0); a page takes 4 to 5 s then (11). With the
priority of everybody else for who asks (service/priority.py), in turns: 92 and 60, then 94 and 70, in SQL after 1.6
to 2.2 s and 7 s (11.4); a page takes 3.4 s (6.5).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import httpx

from millrace.fleet import NS_PER_S, Fleet, Request
from millrace.sender import Sender
from tests.bench.live import stored
from tests.bench.own import own_stack
from tests.console.arrivals import request
from tests.console.people import cookie, person
from tests.e2e import requests
from tests.e2e.stack import Stack

TENANT = "clicking"
SENDERS = 4
PAUSE_S = 1.0
PATHS = [f"/{name}?range=90d" for name in ("", "cost", "sessions", "adoption", "security", "reliability")]


@dataclass
class Measured:
    """What one part took.  acks, records: of the clients.  delays, pages: seconds of each."""

    acks: int = 0
    records: int = 0
    delays: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)


def fleet() -> Iterator[Request]:
    """Requests of a few hundred users without end, from now on."""
    made = Fleet(5, users=300, events_per_request=200)
    for at in count(time.time_ns(), NS_PER_S):
        yield from made.turn(at)


async def send(stack: Stack, key: str, made: Iterator[Request], rate: float, measured: Measured) -> None:
    """Clients that send the next one as soon as they may, and no more than `rate` a second."""
    began, sent = time.monotonic(), count()
    async with Sender(f"http://127.0.0.1:{stack.ports['GATEWAY_HTTP']}", key) as sender:

        async def one() -> None:
            while True:
                if rate > 0:
                    await asyncio.sleep(began + next(sent) / rate - time.monotonic())
                following = next(made)
                outcome = await sender.send(following)
                assert (outcome.refused, outcome.rejected) == ("", 0)
                measured.acks += 1
                measured.records += following.records

        await asyncio.gather(*(one() for _ in range(SENDERS)))


async def arrive(stack: Stack, single: requests.Sender, measured: Measured) -> None:
    """Single events, each timed."""
    session = str(uuid.uuid4())
    for number in count(1):
        await asyncio.to_thread(single.send, request(session, number))
        since = time.monotonic()
        await stored(stack, f"SELECT count(*) FROM events WHERE session_id = '{session}'", number)
        measured.delays.append(time.monotonic() - since)
        await asyncio.sleep(random.uniform(0, PAUSE_S))


async def click(stack: Stack, who: str, measured: Measured) -> None:
    """Somebody, for whom no answer is kept that another one has."""
    jar = cookie(stack.console_secret(), person("admin", id_=who))
    async with httpx.AsyncClient(base_url=stack.console_url, cookies=jar, timeout=60, trust_env=False) as http:
        while True:
            path = f"{random.choice(PATHS)}&team={who}" if random.random() < 0.5 else random.choice(PATHS)
            since = time.monotonic()
            (await http.get(path)).raise_for_status()
            measured.pages.append(time.monotonic() - since)
            await asyncio.sleep(random.uniform(0, PAUSE_S))


async def part(stack: Stack, key: str, made: Iterator[Request], seconds: float, people: int, rate: float) -> Measured:
    """All of it for so long."""
    measured = Measured()
    with requests.Sender(stack.ports["GATEWAY_GRPC"], stack.ports["GATEWAY_HTTP"], key) as single:
        works = [send(stack, key, made, rate, measured), arrive(stack, single, measured)]
        works += [click(stack, f"person-{number}", measured) for number in range(people)]
        tasks = [asyncio.create_task(work) for work in works]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
    return measured


async def measure(stack: Stack, seconds: float, people: int, rate: float) -> None:
    """Print what they took."""
    key, made = stack.key(TENANT), fleet()
    await part(stack, key, made, 5.0, 0, rate)  # connections, caches
    print(
        f"{'':12}{'acks/s':>8}{'records/s':>11}{'SQL after':>11}{'longest':>9}{'pages':>7}{'median':>8}{'longest':>9}"
    )
    for there in (0, people):
        found = await part(stack, key, made, seconds, there, rate)
        line = f"{there:>3} people  {found.acks / seconds:>8.0f}{found.records / seconds:>11,.0f}"
        line += f"{statistics.median(found.delays):>9.2f} s{max(found.delays):>7.2f} s{len(found.pages):>7}"
        if found.pages:
            line += f"{statistics.median(found.pages):>6.2f} s{max(found.pages):>7.2f} s"
        print(line)


def main() -> None:
    """Start all of it, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--rate", type=float, default=20.0)
    given = parser.parse_args()
    with own_stack("clicking") as stack:
        asyncio.run(measure(stack, given.seconds, given.people, given.rate))


if __name__ == "__main__":
    main()
