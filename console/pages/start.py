"""Onboarding: from an empty system to the first event of a client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from console import turns
from console.ask import Visible
from console.errors import AskFault
from console.filters import FilterFault
from console.people import Person
from console.web import Console, Page, Visit
from schemas import keys
from schemas.errors import MillraceError, PermanentError
from service import client, keyring
from service.changes import Who
from service.client import CLIENTS, FILES, GATES, PROTOCOLS, Client, Protocol
from service.sql import literal, spelled, timestamp

PATH = "/start"
PLACEHOLDER = "YOUR_INGEST_KEY"
ANYTHING = (
    "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM metrics) OR EXISTS (SELECT 1 FROM spans) AS any"
)
_RESOURCE = {"team": client.TEAM, "department": client.DEPARTMENT, "cost_center": client.COST_CENTER}
_RESOURCE_MAX = 200
_NAME_MAX = 100
# A slow store must not keep anybody from signing in.
_LANDING_S = 2.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SINCE_MAX = timedelta(days=7)
_KEY_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Choice:
    """What is chosen on the page; all of it but the key stands in its URL.

    tenant: whose key it is, and whose first event is waited for.  since: from when on that is the first.  key_id: of
    the key whose records alone are waited for; None: whichever of the tenant's.
    """

    client: Client
    protocol: Protocol
    gates: tuple[str, ...]
    resource: Mapping[str, str]
    tenant: str
    since: datetime
    key: str | None = field(default=None, repr=False)
    key_id: str | None = None

    def pairs(self) -> list[tuple[str, str]]:
        """As fields of a form or a URL, without the key."""
        return [
            ("client", self.client.name),
            ("protocol", self.protocol),
            *(("gate", gate) for gate in self.gates),
            *((name, value) for name, value in self.resource.items() if value),
            ("tenant", self.tenant),
            ("since", spelled(self.since)),
        ]

    @property
    def url(self) -> str:
        """The page with these choices. The key is never in it."""
        return f"{PATH}?{urlencode(self.pairs())}"

    @property
    def waiting_url(self) -> str:
        """The same, waiting for the records of the key alone; an id is no secret."""
        return self.url + (f"&{urlencode({'key_id': self.key_id})}" if self.key_id else "")

    def with_key(self, text: str) -> Choice:
        """The same with an ingest key, whose records are waited for."""
        return replace(self, key=text, key_id=keys.parse_key(text).id)

    def endpoint(self, console: Console) -> str:
        """Where the client sends."""
        settings = console.settings
        return client.endpoint_of(
            self.protocol, grpc_url=settings.ingest_grpc_url, http_url=settings.ingest_http_url
        ).rstrip("/")

    def environment(self, console: Console) -> dict[str, str]:
        """The variables of these choices."""
        return client.environment(
            protocol=self.protocol,
            endpoint=self.endpoint(console),
            key=self.key or PLACEHOLDER,
            gates=self.gates,
            resource={_RESOURCE[name]: value for name, value in self.resource.items()},
        )


def parse(said: ImmutableMultiDict[str, Any], person: Person, *, default_tenant: str, now: datetime) -> Choice:
    """The choices of a URL or a form. Raises: FilterFault."""

    def text(name: str, default: str = "") -> str:
        value = said.get(name)
        return value.strip() if isinstance(value, str) and value.strip() else default

    kind = CLIENTS.get(text("client", "cli"))
    if kind is None:
        raise FilterFault(f"there is no client {text('client')[:20]!r}; there are {', '.join(CLIENTS)}")
    protocol = text("protocol", kind.protocols[0])
    if protocol not in PROTOCOLS:
        raise FilterFault(f"there is no protocol {protocol[:20]!r}; there are {', '.join(PROTOCOLS)}")
    if protocol not in kind.protocols:
        protocol = kind.protocols[0]
    gates = [gate for gate in said.getlist("gate") if isinstance(gate, str)]
    if unknown := [gate for gate in gates if gate not in GATES]:
        raise FilterFault(f"there is no gate {unknown[0][:20]!r}; there are {', '.join(GATES)}")
    tenant = person.tenant or text("tenant", default_tenant)
    if not keys.valid_tenant(tenant):
        raise FilterFault("a tenant has 1 to 64 letters, digits, dots, dashes and underscores")
    resource = {name: text(name) for name in _RESOURCE}
    if any(len(value) > _RESOURCE_MAX for value in resource.values()):
        raise FilterFault(f"team, department and cost center have at most {_RESOURCE_MAX} characters")
    key_id = text("key_id") or None
    if key_id is not None and not _KEY_ID.fullmatch(key_id):
        raise FilterFault(f"{key_id[:20]!r} is no id of a key")
    return Choice(
        kind,
        protocol,
        client.with_needs(gates),
        resource,
        tenant,
        _since(text("since"), now),
        key_id=key_id,
    )


async def start(visit: Visit) -> Response:
    """Choose, copy, and wait for the first event."""
    return await _page(visit, _choice(visit, visit.request.query_params))


async def start_with_key(visit: Visit) -> Response:
    """The same with a key that was just made, which stands in the form and in no URL."""
    return await _page(visit, _with_key(visit))


async def make_key(visit: Visit) -> Response:
    """A new ingest key of a tenant, shown now and never again."""
    choice = _choice(visit, visit.form)
    name = visit.form.get("name")
    name = name.strip()[:_NAME_MAX] if isinstance(name, str) else ""
    try:
        text = await keyring.create(
            visit.console.kafka,
            visit.console.settings.prefix,
            Who(visit.person.id, visit.address),
            tenant=choice.tenant,
            kind="ingest",
            name=name or f"for {choice.client.label}",
        )
    except MillraceError as error:
        return await _page(visit, choice, fault=str(error))
    return await _page(visit, choice.with_key(text), made=True)


async def download(visit: Visit) -> Response:
    """One of the files for a fleet, with the key that the form brings."""
    choice = _with_key(visit)
    name = visit.form.get("file")
    file = FILES.get(name) if isinstance(name, str) else None
    if file is None or not choice.client.files:
        raise FilterFault("there is no such file for this client")
    return Response(
        file.content(choice.environment(visit.console)),
        media_type=file.type,
        headers={"content-disposition": f'attachment; filename="{file.filename}"'},
    )


async def landing(console: Console, person: Person, address: str | None) -> str:
    """Where a sign-in leads to that names no page: admins of an empty system to the onboarding."""
    if person.admin:
        try:
            async with asyncio.timeout(_LANDING_S):
                answer = await console.ask.sql(person.actor(address), ANYTHING)
        except (AskFault, TimeoutError):
            return "/"
        if not answer.one()["any"]:
            return PATH
    return "/"


def _choice(visit: Visit, said: ImmutableMultiDict[str, Any]) -> Choice:
    console = visit.console
    return parse(said, visit.person, default_tenant=console.settings.tenant, now=console.now())


def _with_key(visit: Visit) -> Choice:
    """The choices of a form with the key that it brings; only forms may, since URLs are logged and kept."""
    choice, text = _choice(visit, visit.form), visit.form.get("key")
    return choice.with_key(text) if isinstance(text, str) and _is_ingest(text) else choice


async def _page(visit: Visit, choice: Choice, *, made: bool = False, fault: str = "") -> Response:
    console = visit.console
    arrived: Any
    try:
        arrived = await _arrived(visit, choice)
    except AskFault as error:
        arrived = error
    variables = choice.environment(console)
    in_force = console.control.keys()
    known = {key.tenant for key in in_force if key.tenant} | {console.settings.tenant}
    return visit.render(
        "start.html",
        status=503 if fault else 200,
        choice=choice,
        made=made,
        fault=fault,
        arrived=arrived,
        variables=variables,
        shell=client.shell(variables),
        powershell=client.powershell(variables),
        settings_json=client.settings_json(variables),
        cowork=client.cowork(
            protocol=choice.protocol, endpoint=choice.endpoint(console), key=choice.key or PLACEHOLDER
        ),
        endpoint=choice.endpoint(console),
        only_here=urlsplit(choice.endpoint(console)).hostname in _LOOPBACK,
        check=_check(console, choice),
        clients=CLIENTS,
        gates=GATES,
        files=FILES,
        managed_paths=client.MANAGED_PATHS,
        resource_names=_RESOURCE,
        tenants=sorted(known) if visit.person.tenant is None else [],
    )


def _check(console: Console, choice: Choice) -> str:
    """A command that shows whether the gateway is reached and takes the key."""
    url = console.settings.ingest_http_url.rstrip("/")
    return (
        f'curl -i {url}/v1/logs -H "Authorization: Bearer {choice.key or PLACEHOLDER}" '
        '-H "Content-Type: application/json" -d \'{"resourceLogs":[]}\'\n'
    )


@dataclass(frozen=True)
class Arrived:
    """What came of a tenant, or a key of it, since the page was opened.  first: of each signal, by its name."""

    first: Mapping[str, Mapping[str, Any]]

    @property
    def shown(self) -> Mapping[str, Any] | None:
        """The one to show: an event, else whatever there is."""
        return next((self.first[signal] for signal in ("events", "metrics", "spans") if signal in self.first), None)


async def _arrived(visit: Visit, choice: Choice) -> Arrived:
    found: dict[str, Mapping[str, Any]] = {}
    if sql := _first(await visit.visible(), choice):
        for row in (await visit.ask(sql)).objects():
            row["url"] = session_url(row["tenant"], row["session_id"])
            found[row["signal"]] = row
    return Arrived(found)


def _first(visible: Visible, choice: Choice) -> str:
    """The first record of each signal, one row each."""
    parts = []
    for table, name, happened in (
        ("events", "event_name", "event_time"),
        ("metrics", "metric", "event_time"),
        ("spans", "name", "start_time"),
    ):
        if not visible.has(table, "tenant", "received_time", "ingest_key_id"):
            continue
        by = f"AND ingest_key_id = {literal(choice.key_id)} " if choice.key_id else ""
        email = "user_email" if visible.has(table, "user_email") else "NULL::VARCHAR"
        parts.append(
            f"(SELECT '{table}' AS signal, tenant, {name} AS name, {happened} AS happened, received_time, session_id, "
            f"user_key, {email} AS user_email, service_name, client FROM {table} "
            f"WHERE tenant = {literal(choice.tenant)} AND received_time >= {timestamp(choice.since)} {by}"
            "ORDER BY received_time LIMIT 1)"
        )
    return " UNION ALL ".join(parts)


def session_url(tenant: str, session_id: str | None) -> str | None:
    """The page of a session; none for records without one."""
    return turns.session_url(tenant, session_id) if session_id else None


def _is_ingest(text: str) -> bool:
    try:
        return keys.parse_key(text).kind == "ingest"
    except PermanentError:
        return False


def _since(text: str, now: datetime) -> datetime:
    if not text:
        return now.astimezone(UTC).replace(microsecond=0)
    try:
        said = datetime.fromisoformat(text)
        said = said.replace(tzinfo=UTC) if said.tzinfo is None else said.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise FilterFault(f"since is no time: {text[:40]!r}; write 2026-11-21T09:00Z") from error
    return max(min(said, now), now - _SINCE_MAX)


PAGES = (
    Page(PATH, start),
    Page(PATH, start_with_key, changes=True),
    Page(f"{PATH}/key", make_key, need="admin", changes=True),
    Page(f"{PATH}/file", download, changes=True),
)
