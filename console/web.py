"""What every page has in common: who visits, what they ask for, how it is rendered and refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jinja2
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console import filters, shown
from console.ask import ANSWER_BYTES_MAX, Answer, Ask, Visible
from console.attempts import Attempts
from console.downloads import Downloads
from console.errors import AskFault
from console.filters import Filters
from console.oidc import Provider
from console.people import Cookies, Person
from console.places import Places
from console.sections import row_id
from console.settings import ConsoleSettings
from console.static import Static
from console.told import Told
from schemas.keys import KeyRecord
from service.audit import AuditLog
from service.control import ControlView
from service.links import Links

# nobody: also who is not signed in.  person: whoever is.  admin: in the role admin.  root: so, and of all tenants.
Need = Literal["nobody", "person", "admin", "root"]
_TEMPLATES = Path(__file__).parent / "templates"
_RUNNING_MAX = 2
_STILL_RUN = "{most} queries of yours still run: cancel one, or wait for it"
# An event is to be on an open page within 5 s: 2 are left to store it, and to answer.
TICK_MS = 3000


@dataclass(frozen=True)
class Navigation:
    """An entry of the menu."""

    path: str
    name: str
    need: Need = "person"


MENU = (
    Navigation("/", "Overview"),
    Navigation("/sessions", "Sessions"),
    Navigation("/cost", "Cost"),
    Navigation("/adoption", "Adoption"),
    Navigation("/security", "Security"),
    Navigation("/reliability", "Reliability"),
    Navigation("/sql", "SQL"),
    Navigation("/sources", "Sources"),
    Navigation("/admin", "Admin", "admin"),
)


@dataclass
class Console:
    """Everything of the process that pages use; built once."""

    settings: ConsoleSettings
    ask: Ask
    cookies: Cookies
    links: Links
    static: Static
    control: ControlView
    audit: AuditLog
    kafka: Mapping[str, Any]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    told: Told = field(default_factory=Told)
    downloads: Downloads = field(default_factory=Downloads)
    templates: jinja2.Environment = field(init=False)
    oidc: Provider | None = field(init=False)
    # Sign-ins that failed; and those that were begun, at the provider too.
    attempts: Attempts = field(init=False)
    begun: Attempts = field(init=False)
    # For the queries of the SQL page.
    asking: Places = field(init=False, default_factory=lambda: Places(_RUNNING_MAX, _STILL_RUN))
    # Changes of the control plane are made one after the other, each from what the one before left.
    changing: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.templates = _templates(self.static)
        self.oidc = None if self.settings.oidc_issuer is None else Provider(self.settings)
        self.attempts = Attempts(
            by_address=self.settings.signin_failures,
            in_all=self.settings.signin_failures_in_all,
            window_s=self.settings.signin_window_s,
        )
        self.begun = Attempts(by_address=self.settings.signin_starts, in_all=0, window_s=self.settings.signin_window_s)


class Visit:
    """One request of one person, as a page sees it."""

    def __init__(self, console: Console, request: Request, person: Person | None, form: FormData | None = None) -> None:
        """form: of a request that changes something, its token checked."""
        self.console = console
        self.request = request
        self._person = person
        self.form = form or FormData()

    @property
    def person(self) -> Person:
        """Who is signed in; for pages that need that."""
        assert self._person is not None, "the page needs nobody to be signed in"
        return self._person

    @property
    def known(self) -> Person | None:
        """Who is signed in, if anybody."""
        return self._person

    @property
    def path(self) -> str:
        """The path that was asked for as it was spelled: an id in it may have slashes."""
        return str(self.request.scope["raw_path"].decode("ascii", "replace"))

    @property
    def here(self) -> str:
        """It, with its query."""
        query = self.request.url.query
        return f"{self.path}?{query}" if query else self.path

    @cached_property
    def filters(self) -> Filters:
        """Of the URL. Raises: FilterFault, which becomes a page that says so."""
        return filters.parse(self.request.query_params, self.console.now())

    def mine(self, tenant: str | None) -> bool:
        """Whether what is of this tenant is this person's to know. None: of all, which only who sees all may."""
        return self.person.tenant is None or self.person.tenant == tenant

    def keys_in_force(self) -> list[KeyRecord]:
        """Those that are this person's to know, by tenant, kind and id."""
        return list(filter(lambda key: self.mine(key.tenant), self.console.control.keys()))

    @property
    def address(self) -> str | None:
        """Where the request comes from."""
        return None if self.request.client is None else self.request.client.host

    async def ask(self, sql: str, *, limit: int = 10_000) -> Answer:
        """An answer of at most some seconds' age, never of content. Raises: AskFault."""
        return await self.console.ask.sql(self.person.actor(self.address), sql, limit=limit)

    async def ask_now(
        self,
        sql: str,
        *,
        limit: int | None = None,
        timeout_s: float | None = None,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> Answer:
        """An answer of now, told to the audit if it reads content. Raises: AskFault."""
        actor = self.person.actor(self.address)
        return await self.console.ask.fresh(actor, sql, limit=limit, timeout_s=timeout_s, bytes_max=bytes_max)

    async def visible(self) -> Visible:
        """What the person may see. Raises: AskFault."""
        return await self.console.ask.visible(self.person.actor(self.address))

    async def panels(self, **asked: Coroutine[Any, Any, Any]) -> dict[str, Any]:
        """All of these at once; one that has no answer is its AskFault, which the page shows in its place."""
        done = await asyncio.gather(*asked.values(), return_exceptions=True)
        for one in done:
            if isinstance(one, BaseException) and not isinstance(one, AskFault):
                raise one
        return dict(zip(asked, done, strict=True))

    def render(
        self, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Response:
        """A page. Every template has `visit`, `person`, `menu` and `path` beside what is given."""
        person = self._person
        text = self.console.templates.get_template(template).render(
            visit=self,
            person=person,
            menu=[one for one in MENU if person is not None and (one.need != "admin" or person.admin)],
            path=self.request.url.path,
            **more,
        )
        return HTMLResponse(text, status_code=status, headers=dict(headers or {}))

    def go(self, url: str) -> Response:
        """To another page of ours, after a change or a sign-in."""
        return RedirectResponse(url, status_code=303)


Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True)
class Page:
    """A route, and who may use it.

    changes: it is no GET, so the form's token is checked.  sees: SQL name that a role must give one something of.
    file: what it answers is to be kept.
    """

    path: str
    handler: Handler
    need: Need = "person"
    changes: bool = False
    sees: str | None = None
    file: bool = False

    @property
    def method(self) -> str:
        """Of HTTP."""
        return "POST" if self.changes else "GET"


async def way_back(visit: Visit) -> Response:
    """To the page above, which has the form: who comes back to the address of one that was refused has none to send."""
    path, _, query = visit.here.partition("?")
    above = path.rpartition("/")[0] or "/"
    return visit.go(f"{above}?{query}" if query else above)


def with_ways_back(pages: Sequence[Page]) -> Iterator[Page]:
    """These, and a way back from each address that only a form has, for whom the page above is for."""
    yield from pages
    shown = {page.path: page for page in pages if not page.changes}
    for page in pages:
        if page.changes and page.path not in shown:
            yield replace(shown[page.path.rpartition("/")[0] or "/"], path=page.path, handler=way_back)


def _templates(static: Static) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "static": static.url,
        "presets": filters.PRESETS,
        "dimensions": filters.DIMENSIONS,
        "tick_ms": TICK_MS,
        "row_id": row_id,
    }
    environment.filters |= {**shown.UNITS, "unit": shown.by_unit, "short": shown.short, "time": shown.time}
    environment.globals["change"] = shown.change
    environment.tests["fault"] = lambda value: isinstance(value, AskFault)
    return environment
