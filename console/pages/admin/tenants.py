"""The tenants that keys and sessions have; and what an admin sees first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from console.errors import AskFault
from console.web import Page, Visit
from schemas.policy import CONTROL_KIND, EVERY_TENANT

_TENANTS_MAX = 1000
_TENANTS = (
    "SELECT tenant, count(*) FILTER (WHERE NOT ghost) AS sessions, min(start_time) AS first, max(last_time) AS last "
    f"FROM sessions GROUP BY tenant ORDER BY last DESC LIMIT {_TENANTS_MAX + 1}"
)


@dataclass(frozen=True)
class Tenant:
    """A tenant as the page shows it.  keys: how many of each kind.  policy: whose it goes by; None: no one's."""

    name: str
    keys: Counter[str]
    sessions: int | None
    first: str | None
    last: str | None
    policy: str | None


async def first(visit: Visit) -> Response:
    """The way to the other pages."""
    return visit.go("/admin/keys")


async def tenants(visit: Visit) -> Response:
    """Every tenant that has a key or a session."""
    control = visit.console.control
    found = (await visit.panels(sessions=visit.ask(_TENANTS)))["sessions"]
    heard = [] if isinstance(found, AskFault) else found.objects()
    known: dict[str, dict[str, Any]] = {row["tenant"]: row for row in heard[:_TENANTS_MAX]}
    keys: dict[str, Counter[str]] = {}
    for key in visit.keys_in_force():
        if key.tenant is not None:
            keys.setdefault(key.tenant, Counter())[key.kind] += 1
    policies = control.records(CONTROL_KIND)
    rows = [
        Tenant(
            name,
            keys.get(name, Counter()),
            known.get(name, {}).get("sessions"),
            known.get(name, {}).get("first"),
            known.get(name, {}).get("last"),
            next((id_ for id_ in (name, EVERY_TENANT) if id_ in policies), None),
        )
        for name in sorted(known.keys() | keys.keys())
    ]
    return visit.render(
        "admin/tenants.html",
        rows=rows,
        fault=found if isinstance(found, AskFault) else None,
        cut=_TENANTS_MAX if len(heard) > _TENANTS_MAX else None,
    )


PAGES = (Page("/admin", first, need="admin"), Page("/admin/tenants", tenants, need="admin"))
