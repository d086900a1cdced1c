"""Who sends: what each ingest key sent, by signal, as the records say themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from console.ask import moment
from console.filters import DAY
from console.web import Visit
from schemas import keys
from schemas.errors import PermanentError
from schemas.keys import KeyRecord
from service import senders as questions
from service.senders import KNOWN

SIGNALS: Mapping[str, str] = MappingProxyType({"events": "Events", "metrics": "Metrics", "spans": "Spans"})
FRESH = timedelta(minutes=15)
"""Less than this since its last record, and a source counts as sending: clients export metrics once a minute."""

Name = tuple[str, str | None]
"""Tenant and id of a key; without an id, whatever of the tenant names none."""


@dataclass(frozen=True)
class Heard:
    """Records of one signal.  last: receipt of the newest.  hour, day: how many were received in that time."""

    last: datetime
    hour: int = 0
    day: int = 0


@dataclass
class Sender:
    """An ingest key and what it sent; or, without an id, the records of a tenant that name none.

    standing: in force, revoked, or unknown to the control plane.  heard: by signal.  rejected: counts by signal and
    reason, where they were asked for.
    """

    tenant: str
    id: str | None
    standing: str
    note: str = ""
    made: datetime | None = None
    heard: Mapping[str, Heard] = field(default_factory=dict)
    rejected: Sequence[Mapping[str, Any]] = ()

    @property
    def last(self) -> datetime | None:
        """The newest record of any signal within 30 days."""
        return max((one.last for one in self.heard.values()), default=None)

    def state(self, now: datetime) -> str:
        """revoked or unknown; else sending, quiet (within a day), silent, never used, or not in 30 days."""
        if self.standing != "in force":
            return self.standing
        if self.id is None or self.last is not None:
            return activity(self.last, now)
        return "never used" if self.made is None or now - self.made < KNOWN else "not in 30 days"


def activity(last: datetime | None, now: datetime) -> str:
    """sending, quiet (within a day) or silent."""
    if last is None or now - last > DAY:
        return "silent"
    return "sending" if now - last <= FRESH else "quiet"


def minute(at: datetime) -> datetime:
    """Questions that are the same for a minute have the same answer for everybody who asks within it."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


async def heard(visit: Visit, expected: Iterable[KeyRecord]) -> dict[Name, dict[str, Heard]]:
    """What every key sent within a day; of the keys expected also when they last did so before, within 30 days.

    Raises: AskFault.
    """
    now, visible = visit.console.now(), await visit.visible()
    tables = [name for name in SIGNALS if visible.has(name, "tenant", "received_time", "ingest_key_id")]
    if not tables:
        return {}
    rows = (await visit.ask(questions.of_day(tables, minute(now)))).objects()
    before = questions.before_day(tables, [key.id for key in expected], rows, minute(now))
    found: dict[Name, dict[str, Heard]] = {}
    for row in [*((await visit.ask(before)).objects() if before else []), *rows]:
        if (last := moment(row["last"])) is not None:
            by_signal = found.setdefault((row["tenant"], row["ingest_key_id"]), {})
            by_signal[row["signal"]] = Heard(last, row["hour"], row["day"])
    return found


def ingest_keys(visit: Visit) -> list[KeyRecord]:
    """The ingest keys in force that are this person's to know."""
    return [key for key in visit.keys_in_force() if key.kind == "ingest"]


def _revoked(record: Mapping[str, Any] | None) -> KeyRecord | None:
    """The key of a control record that ended it."""
    try:
        return keys.from_control(dict(record)) if record is not None and record["deleted"] else None
    except PermanentError:
        return None


def senders(
    visit: Visit, sent: Mapping[Name, Mapping[str, Heard]], rejected: Iterable[Mapping[str, Any]]
) -> list[Sender]:
    """The keys in force, and who else sent something; the one heard last first.

    Args:    sent: as of `heard`.  rejected: counts by tenant, ingest_key_id, signal and reason.
    """
    control = visit.console.control
    in_force: dict[Name, KeyRecord] = {(key.tenant or "", key.id): key for key in ingest_keys(visit)}
    made = control.records(keys.CONTROL_KIND)
    refused: dict[Name, list[Mapping[str, Any]]] = {}
    for row in rejected:
        refused.setdefault((row["tenant"], row["ingest_key_id"]), []).append(row)
    found = []
    for name in dict.fromkeys((*in_force, *sent, *refused)):
        tenant, id_ = name
        key = in_force.get(name)
        if key is None and id_ is not None:
            key = _revoked(control.record(keys.CONTROL_KIND, id_))
        found.append(
            Sender(
                tenant,
                id_,
                "in force" if name in in_force or id_ is None else "revoked" if key else "unknown",
                key.name if key else "",
                datetime.fromtimestamp(made[id_]["updated_at"] / 1e6, UTC) if id_ in made else None,
                sent.get(name, {}),
                refused.get(name, ()),
            )
        )
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda one: one.last or oldest, reverse=True)
