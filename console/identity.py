"""What the claims of an identity provider make of a person: tenant and roles, by the settings alone.

Who is in no group that the settings name does not get in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from console.errors import SignInFault
from console.settings import EVERY_TENANT, ConsoleSettings, GroupGrant
from schemas.keys import valid_tenant
from schemas.roles import ADMIN

_TEXT_MAX = 200

Claims = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """Who a provider says that somebody is, and what the settings make of it.  tenant: None is every tenant."""

    id: str
    name: str
    tenant: str | None
    roles: tuple[str, ...]


def identity(claims: Claims, settings: ConsoleSettings) -> Identity:
    """Who these verified claims are, in which tenant, in which roles. Raises: SignInFault: they may not get in."""
    tenant, roles = _granted(claims, settings)
    email = claims.get("email")
    # An address that nobody checked may be anybody's; so is the id of the local admin no provider's to give.
    known = isinstance(email, str) and "@" in email and _verified(claims, settings)
    id_ = str(email) if known else f"oidc:{claims['sub']}"
    name = next((claims[n] for n in ("name", "preferred_username") if isinstance(claims.get(n), str)), id_)
    return Identity(_line(id_), _line(name) or _line(id_), tenant, roles)


def _verified(claims: Claims, settings: ConsoleSettings) -> bool:
    said = claims.get("email_verified")
    return settings.oidc_email_trusted if said is None else said in (True, "true")


def _granted(claims: Claims, settings: ConsoleSettings) -> tuple[str | None, tuple[str, ...]]:
    claim = settings.oidc_groups_claim
    said = claim_of(claims, claim)
    groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    grants = [settings.oidc_groups[one] for one in groups if isinstance(one, str) and one in settings.oidc_groups]
    if not grants:
        told = (
            f"its claim {claim!r} names none of the groups that give a role here"
            if said is not None
            else f"it sent no claim {claim!r}"
        )
        more = "" if said is not None else ", and check MILLRACE_CONSOLE_OIDC_GROUPS_CLAIM and ..._OIDC_SCOPES"
        raise SignInFault(
            f"The identity provider knows you, but {told}. An admin can put you into a group that does, or name one of "
            f"yours in MILLRACE_CONSOLE_OIDC_GROUPS{more}.",
            reason="no_group",
            status=403,
        )
    everywhere = [one for one in grants if one.tenant == EVERY_TENANT and ADMIN in one.roles]
    if everywhere:
        return None, _roles(everywhere)
    if any(one.tenant == EVERY_TENANT for one in grants):
        raise SignInFault(
            "One of your groups is meant for every tenant without being in the role admin, which alone may see all. An "
            "admin can name its tenant in MILLRACE_CONSOLE_OIDC_GROUPS.",
            reason="no_tenant",
            status=403,
        )
    tenants = {one.tenant or _own_tenant(claims, settings) for one in grants}
    if len(tenants) > 1:
        raise SignInFault(
            f"Your groups are of several tenants ({', '.join(sorted(tenants))}), and one sign-in is in one. An admin "
            "can leave you in the groups of one of them.",
            reason="several_tenants",
            status=403,
        )
    return tenants.pop(), _roles(grants)


def _own_tenant(claims: Claims, settings: ConsoleSettings) -> str:
    claim = settings.oidc_tenant_claim
    if claim is None:
        return settings.oidc_tenant or settings.tenant
    said = claim_of(claims, claim)
    if not isinstance(said, str) or not valid_tenant(said):
        raise SignInFault(
            f"The identity provider knows you, but its claim {claim!r} names no tenant. An admin can check "
            "MILLRACE_CONSOLE_OIDC_TENANT_CLAIM, or name tenants in MILLRACE_CONSOLE_OIDC_GROUPS.",
            reason="no_tenant",
            status=403,
        )
    return said


def _roles(grants: list[GroupGrant]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(role for one in grants for role in one.roles))


def claim_of(claims: Claims, name: str) -> Any:
    """A claim by its name, which may be a path: realm_access.roles."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_TEXT_MAX].strip()
