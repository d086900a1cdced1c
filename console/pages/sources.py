"""Source health: who sends what, how much, since when not, and what of it was not taken."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from console.ask import Visible, moment
from console.charts import Chart, over_time
from console.errors import AskFault
from console.filters import DAY, HOUR, FilterFault
from console.pages import start
from console.senders import SIGNALS, activity, heard, ingest_keys, minute, senders
from console.web import Page, Visit
from schemas import routing
from schemas.errors import PermanentError
from service import client
from service import senders as questions
from service.senders import KNOWN
from service.sql import literal, timestamp

PATH = "/sources"
# When a record happened: a point's end, a span's end.
_HAPPENED = {"events": "event_time", "metrics": "event_time", "spans": "coalesce(end_time, start_time)"}
LATE_S = 600
"""An event this much older than its receipt is called late, as streams do by default."""
SILENT_DAYS = (1, 3, 7, 14)
_SOURCES_MAX = 200
_ROWS_MAX = 100
_REASONS_MAX = 2000
_NOTHING = Visible({}, {}, [])


@dataclass(frozen=True)
class Flow:
    """One signal of one source.  last: its newest record's receipt.  hour, day: records received in that time."""

    last: datetime | None = None
    hour: int = 0
    day: int = 0
    late: int = 0
    suspect: int = 0
    broken: int = 0


@dataclass
class Source:
    """Whoever shares tenant, service and kind of client, whatever key they send with."""

    tenant: str
    service: str | None
    client: str | None
    flows: dict[str, Flow] = field(default_factory=dict)
    last_session: datetime | None = None

    @property
    def last(self) -> datetime | None:
        """The newest record of any signal."""
        return max((flow.last for flow in self.flows.values() if flow.last), default=self.last_session)

    def state(self, now: datetime) -> str:
        """sending, quiet (within a day) or silent."""
        return activity(self.last, now)


async def sources(visit: Visit) -> Response:
    """All of it; a part that keeps itself up to date asks only for what it shows."""
    now = visit.console.now()
    days = _silent_days(visit.request.query_params.get("silent"))
    part = visit.request.headers.get("hx-target")
    shown: dict[str, Any] = dict.fromkeys(("flow", "hours", "silent_sources", "keys", "versions", "silent", "rejected"))
    try:
        if part is None and visit.person.admin and not (await visit.ask(start.ANYTHING)).one()["any"]:
            return visit.go(start.PATH)
        visible = await visit.visible()
    except AskFault as fault:
        visible = _NOTHING
        shown = dict.fromkeys(shown, fault)
    else:
        shown |= await visit.panels(**_asked(visit, visible, now, days, part))
    found = _listed(shown["flow"], shown["silent_sources"])
    listed = found[:_SOURCES_MAX] if isinstance(found, list) else found
    refused = shown["rejected"]
    if isinstance(shown["keys"], dict):
        shown["keys"] = senders(visit, shown["keys"], refused if isinstance(refused, list) else ())
    return visit.render(
        "sources.html",
        **shown,
        listed=listed,
        cut=isinstance(found, list) and len(found) > _SOURCES_MAX,
        totals=None if isinstance(listed, AskFault) else _totals(listed, now),
        dropping=_dropping(visit) if visit.person.admin else None,
        visible=visible,
        now=now,
        signals=SIGNALS,
        rows_max=_ROWS_MAX,
        sources_max=_SOURCES_MAX,
        reasons_max=_REASONS_MAX,
        days=days,
        silent_days=SILENT_DAYS,
        advice=lambda reason: client.REJECTED.get(reason, client.REJECTED_ELSE),
        ago=lambda at: ago(at, now),
        late_minutes=LATE_S // 60,
    )


def _asked(
    visit: Visit, visible: Visible, now: datetime, days: int, part: str | None
) -> dict[str, Coroutine[Any, Any, Any]]:
    """The questions behind a part of the page; None: behind all of it."""
    asked: dict[str, Coroutine[Any, Any, Any]] = {}
    if part in (None, "flow"):
        asked["flow"] = _flow(visit, visible, now)
        asked["hours"] = _hours(visit, visible, now)
        asked["silent_sources"] = _sessions_of(visit, visible, now)
    if part in (None, "keys") and visit.person.admin:
        asked["keys"] = heard(visit, ingest_keys(visit))
    if part in (None, "fleet"):
        asked["versions"] = _versions(visit, visible, now)
        asked["silent"] = _silent(visit, visible, now, days)
    # Every read of it is told to the audit: only for who asks by a click, never by itself or by a link.
    if visit.request.method == "POST" and visible.has("rejected", "reason", "ingest_key_id"):
        asked["rejected"] = _rejected(visit, visible, now)
    return asked


def ago(at: datetime | str | None, now: datetime) -> str:
    """How long ago, in words: 12 s ago, 3 min ago, 5 h ago, 2 d ago."""
    found = moment(at) if isinstance(at, str) else at
    if found is None:
        return "never"
    seconds = max(0, int((now - found).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _shown_signals(visible: Visible) -> list[str]:
    return [name for name in SIGNALS if visible.has(name, "tenant", "received_time", "service_name", "client")]


async def _flow(visit: Visit, visible: Visible, now: datetime) -> list[dict[str, Any]]:
    """What each source sent within a day, by signal; of those that sent last, one more than is listed."""
    hour, day = timestamp(minute(now) - HOUR), timestamp(minute(now) - DAY)
    parts = [
        f"SELECT '{name}' AS signal, tenant, service_name, client, max(received_time) AS last, count(*) AS day, "
        f"count(*) FILTER (received_time >= {hour}) AS hour, count(*) FILTER (clock_suspect) AS suspect, "
        f"count(*) FILTER (received_time - {_HAPPENED[name]} > INTERVAL {LATE_S} SECOND) AS late, "
        f"count(*) FILTER (pipeline_error IS NOT NULL) AS broken "
        f"FROM {name} WHERE received_time >= {day} GROUP BY ALL"
        for name in _shown_signals(visible)
    ]
    if not parts:
        return []
    # One source more than is listed, each with all of its signals.
    of_source = "tenant, service_name, client"
    sql = (
        f"WITH each AS (SELECT *, max(last) OVER (PARTITION BY {of_source}) AS newest "
        f"FROM ({' UNION ALL '.join(parts)})) SELECT * EXCLUDE newest FROM each "
        f"QUALIFY dense_rank() OVER (ORDER BY newest DESC, {of_source}) <= {_SOURCES_MAX + 1}"
    )
    return (await visit.ask(sql)).objects()


async def _hours(visit: Visit, visible: Visible, now: datetime) -> Chart | None:
    """Records received, by signal and hour."""
    first = minute(now).replace(minute=0) - 23 * HOUR
    parts = [
        f"SELECT '{name}' AS signal, date_trunc('hour', received_time) AS at, count(*) AS records "
        f"FROM {name} WHERE received_time >= {timestamp(first)} GROUP BY ALL"
        for name in _shown_signals(visible)
    ]
    if not parts:
        return None
    rows = (await visit.ask(" UNION ALL ".join(parts))).objects()
    return over_time(
        "Records received an hour",
        "count",
        [first + n * HOUR for n in range(24)],
        rows,
        name="signal",
        value="records",
        names=SIGNALS,
    )


async def _sessions_of(visit: Visit, visible: Visible, now: datetime) -> list[dict[str, Any]]:
    """Which services had sessions within 30 days, for those that sent nothing since."""
    if not visible.has("sessions", "tenant", "service_name", "last_time"):
        return []
    known = timestamp(minute(now) - KNOWN)
    sql = (
        "SELECT tenant, service_name, max(last_time) AS last FROM sessions "
        f"WHERE last_time >= {known} GROUP BY ALL ORDER BY last DESC LIMIT {_SOURCES_MAX + 1}"
    )
    return (await visit.ask(sql)).objects()


async def _versions(visit: Visit, visible: Visible, now: datetime) -> list[dict[str, Any]]:
    """Clients by version, those most used first, one more than is listed."""
    columns = ("tenant", "user_key", "app_version", "service_name", "app_entrypoint", "last_time", "ghost")
    if not visible.has("sessions", *columns):
        return []
    return (await visit.ask(questions.versions(minute(now), _ROWS_MAX + 1))).objects()


@dataclass(frozen=True)
class Silent:
    """Users who had sessions and have none any more.  total: how many; users: the latest of them."""

    total: int
    users: Sequence[Mapping[str, Any]]


async def _silent(visit: Visit, visible: Visible, now: datetime, days: int) -> Silent | None:
    """None: this person sees no users."""
    if not visible.has("sessions", "tenant", "user_key", "team", "last_time", "ghost"):
        return None
    users = (await visit.ask(questions.silent_users(minute(now), days, _ROWS_MAX))).objects()
    emails: dict[tuple[str, str], str | None] = {}
    if users and visible.has("people", "tenant", "user_key", "user_email"):
        pairs = ", ".join(f"({literal(one['tenant'])}, {literal(one['user_key'])})" for one in users)
        found = await visit.ask(
            f"SELECT tenant, user_key, user_email FROM people WHERE (tenant, user_key) IN ({pairs}) LIMIT {_ROWS_MAX}"
        )
        emails = {(row["tenant"], row["user_key"]): row["user_email"] for row in found.objects()}
    users = [{**one, "user_email": emails.get((one["tenant"], one["user_key"]))} for one in users]
    return Silent(users[0]["total"] if users else 0, users)


async def _rejected(visit: Visit, visible: Visible, now: datetime) -> list[dict[str, Any]]:
    """What was not taken, by key and reason. The audit is told of every look."""
    sql = questions.rejections(minute(now), _REASONS_MAX + 1, error=visible.has("rejected", "error"))
    return (await visit.ask_now(sql)).objects()


def _listed(flow: Any, sessions: Any) -> list[Source] | AskFault | None:
    """Every source, the one heard last first."""
    if flow is None or isinstance(flow, AskFault):
        return flow
    found: dict[tuple[str, str | None, str | None], Source] = {}
    for row in flow:
        key = (row["tenant"], row["service_name"], row["client"])
        source = found.setdefault(key, Source(*key))
        source.flows[row["signal"]] = Flow(
            moment(row["last"]), row["hour"], row["day"], row["late"], row["suspect"], row["broken"]
        )
    sending = {(one.tenant, one.service) for one in found.values()}
    # Who sent nothing for a day comes after all who did.
    silent = [] if isinstance(sessions, AskFault) or len(found) > _SOURCES_MAX else sessions or []
    for row in silent:
        if (row["tenant"], row["service_name"]) not in sending:
            found[row["tenant"], row["service_name"], None] = Source(
                row["tenant"], row["service_name"], None, last_session=moment(row["last"])
            )
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda one: one.last or oldest, reverse=True)


def _totals(listed: Iterable[Source] | None, now: datetime) -> dict[str, Any]:
    flows = [flow for source in listed or () for flow in source.flows.values()]
    states = [source.state(now) for source in listed or ()]
    day = sum(flow.day for flow in flows)
    return {
        "sending": states.count("sending"),
        "silent": states.count("silent"),
        "last": max((flow.last for flow in flows if flow.last), default=None),
        "hour": sum(flow.hour for flow in flows),
        "day": day,
        "late": sum(flow.late for flow in flows),
        "suspect": sum(flow.suspect for flow in flows),
        "broken": sum(flow.broken for flow in flows),
    }


def _dropping(visit: Visit) -> list[str]:
    """The routing rules in force that store nothing of what they take."""
    record = visit.console.control.records(routing.CONTROL_KIND).get(routing.CONTROL_ID)
    if record is None:
        return []
    try:
        rules = routing.from_control(record).rules
        # Which tenants a rule is about is for admins of all.
        own = visit.person.tenant
        return [r.name for r in rules if r.route == routing.DROP and (own is None or "tenant" not in r.when)]
    except PermanentError:
        return []


def _silent_days(text: str | None) -> int:
    if not text:
        return questions.SILENT_DAYS
    if text not in {str(days) for days in SILENT_DAYS}:
        raise FilterFault(f"silent is one of {', '.join(map(str, SILENT_DAYS))} days, not {text[:20]!r}")
    return int(text)


PAGES = (
    Page(PATH, sources),
    Page(f"{PATH}/rejected", sources, changes=True),
)
