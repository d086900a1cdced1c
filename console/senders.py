"""Who sends: what each ingest key sent, by signal, as the records say themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from console.ask import moment
from console.filters import DAY, HOUR, literal, timestamp
from console.web import Visit
from schemas import keys
from schemas.errors import PermanentError
from schemas.keys import KeyRecord

SIGNALS: Mapping[str, str] = MappingProxyType({"events": "Events", "metrics": "Metrics", "spans": "Spans"})
KNOWN = timedelta(days=30)
"""Whoever sent nothing for so long is not looked for."""
FRESH = timedelta(minutes=15)
"""Less than this since its last record, and a source counts as sending: clients export metrics once a minute."""
_ROWS_MAX = 9_000
_NAMED_MAX = 1_000

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

    A day is cheap to read, 30 days of a busy fleet are not: those are asked only for keys and signals without a day's.
    Raises: AskFault.
    """
    now, visible = visit.console.now(), await visit.visible()
    tables = [name for name in SIGNALS if visible.has(name, "tenant", "received_time", "ingest_key_id")]
    if not tables:
        return {}
    hour, day = timestamp(minute(now) - HOUR), timestamp(minute(now) - DAY)
    parts = [
        f"SELECT '{table}' AS signal, tenant, ingest_key_id, max(received_time) AS last, count(*) AS day, "
        f"count(*) FILTER (received_time >= {hour}) AS hour FROM {table} WHERE received_time >= {day} GROUP BY ALL"
        for table in tables
    ]
    rows = await _rows(visit, parts)
    of_day = {(row["signal"], row["ingest_key_id"]) for row in rows}
    known = timestamp(minute(now).replace(minute=0) - KNOWN)
    ids = [key.id for key in expected]
    parts = [
        f"SELECT '{table}' AS signal, tenant, ingest_key_id, max(received_time) AS last, 0 AS day, 0 AS hour "
        f"FROM {table} WHERE received_time >= {known} AND {_one_of(missing)} GROUP BY ALL"
        for table in tables
        if (missing := [id_ for id_ in ids if (table, id_) not in of_day])
    ]
    found: dict[Name, dict[str, Heard]] = {}
    for row in [*(await _rows(visit, parts) if parts else []), *rows]:
        if (last := moment(row["last"])) is not None:
            by_signal = found.setdefault((row["tenant"], row["ingest_key_id"]), {})
            by_signal[row["signal"]] = Heard(last, row["hour"], row["day"])
    return found


def _one_of(ids: Sequence[str]) -> str:
    """A condition; of very many keys it is the cheaper question which any key is."""
    if len(ids) > _NAMED_MAX:
        return "ingest_key_id IS NOT NULL"
    return f"ingest_key_id IN ({', '.join(map(literal, ids))})"


async def _rows(visit: Visit, parts: Sequence[str]) -> list[dict[str, Any]]:
    sql = f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY last DESC LIMIT {_ROWS_MAX}"
    return (await visit.ask(sql)).objects()


def ingest_keys(visit: Visit) -> list[KeyRecord]:
    """The ingest keys in force that this person's tenant has; all tenants' for who sees all of them."""
    own = visit.person.tenant
    return [key for key in visit.console.control.keys() if key.kind == "ingest" and own in (None, key.tenant)]  # noqa: SIM118


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
