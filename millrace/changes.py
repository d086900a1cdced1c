"""A change of the control plane by a person: first the audit's entry, then the record."""

import getpass
from collections.abc import Mapping
from typing import Any

from schemas.errors import MillraceError
from service import audit
from service.control import publish


def who() -> str:
    """The person at the command line, as the audit names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "unknown"


async def audited(
    kafka: Mapping[str, Any],
    prefix: str,
    record: Mapping[str, Any],
    action: str,
    target: str,
    detail: Mapping[str, Any],
) -> None:
    """Publish a control record, and before it the audit's entry, without which nothing changes.

    Raises: ClusterUnavailable; TopicMissing.
    """

    def entry(outcome: str, reason: str | None = None) -> dict[str, Any]:
        return audit.entry(
            action,
            actor=who(),
            actor_kind="person",
            tenant=record["tenant"],
            target=target,
            outcome=outcome,
            reason=reason,
            detail=detail,
        )

    await audit.publish(kafka, prefix, [entry("done")])
    try:
        await publish(kafka, prefix, [record])
    except MillraceError:
        await audit.publish(kafka, prefix, [entry("failed", "unavailable")])
        raise
