"""How long pages of the console take, with so many people who click at once.

    python -m tests.bench.console [--sessions 100000] [--events 10000000] [--people 10] [--seconds 60] [--folder F]
    python -m tests.bench.console --pages all|/PATH [--folder F]
    python -m tests.bench.console --watch [--seconds 20] [--folder F]

The query store is filled by tests/bench/filled.py (once for a --folder, which is kept then), the SQL service and the
console run as processes of their own with the settings that they have by default, as if something came all the time, so
that no answer holds for long (nothing is written). The people are in this process: they open a page, look at it for 0
to 2 seconds, and open the next. First they click through the console; then the same clicks are made of the bare SQL:
each question of those pages is asked directly at the SQL service, with as many at once, and nothing is kept.

With --pages it tells instead what each page costs alone, or those whose path begins so: nothing is kept, nobody else
clicks, and the page asks for all that it asks for after it has loaded.

With --watch it tells what pages take that are open and that nobody clicks: each asks anew at every tick. Once nothing
comes into the store, and once something all the time, as far as who asks can see: nothing is written.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import uvicorn

from console.app import application
from console.ask import Answer, Ask
from console.pages.cost import BYS
from console.people import Cookies
from console.settings import ConsoleSettings
from console.static import Static
from console.web import TICK_MS, Console
from schemas.keys import KeyRecord
from schemas.roles import DEFAULTS, Actor
from service.audit import AuditLog
from service.control import ControlView
from service.links import Links
from service.serving import Server, listen
from sinks.query.database import Database, Resources
from sinks.query.runner import Limits
from sinks.query.service import Door, SqlService
from tests.bench import filled
from tests.bench.process import cpu_s, peak_mib, waited_s
from tests.console.people import headers_of, person
from tests.ports import free_ports

SECRET = "a secret of the bench, long enough, of course"
KEY = "bench-key"
_ARRIVES_EVERY_S = 0.2


# What people click. A page is a name and a maker of addresses; add yours here.


@dataclass(frozen=True)
class Clicks:
    """A page of the bench.

    name: for the table; pages whose names begin alike, up to a comma, are summed up as well.  weight: how often.
    url: an address by chance, from some sessions that there are, as (tenant, session id).
    """

    name: str
    weight: int
    url: Callable[[random.Random, Sequence[tuple[str, str]]], str]


def _filters(chance: random.Random) -> dict[str, str]:
    """Half of all looks are at everything, the others at a team, a person, a model, a version."""
    kind = chance.random()
    if kind < 0.5:
        return {}
    if kind < 0.7:
        return {"team": f"team-{chance.randrange(23)}"}
    if kind < 0.8:
        return {"department": f"department-{chance.randrange(5)}"}
    if kind < 0.9:
        return {"model": chance.choice(["claude-sonnet-4-6", "claude-opus-4-6", "claude-haiku-4-5"])}
    return {"version": f"2.1.{chance.randrange(182, 197)}"}


def _overview(range_: str) -> Callable[[random.Random, Sequence[tuple[str, str]]], str]:
    def url(chance: random.Random, _: Sequence[tuple[str, str]]) -> str:
        by = chance.choice(["team", "team", "user", "model", "version", "cost_center"])
        return "/?" + urlencode({"range": range_, "by": by, **_filters(chance)})

    return url


def _sessions(chance: random.Random, _: Sequence[tuple[str, str]]) -> str:
    asked = {"range": chance.choice(["24h", "7d", "30d", "90d"]), **_filters(chance)}
    if chance.random() < 0.6:
        asked["sort"] = chance.choice(["-cost", "-tokens", "-errors", "-duration", "user", "start"])
    if chance.random() < 0.3:
        asked["page"] = str(chance.choice([2, 3, 4, 5, 40, 1900]))
    if chance.random() < 0.2:  # behind a bar of the overview
        asked |= chance.choice([{"asked": "claude-opus-4-6"}, {"tool": "Bash"}, {"decision": "reject"}])
    if chance.random() < 0.2:
        asked["only"] = "errors"
    if chance.random() < 0.2:
        asked["q"] = f"user{chance.randrange(100)}"
    return "/sessions?" + urlencode(asked)


def _session(chance: random.Random, known: Sequence[tuple[str, str]]) -> str:
    tenant, session_id = chance.choice(known)
    return f"/sessions/{tenant}/{session_id}"


PAGES: tuple[Clicks, ...] = (
    Clicks("overview, 24 h", 4, _overview("24h")),
    Clicks("overview, 7 d", 3, _overview("7d")),
    Clicks("overview, 30 d", 2, _overview("30d")),
    Clicks("overview, 90 d", 1, _overview("90d")),
    Clicks("sessions", 8, _sessions),
    Clicks("a session", 4, _session),
)
# What each page costs alone, over each of these ranges.
_RANGES = ("24h", "7d", "30d", "90d")
_ALONE = (
    *("/", "/sessions", "/sessions?sort=-cost&only=errors", "/sessions?page=1900", "/overview/choices"),
    *("/sessions?asked=claude-opus-4-6", "/sessions?tool=Bash", "/sessions?decision=reject"),
    *("/security", "/security/commands", "/security/permissions", "/security/mcp", "/security/extensions"),
    *("/security/refusals", "/reliability", "/reliability/latency", "/reliability/versions"),
    *(f"/cost?by={name}" for name in BYS),
    *("/adoption", "/adoption?version=2.1.190", "/report", "/sources"),
)


# The two processes


async def serve_sql(folder: Path, port: int, arriving: bool) -> None:
    """The SQL service as the sinks run it, beside no writer.  arriving: as if something came all the time."""

    async def unheard(_: Sequence[Any]) -> None:
        return None

    database = Database(folder, Resources())
    database.open("bench")
    keys = {KEY: KeyRecord("bench", "admin", None, "", "")}
    service = SqlService(database, Door(keys.get, DEFAULTS.get, unheard), port=port, limits=Limits())
    await service.start()
    while True:
        await asyncio.sleep(_ARRIVES_EVERY_S)
        if arriving:
            database.wrote()


def console(sql_url: str, ask: Callable[[ConsoleSettings], Ask] | None = None) -> Console:
    """A console without a control plane, with the settings that it has by default."""
    settings = ConsoleSettings.model_validate({"key": KEY, "secret": SECRET, "sql_url": sql_url})
    return Console(
        settings,
        ask(settings) if ask else Ask(sql_url, KEY, timeout_s=settings.sql_timeout_s, kept_s=settings.answers_kept_s),
        Cookies(SECRET, secure=False, idle_s=settings.idle_s, absolute_s=settings.absolute_s),
        Links(SECRET),
        Static(),
        ControlView(),
        AuditLog({}, "none"),
        {},
    )


async def serve_console(sql_url: str, port: int) -> None:
    """The console as its process runs it."""
    config = uvicorn.Config(
        application(console(sql_url)), log_config=None, access_log=False, lifespan="off", server_header=False, ws="none"
    )
    await Server(config).serve(sockets=[listen("127.0.0.1", port)])


@contextmanager
def process(*arguments: str) -> Iterator[int]:
    """One of the two, until the block ends. Gives its process id."""
    running = subprocess.Popen([sys.executable, "-m", "tests.bench.console", *arguments])
    try:
        yield running.pid
    finally:
        running.terminate()
        running.wait(30)


async def listening(url: str) -> None:
    """Wait until somebody answers there."""
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(240):
            try:
                await http.get(url)
                return
            except httpx.TransportError:
                await asyncio.sleep(0.5)
    raise AssertionError(f"nobody listens at {url}")


# The people


@dataclass
class Times:
    """What was measured of one way to ask.

    first, whole: by the page's name, seconds until it is there, and until it has all that it then asks for by itself.
    refused: address → status.
    """

    first: dict[str, list[float]] = field(default_factory=dict)
    whole: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def took(self, name: str, first: float, whole: float) -> None:
        self.first.setdefault(name, []).append(first)
        self.whole.setdefault(name, []).append(whole)


@dataclass(frozen=True)
class Plan:
    """What is clicked: so many people, for so many seconds, on these pages.  known: sessions that there are."""

    people: int
    seconds: float
    pages: Sequence[Clicks]
    known: Sequence[tuple[str, str]]


async def people(plan: Plan, click: Callable[[int, str, str], Any]) -> None:
    """The people of a plan, the same clicks with every call.  click: number of a person, name and address of a page."""
    until = time.monotonic() + plan.seconds

    async def one(number: int) -> None:
        chance = random.Random(number)
        await asyncio.sleep(chance.random())
        while time.monotonic() < until:
            (page,) = chance.choices(plan.pages, [page.weight for page in plan.pages])
            await click(number, page.name, page.url(chance, plan.known))
            await asyncio.sleep(chance.random() * 2)

    await asyncio.gather(*(one(number) for number in range(plan.people)))


class _Noted(Ask):
    """Asks as the console does, keeps nothing, and adds up the time in which a question is under way."""

    def __init__(self, settings: ConsoleSettings) -> None:
        super().__init__(settings.sql_url, KEY, timeout_s=60, kept_s=0.0)
        self.asking = 0
        self.asked = 0
        self.waited = 0.0
        self._since = 0.0

    async def sql(self, actor: Actor, text: str, *, limit: int = 10_000) -> Answer:
        return await self.fresh(actor, text, limit=limit)

    async def fresh(self, actor: Actor, text: str, *, limit: int | None = None) -> Answer:
        self.asked += 1
        if not self.asking:
            self._since = time.perf_counter()
        self.asking += 1
        try:
            return await super().fresh(actor, text, limit=limit)
        finally:
            self.asking -= 1
            if not self.asking:
                self.waited += time.perf_counter() - self._since


async def through_pages(base: str, plan: Plan) -> Times:
    """The clicks in the console."""
    times = Times()
    limits = httpx.Limits(max_connections=plan.people)
    headers = headers_of(SECRET, person("admin"))
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60, limits=limits, headers=headers) as http:

        async def click(_: int, name: str, url: str) -> None:
            began = time.perf_counter()
            answer = await http.get(url)
            first = time.perf_counter() - began
            if 'hx-trigger="load,' in answer.text:  # what the page then asks for by itself
                answer = await http.get(url, headers={"hx-request": "true"})
            times.took(name, first, time.perf_counter() - began)
            if answer.status_code != 200 or 'class="fault"' in answer.text:
                times.refused[url] = answer.status_code

        await people(plan, click)
    return times


async def through_sql(sql_url: str, plan: Plan) -> Times:
    """The same clicks, of which only the questions count."""
    times = Times()
    headers = headers_of(SECRET, person("admin"))

    asks = {}

    def ask(number: int) -> Callable[[ConsoleSettings], Ask]:
        def made(settings: ConsoleSettings) -> Ask:
            asks[number] = _Noted(settings)
            return asks[number]

        return made

    # A console for each person, whose questions are their own; as a live part, for which nothing waits.
    headers["hx-request"] = "true"
    https = [
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application(console(sql_url, ask(number)))),
            base_url="http://bench",
            headers=headers,
            timeout=60,
        )
        for number in range(plan.people)
    ]

    async def click(number: int, name: str, url: str) -> None:
        before = asks[number].waited
        answer = await https[number].get(url)
        asked = asks[number].waited - before
        times.took(name, asked, asked)
        if answer.status_code != 200 or 'class="fault"' in answer.text:
            times.refused[url] = answer.status_code

    await people(plan, click)
    for number, http in enumerate(https):
        await http.aclose()
        await asks[number].close()
    return times


async def alone(sql_url: str, sql: int, paths: Sequence[str]) -> None:
    """What each page costs in CPU seconds, of the SQL service (a process id) and the console together.

    The median of three times; each is of a console that has kept nothing.
    """
    headers = headers_of(SECRET, person("admin"))
    headers["hx-request"] = "true"
    asked: list[_Noted] = []

    def ask(settings: ConsoleSettings) -> Ask:
        asked.append(_Noted(settings))
        return asked[-1]

    async def once(url: str) -> tuple[float, bool]:
        app = application(console(sql_url, ask))
        transport = httpx.ASGITransport(app)
        before = cpu_s(sql) + time.process_time()
        async with httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers, timeout=60) as http:
            answer = await http.get(url)
        used = cpu_s(sql) + time.process_time() - before
        await asked.pop().close()
        return used, answer.status_code == 200 and 'class="fault"' not in answer.text

    print(f"\nCPU s of a page alone, median of 3\n\n| page | {' | '.join(_RANGES)} |\n|---|{'---|' * len(_RANGES)}")
    for path in paths:
        cells = []
        for range_ in _RANGES:
            took = [await once(f"{path}{'&' if '?' in path else '?'}range={range_}") for _ in range(3)]
            answered = all(well for _, well in took)
            cells.append(f"{sorted(used for used, _ in took)[1]:.2f}{'' if answered else ' NO ANSWER'}")
        print(f"| `{path}` | {' | '.join(cells)} |", flush=True)


async def watched(base: str, pids: Sequence[int], urls: Sequence[str], seconds: float) -> str:
    """What it takes that these pages are open, each in a browser of its own: cells of a table."""
    took: list[float] = []
    headers = headers_of(SECRET, person("admin")) | {"hx-request": "true", "x-millrace-tick": "1"}
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60, headers=headers) as http:
        for url in urls:
            (await http.get(url)).raise_for_status()
        before, until = sum(map(cpu_s, pids)), time.monotonic() + seconds

        async def one(number: int, url: str) -> None:
            await asyncio.sleep(TICK_MS / 1000 * number / len(urls))
            while (began := time.monotonic()) < until:
                (await http.get(url)).raise_for_status()
                took.append(time.monotonic() - began)
                # A part that is still being asked for is not asked for again.
                await asyncio.sleep(TICK_MS / 1000 - (time.monotonic() - began) % (TICK_MS / 1000))

        await asyncio.gather(*(one(number, url) for number, url in enumerate(urls)))
        used = sum(map(cpu_s, pids)) - before
    return f"{used / seconds:.2f} | {_at(took, 0.5) * 1000:,.0f} | {_at(took, 0.95) * 1000:,.0f}"


async def watch(store: Path, seconds: float) -> None:
    """The table of what open pages take."""
    sql_port, pages_port = free_ports(2)
    sql_url, base = f"http://127.0.0.1:{sql_port}", f"http://127.0.0.1:{pages_port}"
    print("\n| what comes | open | CPU s a second | an answer: p50 ms | p95 |\n|---|---|---|---|---|")
    for arriving in (False, True):
        with (
            process("--serve-sql", str(store), "--port", str(sql_port), *(["--arriving"] * arriving)) as sql,
            process("--serve-console", sql_url, "--port", str(pages_port)) as served,
        ):
            await listening(sql_url)
            await listening(base)
            sessions = [f"/sessions/{tenant}/{session_id}" for tenant, session_id in await _known(sql_url)]
            pages = {
                "a closed session": sessions,
                "cost, 30 days": [f"/cost?range=30d&team=team-{number}" for number in range(10)],
                "cost, 90 days": [f"/cost?range=90d&team=team-{number}" for number in range(10)],
                "adoption, 30 days": [f"/adoption?range=30d&team=team-{number}" for number in range(10)],
            }
            for name, urls in pages.items():
                whole = [url.partition("&")[0] for url in urls]
                for title, opened in (("one", whole[:1]), ("the same by 10", whole[:1] * 10), ("10 others", urls[:10])):
                    cells = await watched(base, (sql, served), opened, seconds)
                    print(f"| {'something' if arriving else 'nothing'} | {name}: {title} | {cells} |", flush=True)


def _at(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(through: Times, bare: Times) -> None:
    """The result, in milliseconds."""
    print("\n| page | clicks | there: p50 | p95 | whole: p50 | p95 | p99 | bare SQL: clicks | p50 | p95 | p99 |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    groups: dict[str, list[str]] = {}
    for name in through.whole:
        groups.setdefault(name.partition(",")[0], []).append(name)
    for group, names in groups.items():
        lines = [(name, [name]) for name in sorted(names)] if len(names) > 1 else []
        for title, of in [*lines, (f"**{group}**", names)]:
            cells = [title, f"{sum(len(through.whole[name]) for name in of):,}"]
            cells += _cells(through.first, of, (0.5, 0.95)) + _cells(through.whole, of, (0.5, 0.95, 0.99))
            cells += [f"{sum(len(bare.whole.get(name, [])) for name in of):,}"]
            cells += _cells(bare.whole, of, (0.5, 0.95, 0.99))
            print(f"| {' | '.join(cells)} |")


def _cells(seconds: Mapping[str, Sequence[float]], names: Sequence[str], shares: Sequence[float]) -> list[str]:
    values = [value for name in names for value in seconds.get(name, ())]
    return [f"{_at(values, share) * 1000:,.0f}" if values else "" for share in shares]


async def bench(arguments: argparse.Namespace, folder: Path) -> None:
    """Fill, start, click, tell."""
    store = folder / "query"
    if not (store / "events.duckdb").exists():
        began = time.monotonic()
        size = filled.Size(arguments.sessions, arguments.events, users=max(20, arguments.sessions // 100))
        rows = filled.fill(store, size)
        print(f"filled in {time.monotonic() - began:.0f} s: {rows}", flush=True)
    if arguments.watch:
        await watch(store, arguments.seconds)
        return
    sql_port, pages_port = free_ports(2)
    sql_url, base = f"http://127.0.0.1:{sql_port}", f"http://127.0.0.1:{pages_port}"
    if arguments.pages is not None:
        with process("--serve-sql", str(store), "--port", str(sql_port)) as sql:
            await listening(sql_url)
            await alone(
                sql_url, sql, [one for one in _ALONE if arguments.pages == "all" or one.startswith(arguments.pages)]
            )
        return
    with (
        process("--serve-sql", str(store), "--port", str(sql_port), "--arriving") as sql,
        process("--serve-console", sql_url, "--port", str(pages_port)) as served,
    ):
        await listening(sql_url)
        await listening(base)
        known = await _known(sql_url)
        plan = Plan(arguments.people, arguments.seconds, await _there(base, known), known)
        cpu, waited = {pid: cpu_s(pid) for pid in (sql, served)}, waited_s(sql) + waited_s(served)
        through = await through_pages(base, plan)
        waited = waited_s(sql) + waited_s(served) - waited
        loads = f"{os.getloadavg()[0]:.1f}"
        used = {pid: cpu_s(pid) - before for pid, before in cpu.items()}
        bare = await through_sql(sql_url, plan)
        size_mb = sum(path.stat().st_size for path in store.glob("*.duckdb")) >> 20
        print(
            f"\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores (load {loads}), store {size_mb:,} MiB; "
            f"{arguments.people} people, 0 to 2 s between clicks, {arguments.seconds:.0f} s"
        )
        table(through, bare)
        clicks = sum(len(values) for values in through.whole.values())
        each = (used[sql] + used[served]) / clicks * 1000
        print(
            f"\nSQL service: {peak_mib(sql):,} MiB at most, {used[sql]:.1f} CPU s; console: {peak_mib(served):,} MiB "
            f"at most, {used[served]:.1f} CPU s; {clicks:,} pages through the console, {each:.0f} CPU ms a page; "
            f"both waited {waited:.1f} s for a core"
        )
        for url, status in [*through.refused.items(), *bare.refused.items()][:10]:
            print(f"NO ANSWER {status} {url}")


async def _known(sql_url: str) -> list[tuple[str, str]]:
    """Some sessions, as (tenant, session id)."""
    sql = "SELECT tenant, session_id FROM sessions WHERE NOT ghost ORDER BY session_id LIMIT 500"
    async with httpx.AsyncClient(base_url=sql_url, trust_env=False, timeout=60) as http:
        answer = await http.post("/sql", json={"sql": sql}, headers={"authorization": f"Bearer {KEY}"})
        return [(tenant, session_id) for tenant, session_id in answer.json()["rows"]]


async def _there(base: str, known: Sequence[tuple[str, str]]) -> list[Clicks]:
    """The pages that this console has."""
    headers = headers_of(SECRET, person("admin"))
    found = []
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60, headers=headers) as http:
        for page in PAGES:
            path = page.url(random.Random(0), known).partition("?")[0]
            if (await http.get(path)).status_code == 200:
                found.append(page)
            else:
                print(f"there is no {path} here", flush=True)
    return found


def main() -> None:
    """Of the command line."""
    parser = argparse.ArgumentParser(description="how long pages take")
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, help="where the store is, or is made and kept")
    parser.add_argument("--pages", help="what each page costs alone: all, or the beginning of a path")
    parser.add_argument("--watch", action="store_true", help="what open pages take that nobody clicks")
    parser.add_argument("--arriving", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve-sql", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve-console", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_sql is not None:
        asyncio.run(serve_sql(arguments.serve_sql, arguments.port, arguments.arriving))
    elif arguments.serve_console is not None:
        asyncio.run(serve_console(arguments.serve_console, arguments.port))
    elif arguments.folder is not None:
        asyncio.run(bench(arguments, arguments.folder))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(bench(arguments, Path(folder)))


if __name__ == "__main__":
    main()
