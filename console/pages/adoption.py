"""Who uses it, how often, and what of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from console import clock, usage
from console.ask import Answer, Visible, moment
from console.charts import Chart, Series, over_time
from console.download import csv_file, cut_after, lines
from console.errors import AskFault
from console.figures import there_are
from console.filters import DAY, DIMENSIONS, NONE, FilterFault, Filters, exactly, joined
from console.shown import count
from console.web import Page, Visit
from service.sql import literal, spelled, timestamp

# Active on a day: the one definition that every number here goes by, in words and in SQL.
ACTIVE_WORDS = (
    "A user is active on a day (UTC) on which they sent a prompt or had a session, "
    "which is one with a prompt, a request, an error or a tool call"
)
_ACTIVE = "(d.prompts > 0 OR d.sessions > 0)"
WINDOWS = {"dau": 1, "wau": 7, "mau": 30}
_WEEKS_FROM = timedelta(days=62)
_ROWS_MAX = 200
_FILE_ROWS_MAX = 10_000
_GROUPS = ("team", "department", "cost_center")
_NAMED_MAX = 100
_BARS_MAX = 12
# Active days of a user in the range, as bars: (from, to).
_BINS = ((1, 1), (2, 3), (4, 7), (8, 14), (15, 21), (22, 30), (31, 60), (61, 400))


@dataclass(frozen=True)
class Span:
    """The days of a range: start and end are midnights, half open.  over: up to where they are over, today is not."""

    start: datetime
    end: datetime
    over: datetime

    @property
    def before(self) -> datetime:
        """The start of as many days before as of these are over."""
        return self.start - (self.over - self.start)

    @property
    def last(self) -> int:
        """The place of the last day that is over; without one that of the last."""
        return max((self.over - self.start) // DAY, 1) - 1

    @property
    def days(self) -> list[datetime]:
        """Each day's start."""
        return [self.start + number * DAY for number in range((self.end - self.start) // DAY)]


@dataclass(frozen=True)
class Group:
    """A team or department.  value: as the store has it; None: those who have none.

    known: users who were ever active in it, as far as the store goes back.  url, only: None: no address can say it.
    """

    value: str | None
    active: int
    known: int
    new: int
    prompts: int
    active_user_s: float
    url: str | None
    only: str | None

    @property
    def name(self) -> str:
        """Of it in the page."""
        return NONE if self.value is None else self.value

    @property
    def share(self) -> float | None:
        """Of the known users who were active."""
        return self.active / self.known if self.known else None


@dataclass(frozen=True)
class Feature:
    """Something that users use.  detail: what it means, or of which tool."""

    kind: str
    name: str
    users: int
    uses: int | None
    share: float | None


async def adoption(visit: Visit) -> Response:
    """All of it, of whole days."""
    query = visit.request.query_params
    if not query.keys() & {"range", "from", "to"}:
        return visit.go(visit.filters.url("/adoption", range="30d", by=query.get("by")))
    filters, visible = visit.filters, await visit.visible()
    now = visit.console.now()
    span, by = whole_days(filters, now), _group(visit, visible)
    found = await visit.panels(
        active=visit.ask(_active_changes(filters, span)),
        newcomers=visit.ask(_newcomers(filters, span)),
        sums=visit.ask(_sums(filters, span)),
        totals=visit.ask(_totals(filters, span)),
        spread=visit.ask(_spread(filters, span)),
        groups=visit.ask(_groups(filters, span, by, _ROWS_MAX)),
        clients=visit.ask(_clients(filters, span, now, _BARS_MAX)),
        features=visit.ask(_features(filters, span, now)),
        named=visit.ask(_named(filters, span, now, _NAMED_MAX)),
    )
    curves = _or_fault(found, "active", lambda: rolling(found["active"].objects(), span))
    return visit.render(
        "adoption.html",
        keep={"by": by},
        by=by,
        groupings=[DIMENSIONS[name] for name in _GROUPS if visible.has("user_days", name)],
        words=ACTIVE_WORDS,
        totals=_or_fault(found, "totals", lambda: found["totals"].one()),
        last=curves if isinstance(curves, AskFault) else {name: v[span.last] for name, v in curves.items()},
        so_far=None if isinstance(curves, AskFault) or span.over == span.end else curves["dau"][-1],
        users=curves if isinstance(curves, AskFault) else _users_chart(curves, span),
        stickiness=curves if isinstance(curves, AskFault) else _stickiness_chart(curves, span),
        newcomers=_or_fault(found, "newcomers", lambda: _newcomers_chart(found["newcomers"], span)),
        activity=_or_fault(found, "sums", lambda: _activity_charts(found["sums"], span)),
        spread=_or_fault(found, "spread", lambda: _spread_chart(found["spread"])),
        groups=_or_fault(found, "groups", lambda: _grouped(found["groups"], by, filters)),
        clients=_or_fault(found, "clients", lambda: _clients_charts(found["clients"], filters)),
        features=_or_fault(found, "features", lambda: _used(found)),
        span=span,
        session_filters=any(not DIMENSIONS[name].hours for name in filters.values),
        groups_of=0 if isinstance(found["groups"], AskFault) else there_are(found["groups"].objects()),
        named_of=0 if isinstance(found["named"], AskFault) else there_are(found["named"].objects()),
        named_max=_NAMED_MAX,
    )


async def adoption_file(visit: Visit) -> Response:
    """GET /adoption.csv?table=…: one of the page's tables."""
    filters, visible = visit.filters, await visit.visible()
    now = visit.console.now()
    span, by = whole_days(filters, now), _group(visit, visible)
    table = visit.request.query_params.get("table", "users")
    name = f"adoption-{span.start:%Y%m%d}-{span.end:%Y%m%d}-{table}"
    if table == "users":
        curves = rolling((await visit.ask(_active_changes(filters, span))).objects(), span)
        days = zip((f"{day:%Y-%m-%d}" for day in span.days), *curves.values(), strict=True)
        return csv_file(name, ("day_utc", *curves), list(days))
    if table == "features":
        found = {
            "features": await visit.ask(_features(filters, span, now)),
            "named": await visit.ask(_named(filters, span, now, _FILE_ROWS_MAX + 1), limit=_FILE_ROWS_MAX),
            "totals": await visit.ask(_totals(filters, span)),
        }
        used = [(one.kind, one.name, one.users, one.share, one.uses) for one in _used(found)]
        columns = ("kind", "feature", "users", "share_of_active_users", "uses")
        return csv_file(name, columns, [*used, *cut_after(found["named"])])
    plain = {
        "newcomers": _newcomers(filters, span),
        "activity": _sums(filters, span),
        "spread": _spread(filters, span),
        "groups": _groups(filters, span, by, _FILE_ROWS_MAX + 1),
        "clients": _clients(filters, span, now, _FILE_ROWS_MAX + 1),
    }
    if table not in plain:
        raise FilterFault(f"there is no table {table[:20]!r}; there are users, features, {', '.join(plain)}")
    answer = await visit.ask(plain[table], limit=_FILE_ROWS_MAX)
    return csv_file(name, answer.columns, lines(answer))


def whole_days(filters: Filters, now: datetime) -> Span:
    """The days (UTC) that a range touches."""
    start = filters.start.astimezone(UTC).replace(hour=0)
    end = filters.end.astimezone(UTC).replace(hour=0)
    end = end if end == filters.end else end + DAY
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Span(start, end, min(max(today, start), end))


def rolling(changes: Sequence[Mapping[str, Any]], span: Span) -> dict[str, list[int]]:
    """Distinct active users of the 1, 7 and 30 days up to each day, from their changes.

    changes: at: day, name: of WINDOWS, users: by how many the number is higher than the day before.
    """
    found = {}
    for name in WINDOWS:
        by_day = {moment(one["at"]): one["users"] for one in changes if one["name"] == name}
        now = sum(users for day, users in by_day.items() if day is not None and day < span.start)
        values = []
        for day in span.days:
            now += by_day.get(day, 0)
            values.append(now)
        found[name] = values
    return found


def _or_fault(found: Mapping[str, Any], name: str, make: Any) -> Any:
    faults = [found[one] for one in (name, *_NEEDS.get(name, ())) if isinstance(found[one], AskFault)]
    return faults[0] if faults else make()


_NEEDS: Mapping[str, tuple[str, ...]] = {"features": ("named", "totals")}


def _group(visit: Visit, visible: Visible) -> str:
    name = visit.request.query_params.get("by", "team")
    if name not in _GROUPS or not visible.has("user_days", name):
        raise FilterFault(f"there is no adoption by {name[:20]!r}; there is {', '.join(_GROUPS)}")
    return name


# SQL. `d` is user_days: one row for a user, team and cost center a day.


def _days(filters: Filters, start: datetime, end: datetime) -> str:
    """FROM and WHERE of the active days of users between two midnights, by the filters."""
    ranged = [f"d.start >= {timestamp(start)}", f"d.start < {timestamp(end)}"]
    where = joined([*ranged, _ACTIVE, *filters.conditions("d", hours=True)])
    if not filters.conditions("s", hours=False):
        return f"FROM user_days d WHERE {where}"
    # Days of what was done in such sessions alone: user_days knows no sessions, their hours do.
    days = (
        "SELECT h.tenant, h.user_key, h.team, h.department, h.cost_center, "
        f"{usage.start('day', 'h.start')} AS start, "
        "count(DISTINCT h.session_id) FILTER (h.active) AS sessions, sum(h.prompts) AS prompts, "
        "sum(h.active_user_s) AS active_user_s, sum(h.active_cli_s) AS active_cli_s "
        f"{usage.hours(replace(filters, start=start, end=end, preset=None))} GROUP BY ALL"
    )
    return f"FROM ({days}) d WHERE {where}"


def _active_changes(filters: Filters, span: Span) -> str:
    """Each user counts from an active day until the window has passed or the next active day begins.

    So the numbers of all days come from one pass over the days, however long the windows are.
    """
    longest = max(WINDOWS.values())
    changes = " UNION ALL ".join(
        f"SELECT '{name}' AS name, day AS at, 1 AS users FROM gaps UNION ALL SELECT '{name}' AS name, "
        f"least(day + INTERVAL {days} DAY, coalesce(next_day, day + INTERVAL {days} DAY)) AS at, -1 AS users FROM gaps"
        for name, days in WINDOWS.items()
    )
    return (
        f"WITH active AS (SELECT DISTINCT d.tenant, d.user_key, d.start AS day "
        f"{_days(filters, span.start - (longest - 1) * DAY, span.end)}), gaps AS (SELECT day, lead(day) OVER "
        f"(PARTITION BY tenant, user_key ORDER BY day) AS next_day FROM active), changes AS ({changes}) "
        f"SELECT c.name, c.at, sum(c.users) AS users FROM changes c WHERE c.at < {timestamp(span.end)} GROUP BY ALL "
        "HAVING sum(c.users) <> 0 ORDER BY ALL"
    )


def _first(filters: Filters, span: Span) -> str:
    """Each user's first active day, as far as the store goes back: of all their days, not only those of the filters."""
    everyone = filters.only("tenant", "user")
    return (
        "SELECT d.tenant, d.user_key, min(d.start) AS first_day "
        f"{_days(everyone, datetime(2000, 1, 1, tzinfo=UTC), span.end)} GROUP BY ALL"
    )


def _bucket(span: Span) -> str:
    return "week" if span.end - span.start > _WEEKS_FROM else "day"


def _newcomers(filters: Filters, span: Span) -> str:
    bucket = _bucket(span)
    return (
        f"WITH firsts AS ({_first(filters, span)}), seen AS (SELECT DISTINCT d.tenant, d.user_key, "
        f"date_trunc('{bucket}', d.start) AS at {_days(filters, span.start, span.end)}) "
        f"SELECT seen.at, count(*) FILTER (date_trunc('{bucket}', f.first_day) = seen.at) AS new_users, "
        f"count(*) FILTER (date_trunc('{bucket}', f.first_day) < seen.at) AS returning_users, "
        "(SELECT min(first_day) FROM firsts) AS store_begins FROM seen JOIN firsts f "
        "ON f.tenant = seen.tenant AND f.user_key = seen.user_key GROUP BY seen.at ORDER BY seen.at"
    )


def _sums(filters: Filters, span: Span) -> str:
    return (
        f"SELECT date_trunc('{_bucket(span)}', d.start) AS at, sum(d.active_user_s) AS active_user_s, "
        "sum(d.active_cli_s) AS active_cli_s, sum(d.prompts) AS prompts, sum(d.sessions) AS sessions, "
        f"count(DISTINCT (d.tenant, d.user_key)) AS users {_days(filters, span.start, span.end)} GROUP BY 1 ORDER BY 1"
    )


def _totals(filters: Filters, span: Span) -> str:
    """users, user_days, prompts, …: of the range; over_…: of its days that are over; before_…: of as many before."""
    columns = []
    for prefix, start, end in (
        ("", span.start, span.end),
        ("over_", span.start, span.over),
        ("before_", span.before, span.start),
    ):
        ranged = f"d.start >= {timestamp(start)} AND d.start < {timestamp(end)}"
        columns += [
            f"count(DISTINCT (d.tenant, d.user_key)) FILTER ({ranged}) AS {prefix}users",
            *(
                f"sum(d.{name}) FILTER ({ranged}) AS {prefix}{name}"
                for name in ("prompts", "sessions", "active_user_s", "active_cli_s")
            ),
        ]
    return f"SELECT {', '.join(columns)} {_days(filters, span.before, span.end)}"


def _spread(filters: Filters, span: Span) -> str:
    return (
        "WITH each AS (SELECT d.tenant, d.user_key, count(DISTINCT d.start) AS days "
        f"{_days(filters, span.start, span.end)} GROUP BY ALL) "
        "SELECT days AS active_days, count(*) AS users FROM each GROUP BY 1 ORDER BY 1"
    )


def _groups(filters: Filters, span: Span, by: str, limit: int) -> str:
    inside = f"d.start >= {timestamp(span.start)}"
    return (
        f"WITH firsts AS ({_first(filters, span)}), each AS (SELECT d.{by} AS name, d.tenant, d.user_key, "
        f"count(*) FILTER ({inside}) > 0 AS here, sum(d.prompts) FILTER ({inside}) AS prompts, "
        f"sum(d.active_user_s) FILTER ({inside}) AS active_user_s "
        f"{_days(filters, datetime(2000, 1, 1, tzinfo=UTC), span.end)} GROUP BY ALL) "
        "SELECT each.name, count(*) FILTER (each.here) AS active_users, count(*) AS known_users, "
        f"count(*) FILTER (each.here AND f.first_day >= {timestamp(span.start)}) AS new_users, "
        "coalesce(sum(each.prompts), 0) AS prompts, coalesce(sum(each.active_user_s), 0) AS active_user_s, "
        "count(*) OVER () AS of "
        "FROM each JOIN firsts f ON f.tenant = each.tenant AND f.user_key = each.user_key "
        f"GROUP BY each.name ORDER BY active_users DESC, known_users DESC, each.name LIMIT {limit}"
    )


def _sessions(filters: Filters, span: Span, now: datetime) -> str:
    ranged = replace(filters, start=span.start, end=span.end, preset=None)
    return f"FROM sessions s WHERE {usage.of_range(ranged, now)}"


def _clients(filters: Filters, span: Span, now: datetime, most: int) -> str:
    """kind, name, users, sessions, of (how many of the kind there are).  most: of each kind."""
    kinds = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, {column} AS name, count(DISTINCT (tenant, user_key)) AS users, "
        "count(*) AS sessions, count(*) OVER () AS of FROM seen GROUP BY ALL"
        for kind, column in (
            ("entrypoint", "app_entrypoint"),
            ("terminal", "terminal_type"),
            ("version", "app_version"),
        )
    )
    return (
        "WITH seen AS MATERIALIZED (SELECT s.tenant, s.user_key, s.app_entrypoint, s.terminal_type, s.app_version "
        f"{_sessions(filters, span, now)}) "
        f"SELECT * FROM ({kinds}) QUALIFY row_number() OVER (PARTITION BY kind ORDER BY users DESC, sessions DESC, "
        f"name) <= {most} ORDER BY kind, users DESC, sessions DESC, name"
    )


# What sessions count by themselves: kind, name, and how often it was used in one.
_OF_SESSIONS = (
    ("Subagents", "Subagents", "s.subagents"),
    ("Skills", "Skills", "s.event_counts['skill_activated']"),
    ("Hooks", "Hooks that ran", "s.event_counts['hook_execution_start']"),
    ("Plugins", "Plugins loaded", "s.event_counts['plugin_loaded']"),
    ("Mentions", "@-mentions", "s.event_counts['at_mention']"),
    ("Context", "Compactions", "s.compactions"),
    ("Results", "Commits", "s.commits"),
    ("Results", "Pull requests", "s.pull_requests"),
)


def _features(filters: Filters, span: Span, now: datetime) -> str:
    """One row: users_0, uses_0, … in the order of _OF_SESSIONS."""
    each = ", ".join(f"sum({uses}) AS uses_{number}" for number, (_, _, uses) in enumerate(_OF_SESSIONS))
    columns = ", ".join(
        f"count(*) FILTER (uses_{number} > 0) AS users_{number}, sum(uses_{number}) AS uses_{number}"
        for number in range(len(_OF_SESSIONS))
    )
    return (
        f"WITH used AS (SELECT s.tenant, s.user_key, {each} {_sessions(filters, span, now)} "
        f"GROUP BY s.tenant, s.user_key) SELECT {columns} FROM used"
    )


# What events say: their name, what it is called here, and what names it, if anything does.
_OF_EVENTS = (
    ("tool_result", "Tools", "e.tool_name"),
    ("permission_mode_changed", "Permission modes", "e.to_mode"),
    ("user_prompt", "Slash commands", "e.command_name"),
    ("mcp_server_connection", "MCP", "CASE e.status WHEN 'connected' THEN 'A server connected' END"),
)


def _named(filters: Filters, span: Span, now: datetime, limit: int) -> str:
    """kind, name, users, uses."""
    kind, name = (
        " ".join(["CASE e.event_name", *(f"WHEN '{event}' THEN {value}" for event, value in values), "END"])
        for values in (
            [(event, f"'{words}'") for event, words, _ in _OF_EVENTS],
            [(event, name) for event, _, name in _OF_EVENTS],
        )
    )
    return (
        f"WITH named AS (SELECT {kind} AS kind, {name} AS name, e.tenant, e.user_key {_events(filters, span, now)}) "
        "SELECT kind, name, count(DISTINCT (tenant, user_key)) AS users, count(*) AS uses, "
        "count(*) OVER () AS of FROM named "
        f"WHERE name IS NOT NULL GROUP BY ALL ORDER BY users DESC, uses DESC, kind, name LIMIT {limit}"
    )


def _events(filters: Filters, span: Span, now: datetime) -> str:
    where = [
        f"e.event_name IN ({', '.join(literal(event) for event, _, _ in _OF_EVENTS)})",
        clock.within("e", span.start, span.end),
        *usage.of_hours_kept("e", replace(filters, start=span.start, end=span.end), now),
    ]
    return f"FROM events e WHERE {joined(where)}"


# From answers to what is shown.


def _labels(days: Sequence[datetime]) -> list[str]:
    return [spelled(day) for day in days]


def _users_chart(curves: Mapping[str, Sequence[int]], span: Span) -> Chart:
    names = {"dau": "that day (DAU)", "wau": "in 7 days (WAU)", "mau": "in 30 days (MAU)"}
    drawn = {**curves, "dau": _of_days_over(curves["dau"], span)}
    series = [Series(names[name], drawn[name]) for name in curves]
    note = "Today is not over: it counts in WAU and MAU, and is no day of DAU yet." if span.over < span.end else ""
    return Chart("Active users", "lines", "count", _labels(span.days), series, times=True, bucket="day", note=note)


def _of_days_over(values: Sequence[float | None], span: Span) -> list[float | None]:
    """Nothing where a day has only begun: a part of a day stands for nothing beside whole ones."""
    return [value if day < span.over else None for day, value in zip(span.days, values, strict=True)]


def _stickiness_chart(curves: Mapping[str, Sequence[int]], span: Span) -> Chart:
    shares = [dau / mau if mau else None for dau, mau in zip(curves["dau"], curves["mau"], strict=True)]
    note = "DAU / MAU: of those who were active in 30 days, how many were so on that day."
    series = [Series("Stickiness", _of_days_over(shares, span))]
    return Chart("Stickiness", "lines", "percent", _labels(span.days), series, times=True, bucket="day", note=note)


def _newcomers_chart(answer: Answer, span: Span) -> Chart:
    bucket = _bucket(span)
    buckets = span.days if bucket == "day" else _weeks(span)
    rows = answer.objects()
    flat = [
        {"at": row["at"], "name": name, "users": row[name]} for row in rows for name in ("new_users", "returning_users")
    ]
    names = {"new_users": "new", "returning_users": "returning"}
    begins = moment(rows[0]["store_begins"]) if rows else None
    note = "New: the first active day that the store has."
    if begins is not None:
        note += f" It begins on {begins:%Y-%m-%d}, when everybody is new."
    chart = over_time(
        f"New and returning users by {bucket}",
        "count",
        buckets,
        flat,
        name="name",
        value="users",
        bucket=bucket,
        names=names,
    )
    return replace(chart, note=note)


def _weeks(span: Span) -> list[datetime]:
    first = span.start - span.start.weekday() * DAY
    return [first + number * 7 * DAY for number in range((span.end - first + 6 * DAY) // (7 * DAY))]


def _activity_charts(answer: Answer, span: Span) -> dict[str, Chart]:
    bucket, rows = _bucket(span), answer.objects()
    buckets = span.days if bucket == "day" else _weeks(span)
    hours = [
        {"at": row["at"], "name": name, "value": row[name]}
        for row in rows
        for name in ("active_user_s", "active_cli_s")
    ]
    each = [
        {"at": row["at"], "name": name, "value": row[name] / row["users"]}
        for row in rows
        for name in ("prompts", "sessions")
        if row["users"]
    ]
    spoken = {"active_user_s": "users", "active_cli_s": "Claude"}
    return {
        "hours": over_time(
            "Active time", "seconds", buckets, hours, name="name", value="value", bucket=bucket, names=spoken
        ),
        "each": over_time(
            f"Prompts and sessions per active user, by {bucket}", "count", buckets, each, name="name", value="value",
            bucket=bucket, kind="lines", names={"prompts": "prompts", "sessions": "sessions"},
        ),
    }  # fmt: skip


def _spread_chart(answer: Answer) -> Chart:
    users = {one["active_days"]: one["users"] for one in answer.objects()}
    longest = max(users, default=0)
    bins = [(low, min(high, longest)) for low, high in _BINS if low <= longest]
    labels = [f"{low} day{'s' if low > 1 else ''}" if low == high else f"{low} to {high} days" for low, high in bins]
    values = [float(sum(n for days, n in users.items() if low <= days <= high)) for low, high in bins]
    return Chart("Users by active days in the range", "rank", "count", labels, [Series("users", values)])


def _grouped(answer: Answer, by: str, filters: Filters) -> list[Group]:
    groups = []
    for one in answer.objects():
        said = exactly({by: one["name"]})
        groups.append(
            Group(
                one["name"], one["active_users"], one["known_users"],
                one["new_users"], one["prompts"], one["active_user_s"],
                None if said is None else filters.url("/sessions", **said),
                None if said is None else filters.url("/adoption", by=by, range=filters.preset, **said),
            )
        )  # fmt: skip
    return groups


def _clients_charts(answer: Answer, filters: Filters) -> list[Chart]:
    titles = {
        "entrypoint": "Users by entrypoint",
        "terminal": "Users by terminal",
        "version": "Users by client version",
    }
    charts = []
    for kind, title in titles.items():
        rows = [one for one in answer.objects() if one["kind"] == kind]
        note = f"The first {len(rows)} of {count(there_are(rows))}." if there_are(rows) > len(rows) else ""
        labels = [NONE if one["name"] is None else one["name"] for one in rows]
        links = [filters.link("/sessions", **{kind: one["name"]}) for one in rows] if kind in DIMENSIONS else []
        users = [Series("users", [one["users"] for one in rows], links)]
        charts.append(Chart(title, "rank", "count", labels, users, note=note))
    return charts


def _used(found: Mapping[str, Any]) -> list[Feature]:
    """All features, the tools first; shares are of the users who were active in the range."""
    active, counted = found["totals"].one()["users"], found["features"].one()
    told = [
        (kind, name, counted[f"users_{number}"], counted[f"uses_{number}"])
        for number, (kind, name, _) in enumerate(_OF_SESSIONS)
        if counted[f"users_{number}"]
    ]
    named = [(one["kind"], one["name"], one["users"], one["uses"]) for one in found["named"].objects()]
    order = {kind: place for place, (_, kind, _) in enumerate(_OF_EVENTS)}
    return [
        Feature(kind, name, users, uses, users / active if active else None)
        for kind, name, users, uses in sorted([*named, *told], key=lambda one: order.get(one[0], len(order)))
    ]


PAGES = (Page("/adoption", adoption), Page("/adoption.csv", adoption_file, file=True))
