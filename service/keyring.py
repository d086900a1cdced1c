"""API keys on the control plane: made, rotated and revoked by a person, each told to the audit."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from schemas import keys
from schemas.keys import KeyRecord, Kind
from service import roles
from service.changes import Who, audited
from service.control import ControlView, viewing
from service.errors import ChangeRefused

NAME_MAX = 200


async def create(
    kafka: Mapping[str, Any],
    prefix: str,
    who: Who,
    *,
    tenant: str | None,
    kind: Kind,
    name: str,
    roles_: Sequence[str] = (),
) -> str:
    """A new key of a tenant, in force when this returns; its text, which is stored nowhere.

    Args:   tenant: None only for an admin key: every tenant.  roles_: that a query key acts in; none: analyst.
    Raises: ChangeRefused: there is no such role, or no such key can be; as `audited`.
    """
    if kind != "admin" and tenant is None:
        raise ChangeRefused("an ingest or query key is of one tenant", "name it")
    if tenant is not None and not keys.valid_tenant(tenant):
        raise ChangeRefused("a tenant is 1 to 64 letters, digits, dots, dashes and underscores", "spell it so")
    if roles_ and kind != "query":
        raise ChangeRefused("only a query key has roles", "an ingest key reads nothing, an admin key everything")
    if len(name) > NAME_MAX or not name.isprintable():
        raise ChangeRefused(f"a key's name is one line of at most {NAME_MAX} characters", "shorten it")
    if roles_:
        found = await roles.known(kafka, prefix)
        for role in roles_:
            if found.get(role) is None:
                raise ChangeRefused(f"there is no role {role}", "see: millrace role list")
    text, _ = keys.new_key(kind)
    await put(kafka, prefix, who, key_of(text, tenant=tenant, name=name, roles_=roles_))
    return text


async def rotate(kafka: Mapping[str, Any], prefix: str, who: Who, key_id: str) -> str:
    """A new key that may what this one may, of the same name; this one stays until it is revoked.

    Returns: the text of the new key.  Raises: ChangeRefused: there is no such key in force; as `audited`.
    """
    async with viewing(kafka, prefix) as view:
        old = found(view, key_id)
    text, _ = keys.new_key(old.kind)
    await put(kafka, prefix, who, key_of(text, tenant=old.tenant, name=old.name, roles_=old.roles))
    return text


async def revoke(kafka: Mapping[str, Any], prefix: str, who: Who, key_id: str) -> KeyRecord:
    """End a key. Returns what it was. Raises: ChangeRefused: there is none in force with this id; as `audited`."""
    async with viewing(kafka, prefix) as view:
        key = found(view, key_id)
    await put(kafka, prefix, who, replace(key, deleted=True))
    return key


def found(view: ControlView, key_id: str) -> KeyRecord:
    """The key in force with this id. Raises: ChangeRefused."""
    one = next((key for key in view.keys() if key.id == key_id), None)  # noqa: SIM118 - no dictionary
    if one is not None:
        return one
    raise ChangeRefused(f"there is no key in force with id {key_id}", "see: millrace key list")


def key_of(text: str, *, tenant: str | None, name: str, roles_: Sequence[str] = ()) -> KeyRecord:
    """What is kept of a key: its hash, never its text."""
    parsed = keys.parse_key(text)
    return KeyRecord(parsed.id, parsed.kind, tenant, keys.key_hash(text), name, roles=tuple(roles_))


async def put(kafka: Mapping[str, Any], prefix: str, who: Who, key: KeyRecord) -> None:
    """Publish a key, or its end, with its entry in the audit. Raises: as `audited`."""
    action = "key.revoke" if key.deleted else "key.create"
    detail = {"key_kind": key.kind, "name": key.name, "roles": key.roles}
    record = keys.control_value(key, updated_at=time.time_ns() // 1000, updated_by=who.id)
    await audited(kafka, prefix, record, action, key.id, detail, who)
