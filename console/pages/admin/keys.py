"""API keys: which there are, new ones, and the end of old ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from console.ask import moment
from console.errors import AskFault
from console.filters import DAY, Filters
from console.pages.admin.changing import changed, or_again, plane, shown, text, texts
from console.senders import heard
from console.web import Page, Visit
from schemas import keys
from schemas.errors import KeyFormatError
from schemas.keys import CONTROL_KIND, KINDS, KeyRecord
from schemas.roles import actor_of
from service import keyring, roles
from service.audit import KEY_USE
from service.errors import ChangeRefused
from service.senders import KNOWN
from service.sql import literal

_SHOWN_MAX = 300


@dataclass(frozen=True)
class Row:
    """A key as the page shows it.

    used_at: receipt of the newest record that an ingest key sent, within 30 days; of another one a moment of the last
    day (UTC) on which it was used.
    """

    id: str
    kind: str
    tenant: str | None
    roles: tuple[str, ...]
    name: str
    made_at: datetime
    made_by: str
    used_at: datetime | None
    own: bool

    @property
    def entries(self) -> str:
        """The audit's page of what it did on that day."""
        assert self.used_at is not None, "it was used"
        day = self.used_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return Filters(day, day + DAY, None).url("/admin/audit", actor=self.id)


@dataclass(frozen=True)
class Made:
    """A key that was just made.  old: the one that it follows, which is still good."""

    text: str
    id: str
    kind: str
    old: str | None = None


async def show(visit: Visit) -> Response:
    """All keys in force that this admin may see."""
    return await _page(visit)


async def create(visit: Visit) -> Response:
    """A new key, shown once."""

    async def make() -> Response:
        kind = next((one for one in KINDS if one == text(visit, "kind")), None)
        if kind is None:
            raise ChangeRefused("a key is of the kind " + ", ".join(KINDS), "choose one")
        tenant = visit.person.tenant or text(visit, "tenant") or None
        name, roles_ = text(visit, "name"), texts(visit, "role")
        made = await changed(
            visit,
            CONTROL_KIND,
            None,
            lambda kafka, prefix, who: keyring.create(
                kafka, prefix, who, tenant=tenant, kind=kind, name=name, roles_=roles_
            ),
        )
        return await _made(visit, made)

    return await or_again(make(), lambda fault, status: _page(visit, fault=fault, status=status))


async def rotate(visit: Visit) -> Response:
    """A new key in the place of another one, which stays until it is revoked."""

    async def make() -> Response:
        old = _chosen(visit)
        made = await changed(
            visit, CONTROL_KIND, None, lambda kafka, prefix, who: keyring.rotate(kafka, prefix, who, old.id)
        )
        return await _made(visit, made, old=old.id)

    return await or_again(make(), lambda fault, status: _page(visit, fault=fault, status=status))


async def revoke(visit: Visit) -> Response:
    """The end of a key."""

    async def make() -> Response:
        key = _chosen(visit)
        if key.id == _own(visit):
            raise ChangeRefused("this page itself asks with this key", f"use: millrace key revoke {key.id}")
        await changed(
            visit, CONTROL_KIND, key.id, lambda kafka, prefix, who: keyring.revoke(kafka, prefix, who, key.id)
        )
        return visit.go("/admin/keys")

    return await or_again(make(), lambda fault, status: _page(visit, fault=fault, status=status))


def _chosen(visit: Visit) -> KeyRecord:
    key = keyring.found(plane(visit), text(visit, "id"))
    if not visit.mine(key.tenant):  # whose it is, is not theirs to know
        raise ChangeRefused(f"there is no key in force with id {key.id}", "see: millrace key list")
    return key


async def _made(visit: Visit, made: str, old: str | None = None) -> Response:
    parsed = keys.parse_key(made)
    await shown(visit, CONTROL_KIND, parsed.id)
    return await _page(visit, made=Made(made, parsed.id, parsed.kind, old))


def _own(visit: Visit) -> str:
    key = visit.console.settings.key.get_secret_value()
    try:
        return keys.parse_key(key).id
    except KeyFormatError:
        return ""


async def _page(visit: Visit, *, fault: str = "", status: int = 200, made: Made | None = None) -> Response:
    try:
        view = plane(visit)
    except ChangeRefused as error:
        return visit.render("admin/keys.html", status=503, fault=str(error), made=None, rows=None)
    query = visit.request.query_params.get("q", "").strip()[:100]
    every = visit.keys_in_force()
    found = [
        key
        for key in every
        if not query or any(query.lower() in (one or "").lower() for one in (key.id, key.name, key.tenant, key.kind))
    ]
    listed = found[:_SHOWN_MAX]
    asked = await visit.panels(used=_used(visit, listed), sent=_sent(visit, listed))
    used: dict[str, datetime | None] = {}
    for one in asked.values():
        used |= {} if isinstance(one, AskFault) else one
    records = view.records(CONTROL_KIND)
    rows = [
        Row(
            key.id,
            key.kind,
            key.tenant,
            () if key.kind == "ingest" else actor_of(key).roles,
            key.name,
            datetime.fromtimestamp(records[key.id]["updated_at"] / 1e6, UTC),
            records[key.id]["updated_by"],
            used.get(key.id),
            key.id == _own(visit),
        )
        for key in listed
    ]
    return visit.render(
        "admin/keys.html",
        status=status,
        fault=fault,
        made=made,
        rows=rows,
        unknown={name: fault for name, fault in asked.items() if isinstance(fault, AskFault)},
        since=visit.console.now() - KNOWN,
        more=max(0, len(found) - _SHOWN_MAX),
        query=query,
        kinds=KINDS,
        roles=[name for name, role in roles.all_of(view).items() if role is not None],
        tenants=sorted({key.tenant for key in every if key.tenant}),
        form=visit.form,
        chosen=texts(visit, "role"),
    )


async def _sent(visit: Visit, listed: Iterable[KeyRecord]) -> dict[str, datetime | None]:
    """When the newest record of each ingest key was received."""
    sent = await heard(visit, [key for key in listed if key.kind == "ingest"])
    return {key_id: max(one.last for one in flows.values()) for (_, key_id), flows in sent.items() if key_id}


async def _used(visit: Visit, listed: Iterable[KeyRecord]) -> dict[str, datetime | None]:
    """When each key that asks last did so, as the audit has it: once a day, and whenever it read content."""
    ids = [literal(key.id) for key in listed if key.kind != "ingest"]
    if not ids:
        return {}
    answer = await visit.ask(
        f"SELECT actor, max(occurred_at) AS at FROM audit WHERE action IN ('{KEY_USE}', 'content.read') "
        f"AND actor_kind IN ('query', 'admin') AND actor IN ({', '.join(ids)}) GROUP BY 1"
    )
    return {row["actor"]: moment(row["at"]) for row in answer.objects()}


PAGES = (
    Page("/admin/keys", show, need="admin"),
    Page("/admin/keys/create", create, need="admin", changes=True),
    Page("/admin/keys/rotate", rotate, need="admin", changes=True),
    Page("/admin/keys/revoke", revoke, need="admin", changes=True),
)
