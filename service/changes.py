"""A change of the control plane by a person: first the audit's entry, then the record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.errors import MillraceError
from service import audit
from service.control import ControlView, publish
from service.errors import ChangeRefused


@dataclass(frozen=True)
class Who:
    """The person who makes a change, as the audit names them.  client_address: where their request comes from."""

    id: str
    client_address: str | None = None


async def audited(
    kafka: Mapping[str, Any],
    prefix: str,
    record: Mapping[str, Any],
    action: str,
    target: str,
    detail: Mapping[str, Any],
    who: Who,
) -> None:
    """Publish a control record, and before it the audit's entry, without which nothing changes.

    Raises: ClusterUnavailable; TopicMissing.
    """

    def entry(outcome: str, reason: str | None = None) -> dict[str, Any]:
        return audit.entry(
            action,
            actor=who.id,
            actor_kind="person",
            tenant=record["tenant"],
            target=target,
            outcome=outcome,
            reason=reason,
            detail=detail,
            client_address=who.client_address,
        )

    await audit.publish(kafka, prefix, [entry("done")])
    try:
        await publish(kafka, prefix, [record])
    except MillraceError:
        await audit.publish(kafka, prefix, [entry("failed", "unavailable")])
        raise


def last_change(view: ControlView, kind: str, id_: str) -> int:
    """When (kind, id) was changed or deleted last, microseconds since the epoch; 0: it never was there."""
    record = view.record(kind, id_)
    return 0 if record is None else int(record["updated_at"])


def check_unchanged(view: ControlView, kind: str, id_: str, seen: int | None) -> None:
    """Two people who look at the same thing must not undo each other's change without a word.

    Args:   seen: `last_change` when it was looked at; None: whatever it is now is meant.
    Raises: ChangeRefused: it has changed since.
    """
    if seen is None or seen == last_change(view, kind, id_):
        return
    record = view.record(kind, id_) or {"updated_at": 0, "updated_by": ""}
    at = datetime.fromtimestamp(record["updated_at"] / 1e6, UTC).strftime("%H:%M:%S UTC")
    raise ChangeRefused(f"{kind} {id_} was changed meanwhile, at {at} by {record['updated_by']}", "look at it again")
