"""Privacy policies by tenant, and the routing rules in force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from console.pages.admin.changing import changed, or_again, plane, stamp, text
from console.web import Page, Visit
from schemas import routing
from schemas.errors import PermanentError
from schemas.keys import valid_tenant
from schemas.policy import ACTIONS, CONTROL_KIND, EVERY_TENANT, NONE, Policy, PolicyError
from schemas.records import CLASSES
from schemas.routing import Facts, Rule
from service import policies
from service.changes import last_change
from service.control import ControlView
from service.errors import ChangeRefused
from service.policies import PolicyChange

MEANING = {
    "usage": "numbers, names of tools and models, times: what every page is made of",
    "person": "e-mail address, account, organisation",
    "detail": "commands, paths, URLs, tool parameters, error texts",
    "content": "prompts, answers, tool input and output: the words themselves",
}


@dataclass(frozen=True)
class Row:
    """A policy as the list shows it.  fault: why it cannot be read."""

    tenant: str
    policy: Policy | None
    fault: str
    changed_at: datetime
    changed_by: str


async def show(visit: Visit) -> Response:
    """All policies, and one of them to change."""
    return await _page(visit, visit.request.query_params.get("tenant"))


async def change(visit: Visit) -> Response:
    """Other actions of classes, or masks."""
    tenant = text(visit, "tenant")

    async def make() -> Response:
        wanted = PolicyChange(
            classes={cls: text(visit, f"class.{cls}") for cls in CLASSES},
            mask={cls: text(visit, f"mask.{cls}") == "on" for cls in ("detail", "content")},
        )
        return await _put(visit, tenant, wanted, delete=False)

    return await or_again(make(), lambda fault, status: _page(visit, tenant, fault, status))


async def delete(visit: Visit) -> Response:
    """The end of a policy: what `*` says holds again."""
    tenant = text(visit, "tenant")

    async def make() -> Response:
        return await _put(visit, tenant, PolicyChange(), delete=True)

    return await or_again(make(), lambda fault, status: _page(visit, tenant, fault, status))


async def _put(visit: Visit, tenant: str, wanted: PolicyChange, *, delete: bool) -> Response:
    view = plane(visit)
    if tenant != EVERY_TENANT and not valid_tenant(tenant):
        raise ChangeRefused("a tenant is 1 to 64 letters, digits, dots, dashes and underscores", "spell it so")
    if not visit.mine(None if tenant == EVERY_TENANT else tenant):
        words = f"You are an admin of {visit.person.tenant}, and change its policy only."
        return visit.render("refusal.html", status=403, title="Of another tenant", text=words, again=False)
    if delete and tenant not in view.records(CONTROL_KIND):
        raise ChangeRefused(f"{tenant} has no policy of its own", "there is nothing to delete")
    seen = stamp(visit)
    await changed(
        visit,
        CONTROL_KIND,
        tenant,
        lambda kafka, prefix, who: policies.change(kafka, prefix, who, tenant, wanted, delete=delete, seen=seen),
    )
    return visit.go(f"/admin/policies?{urlencode({'tenant': tenant})}")


async def _page(visit: Visit, tenant: str | None, fault: str = "", status: int = 200) -> Response:
    try:
        view = plane(visit)
    except ChangeRefused as error:
        return visit.render("admin/policies.html", status=503, rows=None, fault=str(error))
    chosen = visit.person.tenant or tenant or EVERY_TENANT
    if chosen != EVERY_TENANT and not valid_tenant(chosen):
        chosen = EVERY_TENANT
        if not fault:
            fault, status = "A tenant is 1 to 64 letters, digits, dots, dashes and underscores.", 400
    own = chosen in view.records(CONTROL_KIND)
    try:
        policy, whose = policies.in_force(view, chosen)
    except PolicyError as error:
        policy, whose, fault = (
            NONE,
            chosen,
            fault or f"{error}. Until it is mended, gateways keep to the last good one.",
        )
    rows = [_row(view, id_) for id_ in sorted(view.records(CONTROL_KIND))]
    return visit.render(
        "admin/policies.html",
        status=status,
        fault=fault,
        rows=[one for one in rows if one.tenant == EVERY_TENANT or visit.mine(one.tenant)],
        tenants=sorted({key.tenant for key in visit.keys_in_force() if key.tenant}),
        chosen=chosen,
        own=own,
        policy=policy,
        whose=whose,
        seen=last_change(view, CONTROL_KIND, chosen),
        classes=CLASSES,
        actions=ACTIONS,
        meaning=MEANING,
        **_routing(visit, view),
    )


def _row(view: ControlView, tenant: str) -> Row:
    record = view.records(CONTROL_KIND)[tenant]
    at = datetime.fromtimestamp(record["updated_at"] / 1e6, UTC)
    try:
        return Row(tenant, policies.in_force(view, tenant)[0], "", at, record["updated_by"])
    except PolicyError as error:
        return Row(tenant, None, error.problem, at, record["updated_by"])


def _routing(visit: Visit, view: ControlView) -> dict[str, Any]:
    """The routing rules that this admin may see: those that can take a record of theirs."""
    try:
        found = routing.from_control(view.record(routing.CONTROL_KIND, routing.CONTROL_ID))
    except PermanentError as error:
        return {"rules": [], "version": None, "routing_fault": str(error)}
    tenant = visit.person.tenant
    rules = [one for one in found.rules if tenant is None or one.failed(Facts(tenant, "", ""), ("tenant",)) is None]
    return {"rules": [(one, _when(one, tenant)) for one in rules], "version": found.version, "routing_fault": ""}


def _when(rule: Rule, tenant: str | None) -> list[tuple[str, str]]:
    """The conditions; to an admin of one tenant not the names of others."""
    return [
        (name, tenant if name == "tenant" and tenant is not None else ", ".join(values))
        for name, values in rule.when.items()
    ]


PAGES = (
    Page("/admin/policies", show, need="admin"),
    Page("/admin/policies/change", change, need="admin", changes=True),
    Page("/admin/policies/delete", delete, need="admin", changes=True),
)
