"""Privacy policies on the control plane: which is in force for whom, and how a person changes one."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from schemas import policy
from schemas.policy import CONTROL_KIND, EVERY_TENANT, NONE, Policy, PolicyError
from service.changes import Who, audited, check_unchanged
from service.control import ControlView, viewing
from service.errors import ChangeRefused


@dataclass(frozen=True)
class PolicyChange:
    """What becomes different; what is not named stays.  fields: the action `none` ends an override.

    hash_key: None: as it is.  body: the whole policy as JSON instead, None: what the others say.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    mask: Mapping[str, bool] = field(default_factory=dict)
    hash_key: str | None = None
    body: str | None = None


def in_force(view: ControlView, tenant: str) -> tuple[Policy, str]:
    """The policy of a tenant, and whose it is: the tenant's, that of `*`, or none was set. Raises: PolicyError."""
    for id_ in (tenant, EVERY_TENANT):
        record = view.record(CONTROL_KIND, id_)
        if record is not None and not record["deleted"]:
            return policy.parse(record["body"], policy=id_), id_
    return NONE, EVERY_TENANT


async def change(
    kafka: Mapping[str, Any],
    prefix: str,
    who: Who,
    tenant: str,
    wanted: PolicyChange,
    *,
    delete: bool = False,
    seen: int | None = None,
) -> Policy:
    """Publish the changed policy of a tenant or `*`, and who changed it when and from what, in the audit topic.

    Args:    delete: end it, and what `*` says holds again.  seen: as of check_unchanged.
    Returns: the policy that the tenant has of its own now; NONE after it was deleted.
    Raises:  PolicyError: it makes no sense; ChangeRefused: the one in force cannot be read and is not replaced as a
             whole, or has changed since it was seen; as `audited`.
    """
    async with viewing(kafka, prefix) as view:
        check_unchanged(view, CONTROL_KIND, tenant, seen)
        record = view.record(CONTROL_KIND, tenant)
    old, broken = NONE, None
    try:
        if record is not None:
            old = policy.parse(record["body"], policy=tenant)
    except PolicyError as error:
        if wanted.body is None and not delete:
            raise ChangeRefused(str(error), "replace it with --file") from None
        broken = record["body"] if record else None
    before = None if record is None or record["deleted"] else broken or old.as_body()
    if wanted.body is not None:
        new = replace(policy.parse(wanted.body, policy=tenant), version=old.version + 1)
    else:
        new = _merged(NONE if before is None else old, wanted, old.version + 1)
    value = policy.control_value(new, tenant, updated_at=time.time_ns() // 1000, updated_by=who.id, deleted=delete)
    told = {"old": before, "new": None if delete else new.as_body()}
    await audited(kafka, prefix, value, "policy.change", f"policy {tenant}", told, who)
    return NONE if delete else new


def _merged(base: Policy, wanted: PolicyChange, version: int) -> Policy:
    # Policy checks every word itself; until then they are a person's.
    made: dict[str, Any] = {
        "version": version,
        "classes": {**base.classes, **wanted.classes},
        "fields": {n: action for n, action in {**base.fields, **wanted.fields}.items() if action != "none"},
        "mask": {**base.mask, **wanted.mask},
        "hash_key": base.hash_key if wanted.hash_key is None else wanted.hash_key,
    }
    return Policy(**made)
