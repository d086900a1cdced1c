"""Roles on the control plane: which there are, and how a person changes one."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from schemas import roles
from schemas.errors import RoleError
from schemas.roles import CONTROL_KIND, DEFAULTS, Grant, Role
from service.changes import Who, audited, check_unchanged
from service.control import ControlView, viewing


def all_of(view: ControlView) -> dict[str, Role | None]:
    """Every role by its name: those of the control plane, and those that Millrace comes with. None: unreadable."""
    find = roles.finder(lambda name: view.record(CONTROL_KIND, name))
    return {name: find(name) for name in (*DEFAULTS, *sorted(view.records(CONTROL_KIND).keys() - DEFAULTS.keys()))}


async def known(kafka: Mapping[str, Any], prefix: str) -> dict[str, Role | None]:
    """The same, as the control topic has it now. Raises: as ControlView.start."""
    async with viewing(kafka, prefix) as view:
        return all_of(view)


async def create(kafka: Mapping[str, Any], prefix: str, who: Who, name: str) -> Role:
    """Make an empty role, which gives nothing until it is granted something. Raises: RoleError; as `change`."""
    if not roles.valid_name(name):
        raise RoleError("a role's name: a small letter, then small letters, digits, dashes and underscores")

    def make(found: Role | None) -> Role:
        if found is not None:
            raise RoleError(f"there is a role {name} already")
        return Role(name, (), 1)

    return await change(kafka, prefix, who, name, "role.grant", make)


async def grant(
    kafka: Mapping[str, Any], prefix: str, who: Who, name: str, given: Grant, *, seen: int | None = None
) -> Role:
    """Give a role one grant more. Raises: RoleError; as `change`."""
    make = _of_existing(name, roles.granted, given)
    return await change(kafka, prefix, who, name, "role.grant", make, grant=given, seen=seen)


async def revoke(
    kafka: Mapping[str, Any], prefix: str, who: Who, name: str, taken: Grant, *, seen: int | None = None
) -> Role:
    """Take a grant back from a role. Raises: RoleError; as `change`."""
    make = _of_existing(name, roles.revoked, taken)
    return await change(kafka, prefix, who, name, "role.revoke", make, grant=taken, seen=seen)


async def delete(kafka: Mapping[str, Any], prefix: str, who: Who, name: str, *, seen: int | None = None) -> None:
    """End a role: keys that name it read nothing by it. A default role is again as Millrace comes with it.

    Raises: RoleError: there is none to delete; as `change`.
    """
    found = await known(kafka, prefix)
    if name not in found or found[name] == DEFAULTS.get(name, ()):
        raise RoleError(f"there is no role {name} to delete; see: millrace role list")
    await change(kafka, prefix, who, name, "role.revoke", lambda role: role or Role(name, ()), deleted=True, seen=seen)


async def change(
    kafka: Mapping[str, Any],
    prefix: str,
    who: Who,
    name: str,
    action: str,
    make: Callable[[Role | None], Role],
    *,
    grant: Grant | None = None,
    deleted: bool = False,
    seen: int | None = None,
) -> Role:
    """Publish what `make` makes of a role (None: there is none yet).

    Args:   seen: as of check_unchanged.
    Raises: RoleError; ChangeRefused: it has changed since it was seen; as `audited`.
    """
    async with viewing(kafka, prefix) as view:
        check_unchanged(view, CONTROL_KIND, name, seen)
        found = all_of(view)
    old = found.get(name)
    if name in found and old is None and not deleted:
        raise RoleError(f"role {name} cannot be read; delete it first: millrace role delete {name}")
    role = make(old)
    record = roles.control_value(role, updated_at=time.time_ns() // 1000, updated_by=who.id, deleted=deleted)
    detail = {
        "grant": None if grant is None else str(grant),
        "default": name in DEFAULTS,
        "deleted": deleted,
        "version": role.version,
    }
    await audited(kafka, prefix, record, action, name, detail, who)
    return role


def _of_existing(name: str, make: Callable[[Role, Grant], Role], grant: Grant) -> Callable[[Role | None], Role]:
    def made(found: Role | None) -> Role:
        if found is None:
            raise RoleError(f"there is no role {name}; make it: millrace role create {name}")
        return make(found, grant)

    return made
