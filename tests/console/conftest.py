"""Two consoles to test: over a store that was filled by hand, without a browser; and the running stack, with one."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.sync_api import Browser

from console.app import application
from console.ask import Ask
from console.people import Cookies, Person
from console.settings import ConsoleSettings
from console.static import Static
from console.web import Console
from millrace.fleet import NS_PER_S, Fleet
from millrace.kafka import Broker
from schemas.roles import DEFAULTS
from schemas.topics import CATALOGUE
from service.audit import AuditLog
from service.cluster import ensure_topics
from service.control import ControlView
from service.links import Links
from sinks.query.runner import Limits
from sinks.query.service import Door
from sinks.query.store import QueryStore
from tests.console import browser as browsers
from tests.console import hostile
from tests.console import issuer as issuers
from tests.console.browser import Window
from tests.console.issuer import Issuer
from tests.console.people import READER, headers_of, person
from tests.e2e import truth
from tests.e2e.requests import Recorded, Sender, dated, keep, load
from tests.e2e.stack import Stack, eventually
from tests.sinks.query import samples
from tests.sinks.query.conftest import DOOR, KEYS, Sql, fill, served, unheard

SECRET = "a secret of the tests, long enough"
BASE = "http://console.test"
ADDRESS = "192.0.2.7"
# A page asks many questions at once, and the machine may be busy.
PATIENCE_S = 60.0
# Of answers over a store that does not change.
KEPT_S = 3600.0
# Where no SQL service is.
GONE = "http://127.0.0.1:9"
NO_KAFKA = {"bootstrap_servers": "127.0.0.1:1"}
# Keeps its place at the SQL service until it is stopped.
ENDLESS = "with recursive t(x) as (select 1 union all select x + 1 from t) select count(*) from t"
# When the store that was filled by hand has its events.
NOW = datetime.fromtimestamp(samples.T0 / 1e6, UTC)


@dataclass
class Pages:
    """A console without its process: over a real SQL service (None: over none), and without Kafka."""

    console: Console
    http: httpx.AsyncClient
    sql: Sql | None = None

    async def get(self, path: str, who: Person | None = None, **headers: str) -> httpx.Response:
        """GET as somebody, by default an admin of all tenants."""
        who = who or person("admin")
        answer = await self.http.get(path, headers={**headers, **cookie_header(who)})
        self.http.cookies.clear()  # the next one is somebody else
        return answer

    async def post(self, path: str, form: dict[str, str], who: Person | None = None, **headers: str) -> httpx.Response:
        """POST a form of our own page as somebody, by default an admin of all tenants."""
        who = who or person("admin")
        answer = await self.http.post(path, data={"csrf": who.csrf, **form}, headers={**headers, **cookie_header(who)})
        self.http.cookies.clear()
        return answer


def cookie_header(who: Person) -> dict[str, str]:
    """The header that a browser of theirs sends."""
    return headers_of(SECRET, who)


def console_over(sql_url: str, key: str, *, kept_s: float = 0.0, **settings: object) -> Console:
    """A console whose control plane is empty and whose clock stands at NOW.  kept_s: of answers."""
    made = ConsoleSettings.model_validate({"key": key, "secret": SECRET, "sql_url": sql_url, **settings})
    return Console(
        made,
        Ask(sql_url, key, timeout_s=made.sql_timeout_s, kept_s=kept_s),
        Cookies(SECRET, secure=made.base_url.startswith("https:"), idle_s=made.idle_s, absolute_s=made.absolute_s),
        Links(SECRET),
        Static(),
        ControlView(),
        AuditLog(NO_KAFKA, "none"),
        NO_KAFKA,
        now=lambda: NOW,
    )


@asynccontextmanager
async def pages_of(console: Console, sql: Sql | None = None, address: str = ADDRESS) -> AsyncIterator[Pages]:
    """What who comes from this address gets of a console.  sql: the service that it asks, if it is there."""
    transport = httpx.ASGITransport(application(console), client=(address, 1))
    try:
        async with httpx.AsyncClient(transport=transport, base_url=console.settings.public_url or BASE) as http:
            yield Pages(console, http, sql)
    finally:
        await console.ask.close()


@asynccontextmanager
async def pages_and_store(
    folder: Path, door: Door = DOOR, *, kept_s: float = 0.0
) -> AsyncIterator[tuple[Pages, QueryStore]]:
    """A console over a store of its own, which is empty.  kept_s: of answers."""
    async with (
        served(folder, Limits(seconds=PATIENCE_S), door) as (store, sql),
        pages_of(console_over(sql.base, "root-key", kept_s=kept_s, sql_timeout_s=PATIENCE_S), sql) as pages,
    ):
        yield pages, store


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """For tests that only read: mark them with loop_scope="session". The clock stands at NOW. READER is a role."""
    door = Door(KEYS.get, {**DEFAULTS, READER.name: READER}.get, unheard)
    async with pages_and_store(tmp_path_factory.mktemp("filled"), door, kept_s=KEPT_S) as (pages, store):
        await fill(store)
        yield pages


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plane(pages: Pages, kafka: Broker) -> AsyncIterator[Pages]:
    """As `pages`, with a control plane and an audit topic of its own: for tests that change something."""
    prefix = f"c{uuid.uuid4().hex[:8]}"
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"], CATALOGUE["audit"]], prefix, "local")
    console = console_over(pages.sql.base, "root-key", prefix=prefix, signin_failures=1000)
    console.kafka, console.audit = kafka.kwargs, AuditLog(kafka.kwargs, prefix)
    await console.control.start(kafka.kwargs, prefix)
    try:
        async with pages_of(console, pages.sql) as plane:
            yield plane
    finally:
        await console.control.stop()
        await console.audit.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests with a browser come last: until it closes, Playwright's event loop runs, and then no other may."""
    mine = [place for place, item in enumerate(items) if item.path.is_relative_to(Path(__file__).parent)]
    ordered = sorted((items[place] for place in mine), key=lambda item: "browser" in getattr(item, "fixturenames", ()))
    for place, item in zip(mine, ordered, strict=True):
        items[place] = item


# The running stack

CAPTURES = sorted(p for p in (Path(__file__).parent.parent / "captures").iterdir() if p.is_dir())
CAPTURED_AT = datetime(2026, 11, 20, tzinfo=UTC)
DEMO_TURNS, DEMO_STEP_S = 70, 2


@dataclass
class Fed:
    """The stack, with the recorded clients in the tenant `captures`, a demo fleet in `local`, and a client that is
    hostile in every text in `hostile`.  captures, demo: the requests that were sent, in folders, for the ledger."""

    stack: Stack
    captures: list[Path]
    demo: Path
    issuer: Issuer

    @property
    def base(self) -> str:
        """Of the pages."""
        return self.stack.console_url

    @property
    def secret(self) -> str:
        """Of the console."""
        return self.stack.console_secret()

    def send(self, requests: Iterable[Recorded], tenant: str) -> None:
        """Send recorded requests as a tenant."""
        ports = self.stack.ports
        with Sender(ports["GATEWAY_GRPC"], ports["GATEWAY_HTTP"], self.stack.key(tenant)) as sender:
            for request in requests:
                sender.send(request)


@pytest.fixture(scope="package")
def issuer() -> Iterator[Issuer]:
    """The identity provider of the running stack."""
    with issuers.running() as one:
        yield one


@pytest.fixture(scope="package")
def fed(kafka: Broker, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    """One running stack for all tests of pages in a browser; it does not outlive them."""
    stack = Stack(
        kafka.bootstrap,
        f"c{uuid.uuid4().hex[:8]}",
        tmp_path_factory.mktemp("stack"),
        MILLRACE_LAKE="false",
        MILLRACE_CONSOLE_OIDC_ISSUER=issuer.url,
        MILLRACE_CONSOLE_OIDC_CLIENT_ID=issuers.CLIENT,
        MILLRACE_CONSOLE_OIDC_CLIENT_SECRET=issuers.SECRET,
        MILLRACE_CONSOLE_OIDC_GROUPS='{"eng": ["analyst"]}',
    )
    days = max(0, (datetime.now(UTC) - CAPTURED_AT).days - 1)
    out = tmp_path_factory.mktemp("captures")
    folders = [dated(folder, out / folder.name, days * 86_400 * 10**9) for folder in CAPTURES]
    step_ns = DEMO_STEP_S * NS_PER_S
    turns = Fleet(7).turns(DEMO_TURNS, start_ns=time.time_ns() - DEMO_TURNS * step_ns, step_ns=step_ns)
    demo = keep(turns, tmp_path_factory.mktemp("fleet") / "demo")
    try:
        stack.start()
        found = Fed(stack, folders, demo, issuer)
        found.send((request for folder in folders for request in load(folder)), "captures")
        found.send(load(demo), "local")
        found.send(hostile.requests(), "hostile")
        # Until the streams, too, have all of it: what is in no topic yet is no lag of the sinks.
        sql = stack.sql(stack.admin_key())
        for tenant, sent in (("captures", folders), ("local", [demo])):
            until_stored(sql, tenant, truth.truth(sent))
        eventually(lambda: [] if sql("select 1 from sessions where tenant = 'hostile'") else ["no hostile session"])
        eventually(stack.sinks_lag)
        yield found
        stack.stop()
    finally:
        stack.kill_everything()


def until_stored(sql: truth.Sql, tenant: str, want: dict[str, Any]) -> None:
    """Wait until the tables of a tenant are what the ledger says of it."""
    eventually(lambda: truth.differences(lambda text: sql(f"{text} where tenant = '{tenant}'"), want))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with browsers.running() as browser:
        yield browser


@pytest.fixture
def window(fed: Fed, browser: Browser) -> Iterator[Callable[..., Window]]:
    """Opens windows: window(person, viewport=...); whatever a browser complained of fails the test.

    stranger: for who is not signed in.
    """
    opened: list[Window] = []

    def open_(who: Person | None = None, *, stranger: bool = False, **options: object) -> Window:
        who = None if stranger else who or person("admin")
        opened.append(Window(browser, fed.base, fed.secret, who, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.context.close()
        assert one.complaints == []
