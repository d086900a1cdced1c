"""Roles and their scopes: which classes of which datasets and rows a role gives.

Roles are of all tenants. To an admin of one, a rule about others is not there, and a rule that is not about that one
alone has no values: they may be teams, or people, of somebody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from console.pages.admin.changing import changed, or_again, plane, shown, stamp, text, texts
from console.web import Page, Visit
from schemas.errors import RoleError
from schemas.records import CLASSES
from schemas.roles import (
    ADMIN,
    CONTROL_KIND,
    DATASETS,
    DEFAULTS,
    RESTRICTED,
    Condition,
    Grant,
    Role,
    actor_of,
    shown_rule,
    without_rows,
)
from schemas.roles import checked_grant as grant_of
from service import roles
from service.changes import last_change
from service.errors import ChangeRefused


class Given(NamedTuple):
    """A grant as somebody sees it.  rule: as text; "": every row.  empty: datasets of which it gives no row."""

    grant: Grant
    rule: str
    empty: tuple[str, ...]


def given_by(role: Role, tenant: str | None) -> list[Given]:
    """What a role gives, as an admin of this tenant may see it; None: of all."""
    return [Given(one, _rule(one, tenant), without_rows(one)) for one in role.grants if _concerns(one, tenant)]


def _concerns(grant: Grant, tenant: str | None) -> bool:
    return tenant is None or all(tenant in one.values for one in grant.rule if one.column == "tenant")


def _rule(grant: Grant, tenant: str | None) -> str:
    if tenant is None:
        return shown_rule(grant.rule)
    own = Condition("tenant", (tenant,))
    shown = [
        str(own) if one.column == "tenant" else str(one) if own in grant.rule else f"{one.column} = …"
        for one in grant.rule
    ]
    return " AND ".join(shown)


async def show(visit: Visit) -> Response:
    """Every role."""
    return await _list(visit)


async def show_one(visit: Visit) -> Response:
    """A role, grant by grant."""
    return await _one(visit, visit.request.path_params["name"])


async def create(visit: Visit) -> Response:
    """A new role, which gives nothing yet."""
    name = text(visit, "name")

    async def make() -> Response:
        await changed(visit, CONTROL_KIND, None, lambda kafka, prefix, who: roles.create(kafka, prefix, who, name))
        await shown(visit, CONTROL_KIND, name)
        return visit.go(_url(name))

    return await or_again(make(), lambda said, status: _list(visit, said, status))


async def grant(visit: Visit) -> Response:
    """A role gives more."""
    return await _regranted(
        visit,
        roles.grant,
        lambda _: grant_of(text(visit, "class"), texts(visit, "dataset"), text(visit, "where") or None),
    )


async def revoke(visit: Visit) -> Response:
    """A role gives less."""
    return await _regranted(
        visit, roles.revoke, lambda name: _said(roles.all_of(plane(visit)).get(name), text(visit, "grant"))
    )


async def _regranted(visit: Visit, change: Callable[..., Awaitable[Role]], which: Callable[[str], Grant]) -> Response:
    """One grant of a role is changed.  which: of a role's name, it."""
    name = visit.request.path_params["name"]

    async def make() -> Response:
        one, seen = which(name), stamp(visit)
        await changed(
            visit, CONTROL_KIND, name, lambda kafka, prefix, who: change(kafka, prefix, who, name, one, seen=seen)
        )
        return visit.go(_url(name))

    return await _on_one(visit, name, make)


async def delete(visit: Visit) -> Response:
    """A role ends, or is again as it comes."""
    name = visit.request.path_params["name"]

    async def make() -> Response:
        seen = stamp(visit)
        await changed(
            visit, CONTROL_KIND, name, lambda kafka, prefix, who: roles.delete(kafka, prefix, who, name, seen=seen)
        )
        return visit.go(_url(name) if name in DEFAULTS else "/admin/roles")

    return await _on_one(visit, name, make)


async def _on_one(visit: Visit, name: str, make: Callable[[], Awaitable[Response]]) -> Response:
    return await or_again(make(), lambda said, status: _one(visit, name, said, status))


def _said(role: Role | None, spelled: str) -> Grant:
    for one in () if role is None else role.grants:
        if str(one) == spelled:
            return one
    raise RoleError(f"there is no such grant any more: {spelled}")


def _url(name: str) -> str:
    return f"/admin/roles/{quote(name, safe='')}"


def _state(name: str, role: Role | None) -> str:
    if role is None:
        return "cannot be read"
    if name not in DEFAULTS:
        return "custom"
    return "default" if role == DEFAULTS[name] else "changed"


async def _list(visit: Visit, fault: str = "", status: int = 200) -> Response:
    try:
        view = plane(visit)
    except ChangeRefused as error:
        return visit.render("admin/roles.html", status=503, rows=None, fault=str(error))
    used = Counter(role for key in visit.keys_in_force() if key.kind != "ingest" for role in actor_of(key).roles)
    rows = [
        (name, _state(name, role), role, [] if role is None else given_by(role, visit.person.tenant), used[name])
        for name, role in roles.all_of(view).items()
    ]
    return visit.render("admin/roles.html", status=status, rows=rows, fault=fault, form=visit.form)


async def _one(visit: Visit, name: str, fault: str = "", status: int = 200) -> Response:
    try:
        view = plane(visit)
    except ChangeRefused as error:
        return visit.render("admin/roles.html", status=503, rows=None, fault=str(error))
    known = roles.all_of(view)
    if name not in known:
        words = fault or f"There is no role {name}."
        return visit.render("refusal.html", status=404, title="There is no such role", text=words, again=False)
    role = known[name]
    grants = [] if role is None else given_by(role, visit.person.tenant)
    return visit.render(
        "admin/role.html",
        status=status,
        fault=fault,
        name=name,
        role=role,
        state=_state(name, role),
        grants=grants,
        seen=last_change(view, CONTROL_KIND, name),
        fixed=name == ADMIN,
        default=name in DEFAULTS,
        mine=visit.person.tenant is None,
        classes=CLASSES,
        datasets=list(DATASETS),
        restricted=RESTRICTED,
        form=visit.form,
        chosen=texts(visit, "dataset"),
    )


PAGES = (
    Page("/admin/roles", show, need="admin"),
    Page("/admin/roles", create, need="root", changes=True),
    Page("/admin/roles/{name}", show_one, need="admin"),
    Page("/admin/roles/{name}/grant", grant, need="root", changes=True),
    Page("/admin/roles/{name}/revoke", revoke, need="root", changes=True),
    Page("/admin/roles/{name}/delete", delete, need="root", changes=True),
)
