"""What is spent, by whom and on what; what it brought; what the cache saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlencode

from starlette.responses import Response

from console import clock, prices, usage
from console.ask import Answer, Visible, moment
from console.charts import Chart, Series
from console.download import csv_file, cut_after, lines
from console.errors import AskFault
from console.filters import NONE, FilterFault, Filters, joined
from console.pages.report import report_url
from console.shown import NOT_TOLD, short
from console.turns import session_url
from console.web import Page, Visit
from service.sql import literal, spelled, timestamp

OTHERS = "(others)"
# Lines of the table: at first, for who asks for more, and in a file.
_ROWS, _MORE_ROWS, _FILE_ROWS_MAX = 20, 200, 100_000
_SERIES_MAX = 7
_TOP_SESSIONS, _CACHE_ROWS = 20, 100
# As long as the streams keep hours; older ones are in the users' days only, which the month report adds up.
# Sums differ from the total by the order of addition; less than this is nothing.
_NOTHING_USD = 5e-7


@dataclass(frozen=True)
class By:
    """Something that cost is told by.

    column: its column.  of: hours: of session_hours; sessions: of sessions; requests: of the events of API requests,
    and of the cost metric of sessions that sent no events.  filter: of console.filters.DIMENSIONS, if it is one.
    leads: what the list of sessions is asked for: that, or what their requests in the range say.
    """

    name: str
    label: str
    column: str
    of: Literal["hours", "sessions", "requests"]
    filter: str | None = None

    @property
    def leads(self) -> str | None:
        return "asked" if self.filter == "model" else self.filter


BYS: Mapping[str, By] = MappingProxyType(
    {
        one.name: one
        for one in (
            By("team", "Team", "team", "hours", "team"),
            By("user", "User", "user_key", "hours", "user"),
            By("department", "Department", "department", "hours", "department"),
            By("cost_center", "Cost center", "cost_center", "hours", "cost_center"),
            By("model", "Model", "model", "requests", "model"),
            By("query_source", "Query source", "query_source", "requests"),
            By("agent", "Agent", "agent_name", "requests"),
            By("skill", "Skill", "skill_name", "requests"),
            By("plugin", "Plugin", "plugin_name", "requests"),
            By("mcp_server", "MCP server", "mcp_server_name", "requests"),
            By("version", "Version", "app_version", "sessions", "version"),
            By("entrypoint", "Entrypoint", "app_entrypoint", "sessions", "entrypoint"),
            By("tenant", "Tenant", "tenant", "hours", "tenant"),
        )
    }
)
_TABLES = {"hours": "session_hours", "sessions": "sessions", "requests": "events"}


@dataclass(frozen=True)
class Row:
    """A line of the table.  value: of the dimension, None for what has none; rest: what the other lines leave of the
    total.  sessions, tokens: None: not known.  url: the sessions, or requests, behind it.  tenant: of a user.
    """

    name: str
    value: str | None
    usd: float
    before_usd: float
    share: float | None
    sessions: int | None
    tokens: float | None
    url: str | None = None
    only: str | None = None
    rest: bool = False
    tenant: str | None = None


@dataclass(frozen=True)
class Result:
    """What one of something cost: all that was spent, divided by how many there are.  number: that many, in `unit`."""

    title: str
    usd: float | None
    before_usd: float | None
    number: float
    unit: str
    of: str


@dataclass(frozen=True)
class CacheRow:
    """What the prompt cache did for a model at a speed.  The money is None where no price could be derived."""

    model: str | None
    speed: str | None
    requests: int
    read: float
    written: float
    plain: float
    price: prices.Prices | None

    @property
    def name(self) -> str:
        """Both in words."""
        name = self.model or "(no model)"
        return name if self.speed in (None, "normal") else f"{name}, {self.speed}"

    @property
    def hit(self) -> float | None:
        """Share of all input tokens that came from the cache."""
        every = self.read + self.written + self.plain
        return self.read / every if every else None

    @property
    def as_input_usd(self) -> float | None:
        """What the tokens read from the cache would have cost as plain input."""
        return None if self.price is None else self.read * self.price.input_usd

    @property
    def read_usd(self) -> float | None:
        """What they cost."""
        return None if self.price is None else self.read * self.price.input_usd * prices.CACHE_READ

    @property
    def surcharge_usd(self) -> float | None:
        """What writing to the cache cost more than plain input."""
        return None if self.price is None else self.written * self.price.input_usd * (prices.CACHE_WRITE - 1)

    @property
    def saved_usd(self) -> float | None:
        """What remains of it."""
        if self.as_input_usd is None or self.read_usd is None or self.surcharge_usd is None:
            return None
        return self.as_input_usd - self.read_usd - self.surcharge_usd


def results(totals: Mapping[str, Any]) -> list[Result]:
    """What was got for the money."""

    def result(title: str, column: str, unit: str, of: str, size: float = 1) -> Result:
        many, before = (totals[f"{period}{column}"] or 0 for period in ("", "before_"))
        usd = (totals["spend_usd"] or 0) / many * size if many else None
        before_usd = (totals["before_spend_usd"] or 0) / before * size if before else None
        return Result(title, usd, before_usd, many, unit, of)

    return [
        result("per session", "sessions", "count", "sessions"),
        result("per commit", "commits", "count", "commits"),
        result("per pull request", "pull_requests", "count", "pull requests"),
        result("per 100 lines added", "lines_added", "count", "lines added", 100),
        result("per hour of user activity", "active_user_s", "seconds", "of user activity", 3600),
        result("per hour of Claude's work", "active_cli_s", "seconds", "of Claude's work", 3600),
    ]


async def cost(visit: Visit) -> Response:
    """All of it on one page, told by one dimension."""
    filters, visible = visit.filters, await visit.visible()
    choices = _choices(visit, visible)
    by = _by(visit, choices)
    more = visit.request.query_params.get("more") == "1"
    most = _MORE_ROWS if more else _ROWS
    now = visit.console.now()
    found = await visit.panels(
        totals=visit.ask(_totals(filters)),
        rows=visit.ask(_rows(by, filters, visible, now, _MORE_ROWS + 2)),
        cells=visit.ask(_cells(by, filters, visible, now)),
        cells_total=visit.ask(_cells_total(filters)),
        top=visit.ask(_top(filters, visible, _TOP_SESSIONS + 1)),
        cache=visit.ask(_cache(filters, _CACHE_ROWS + 1)),
        check=visit.ask(_check(filters)),
    )
    rows: Any = _fault(found, "rows", "totals") or lines_of(by, found["rows"], found["totals"], filters, now, most)
    listed = rows if isinstance(rows, list) else []
    names = {
        row.value: short(row.name, 16) if row.name == row.value and by.name == "user" else row.name for row in listed
    }
    over_time: Any = _fault(found, "cells", "cells_total") or _chart(
        by, filters, now, found["cells"].objects(), found["cells_total"].objects(), names
    )
    return visit.render(
        "cost.html",
        by=by,
        choices=choices,
        rows=rows,
        totals=found["totals"],
        results=_fault(found, "totals") or results(found["totals"].one()),
        over_time=over_time,
        top=found["top"],
        top_max=_TOP_SESSIONS,
        cache=_fault(found, "cache") or _cached(found["cache"]),
        cache_max=_CACHE_ROWS,
        check=_fault(found, "check") or found["check"].one(),
        # The list of sessions goes back further than the hours that are counted here.
        lists=usage.with_hours(filters, now),
        weights=prices,
        keep={"by": by.name, "more": "1" if more else None},
        more=more,
        cut=not isinstance(rows, AskFault) and bool(rows) and rows[-1].name == OTHERS and rows[-1].rest,
        many=_MORE_ROWS,
        short_of_hours=usage.short_of_hours(filters, now),
        emails=visible.has("people", "user_email"),
        report_url=report_url(filters, now),
        session_url=session_url,
    )


async def cost_file(visit: Visit) -> Response:
    """GET /cost.csv?table=…: one of the page's tables."""
    filters, visible = visit.filters, await visit.visible()
    by = _by(visit, _choices(visit, visible))
    table = visit.request.query_params.get("table", "by")
    columns, rows = await _file(visit, table, by, filters, visible)
    named = f"-by-{by.name}" if table in ("by", "time") else ""
    return csv_file(f"cost-{filters.start:%Y%m%d}-{filters.end:%Y%m%d}-{table}{named}", columns, rows)


async def _file(
    visit: Visit, table: str, by: By, filters: Filters, visible: Visible
) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """Columns and lines of a table. Raises: FilterFault, AskFault."""
    now = visit.console.now()
    if table == "by":
        found = await visit.ask(_rows(by, filters, visible, now, _FILE_ROWS_MAX + 1), limit=_FILE_ROWS_MAX + 1)
        rows = lines_of(by, found, await visit.ask(_totals(filters)), filters, now, _FILE_ROWS_MAX)
        return (by.name, "key", "cost_usd", "before_usd", "share", "sessions", "tokens"), [
            (row.name, row.value, row.usd, row.before_usd, row.share, row.sessions, row.tokens) for row in rows
        ]
    if table == "time":
        cells = (await visit.ask(_cells(by, filters, visible, now))).objects()
        chart = _chart(by, filters, now, cells, (await visit.ask(_cells_total(filters))).objects(), {})
        drawn = zip(chart.labels, *(series.values for series in chart.series), strict=True)
        return ("time_utc", *(series.name for series in chart.series)), list(drawn)
    if table == "results":
        got = results((await visit.ask(_totals(filters))).one())
        return ("result", "usd", "before_usd", "number"), [
            (f"cost {one.title}", one.usd, one.before_usd, one.number) for one in got
        ]
    if table == "cache":
        found = await visit.ask(_cache(filters, _FILE_ROWS_MAX + 1), limit=_FILE_ROWS_MAX)
        return _CACHE_COLUMNS, [*(_cache_line(one) for one in _cached(found)), *cut_after(found)]
    plain = {"sessions": _top(filters, visible, _FILE_ROWS_MAX + 1), "check": _check(filters)}
    if table not in plain:
        raise FilterFault(f"there is no table {table[:20]!r}; there are by, time, results, cache, sessions, check")
    answer = await visit.ask(plain[table], limit=_FILE_ROWS_MAX)
    return answer.columns, lines(answer)


_CACHE_COLUMNS = (
    "model", "requests", "cache_read_tokens", "cache_creation_tokens", "input_tokens", "cache_share",
    "input_usd_per_token", "as_input_usd", "read_usd", "write_surcharge_usd", "saved_usd",
)  # fmt: skip


def _cache_line(one: CacheRow) -> tuple[Any, ...]:
    price = None if one.price is None else one.price.input_usd
    tokens = (one.read, one.written, one.plain, one.hit)
    return (one.name, one.requests, *tokens, price, one.as_input_usd, one.read_usd, one.surcharge_usd, one.saved_usd)


def _fault(found: Mapping[str, Any], *names: str) -> AskFault | None:
    return next((found[name] for name in names if isinstance(found[name], AskFault)), None)


def _choices(visit: Visit, visible: Visible) -> list[By]:
    return [
        by
        for by in BYS.values()
        if visible.has(_TABLES[by.of], by.column) and (by.name != "tenant" or visit.person.tenant is None)
    ]


def _by(visit: Visit, choices: Sequence[By]) -> By:
    name = visit.request.query_params.get("by", "team")
    found = next((by for by in choices if by.name == name), None)
    if found is None:
        if name in BYS:
            raise AskFault(f"your role does not see cost by {BYS[name].label.lower()}", reason="forbidden", status=403)
        raise FilterFault(f"there is no cost by {name[:20]!r}; there is {', '.join(by.name for by in choices)}")
    return found


# SQL. `h` is session_hours, `s` its session, `e` an event, `m` a point of a metric.


def hours(filters: Filters, *, before: bool = False, sessions: bool = False) -> str:
    """FROM and WHERE of the hours of a range.

    Args: before: and of the one before it.  sessions: with their sessions in any case; pseudo-sessions have none.
    """
    of_session = filters.conditions("s", hours=False)
    join = f" {'JOIN' if of_session else 'LEFT JOIN'} sessions s ON s.tenant = h.tenant AND s.session_id = h.session_id"
    ranged = f"h.start >= {timestamp(filters.before.start if before else filters.start)} AND h.start < "
    where = joined([ranged + timestamp(filters.end), *filters.conditions("h", hours=True), *of_session])
    return f"FROM session_hours h{join if of_session or sessions else ''} WHERE {where}"


def _totals(filters: Filters) -> str:
    names = (
        "spend_usd", "cost_usd", "metric_cost_usd", "commits", "pull_requests", "lines_added", "active_user_s",
        "active_cli_s",
    )  # fmt: skip
    now, before = filters.in_range("h.start"), filters.before.in_range("h.start")
    columns = [f"sum(h.{n}) FILTER ({w}) AS {p}{n}" for p, w in (("", now), ("before_", before)) for n in names]
    columns += [f"bool_or({w} AND h.active) AS {p}sessions" for p, w in (("", now), ("before_", before))]
    columns += [f"sum(h.input_tokens + h.output_tokens) FILTER ({now}) AS tokens"]
    sums = [f"sum({p}{n}) AS {p}{n}" for p in ("", "before_") for n in names] + ["sum(tokens) AS tokens"]
    sums += [f"count(*) FILTER ({p}sessions) AS {p}sessions" for p in ("", "before_")]
    each = f"SELECT {', '.join(columns)} {hours(filters, before=True)} GROUP BY h.tenant, h.session_id"
    return f"SELECT {', '.join(sums)} FROM ({each})"


def _rows(by: By, filters: Filters, visible: Visible, now: datetime, limit: int) -> str:
    """name, tenant (of users), usd, before_usd, sessions, tokens; the largest first."""
    order = f"ORDER BY usd DESC NULLS LAST, before_usd DESC NULLS LAST, name LIMIT {limit}"
    user = by.name == "user"
    at = "told.at" if by.of == "requests" else "h.start"
    inside, before = filters.in_range(at), filters.before.in_range(at)
    head, usd, tokens, here = "", "h.spend_usd", "h.input_tokens + h.output_tokens", f"bool_or({inside} AND h.active)"
    column, source = f"h.{by.column} AS name, h.tenant, h.session_id", hours(filters, before=True)
    if by.of == "sessions":
        column = f"s.{by.column} AS name, h.tenant, h.session_id"
        source = hours(filters, before=True, sessions=True)
    elif by.of == "requests":
        head = f"{_told(by, usage.kept(usage.with_before(filters), now), visible)} "
        # A session that only points tell of is a ghost, and in no list.
        usd, tokens, here = "usd", "tokens", f"bool_or({inside} AND session_id IS NOT NULL AND tokens IS NOT NULL)"
        column, source = "name, tenant, session_id", "FROM told"
    # By session first, not count(DISTINCT …): see `grouped` in events.py.
    grouped = (
        f"{head}SELECT name{', tenant' if user else ''}, sum(usd) AS usd, sum(before_usd) AS before_usd, "
        "count(*) FILTER (here) AS sessions, sum(tokens) AS tokens FROM "
        f"(SELECT {column}, sum({usd}) FILTER ({inside}) AS usd, sum({usd}) FILTER ({before}) AS before_usd, "
        f"{here} AS here, sum({tokens}) FILTER ({inside}) AS tokens {source} GROUP BY ALL) GROUP BY ALL {order}"
    )
    if not user or not visible.has("people", "user_email"):
        return grouped
    return (
        f"WITH spent AS ({grouped}) SELECT spent.*, p.user_email AS shown FROM spent "
        f"LEFT JOIN people p ON p.tenant = spent.tenant AND p.user_key = spent.name {order}"
    )


def _cells(by: By, filters: Filters, visible: Visible, now: datetime) -> str:
    """Cost by bucket and dimension: at, name, top (whether it is one of the largest; the others are one), usd."""
    bucket = filters.bucket
    if by.of == "requests":
        head = _told(by, usage.kept(filters, now), visible) + ", cells AS ("
        body = f"SELECT {usage.start(bucket, 'told.at')} AS at, name, sum(usd) AS usd FROM told GROUP BY ALL"
    else:
        column = f"{'s' if by.of == 'sessions' else 'h'}.{by.column}"
        head = "WITH cells AS ("
        body = (
            f"SELECT {usage.start(bucket, 'h.start')} AS at, {column} AS name, sum(h.spend_usd) AS usd "
            f"{hours(filters, sessions=by.of == 'sessions')} GROUP BY ALL"
        )
    return (
        f"{head}{body}), ranked AS (SELECT name, row_number() OVER (ORDER BY sum(usd) DESC, name) AS place "
        f"FROM cells GROUP BY name) SELECT c.at, CASE WHEN r.place <= {_SERIES_MAX} THEN c.name END AS name, "
        f"r.place <= {_SERIES_MAX} AS top, sum(c.usd) AS usd FROM cells c JOIN ranked r "
        "ON c.name IS NOT DISTINCT FROM r.name GROUP BY ALL ORDER BY c.at"
    )


def _cells_total(filters: Filters) -> str:
    return (
        f"SELECT {usage.start(filters.bucket, 'h.start')} AS at, sum(h.spend_usd) AS usd {hours(filters)} GROUP BY ALL"
    )


def _requests(filters: Filters) -> str:
    """WHERE of the events `e` of the API requests of a range, by the filters by way of their hours."""
    within = clock.within("e", filters.start, filters.end)
    return joined([within, *usage.of_hours("e", filters), "e.event_name = 'api_request'"])


def _told(by: By, filters: Filters, visible: Visible) -> str:
    """WITH told: cost by a dimension, as far as requests or, in sessions without them, points of the metric tell."""
    points = (
        f" UNION ALL SELECT {clock.when('m')} AS at, m.{by.column} AS name, m.value AS usd, "
        "m.tenant, m.session_id, NULL AS tokens "
        f"FROM metrics m WHERE {usage.spent_by_points(filters, usage.of_hours('m', filters))}"
    )
    return (
        f"WITH told AS (SELECT {clock.when('e')} AS at, e.{by.column} AS name, {usage.USD} AS usd, "
        "e.tenant, e.session_id, coalesce(e.input_tokens, 0) + coalesce(e.output_tokens, 0) AS tokens "
        f"FROM events e WHERE {_requests(filters)}{points if usage.sees_points(visible) else ''})"
    )


def _top(filters: Filters, visible: Visible, limit: int) -> str:
    email = "s.user_email" if visible.has("sessions", "user_email") else "NULL"
    where = hours(filters)
    return (
        "WITH spent AS (SELECT h.tenant, h.session_id, sum(h.spend_usd) AS usd, sum(h.prompts) AS prompts, "
        f"sum(h.input_tokens + h.output_tokens) AS tokens {where} GROUP BY ALL) "
        f"SELECT s.tenant, s.session_id, s.start_time, s.user_key, {email} AS user_email, "
        "s.team, s.model, spent.prompts, spent.tokens, spent.usd AS cost_usd FROM spent "
        "JOIN sessions s ON s.tenant = spent.tenant AND s.session_id = spent.session_id WHERE spent.usd > 0 "
        f"ORDER BY spent.usd DESC, s.session_id LIMIT {limit}"
    )


def _cache(filters: Filters, limit: int) -> str:
    read, written = prices.CACHE_READ, prices.CACHE_WRITE
    return (
        "WITH r AS (SELECT e.model, e.speed, coalesce(e.input_tokens, 0) AS plain, coalesce(e.cache_read_tokens, 0) AS "
        "read, coalesce(e.cache_creation_tokens, 0) AS written, coalesce(e.output_tokens, 0)::DOUBLE AS y, "
        f"coalesce({usage.USD}, 0) AS c, (coalesce(e.input_tokens, 0) "
        f"+ {read} * coalesce(e.cache_read_tokens, 0) + {written} * coalesce(e.cache_creation_tokens, 0))::DOUBLE AS x "
        f"FROM events e WHERE {_requests(filters)}) "
        "SELECT model, speed, count(*) AS requests, sum(plain) AS plain, sum(read) AS read, sum(written) AS written, "
        "sum(x * x) AS xx, sum(x * y) AS xy, sum(y * y) AS yy, sum(x * c) AS xc, sum(y * c) AS yc, sum(c * c) AS cc "
        f"FROM r GROUP BY ALL ORDER BY sum(c) DESC, model, speed LIMIT {limit}"
    )


def _check(filters: Filters) -> str:
    return (
        f"WITH spent AS (SELECT h.tenant, h.session_id, sum(h.cost_usd) AS cost, sum(h.metric_cost_usd) AS metric, "
        f"sum(h.spend_usd) AS spend {hours(filters)} GROUP BY ALL) "
        "SELECT count(*) FILTER (cost > 0 AND metric > 0) AS both_sessions, "
        "sum(cost) FILTER (cost > 0 AND metric > 0) AS both_events_usd, "
        "sum(metric) FILTER (cost > 0 AND metric > 0) AS both_metrics_usd, "
        "count(*) FILTER (cost > 0 AND metric = 0) AS only_events_sessions, "
        "sum(cost) FILTER (cost > 0 AND metric = 0) AS only_events_usd, "
        "count(*) FILTER (cost = 0 AND metric > 0) AS only_metrics_sessions, "
        "sum(metric) FILTER (cost = 0 AND metric > 0) AS only_metrics_usd, "
        "sum(cost) AS events_usd, sum(metric) AS metrics_usd, sum(spend) AS spend_usd FROM spent"
    )


# From answers to what is shown.


def lines_of(by: By, found: Answer, totals: Answer, filters: Filters, now: datetime, most: int) -> list[Row]:
    """The lines of the table, with one for what they leave of the total, so that they add up to it."""
    total = totals.one()
    every, every_before = total["spend_usd"] or 0.0, total["before_spend_usd"] or 0.0
    # A request that names nothing is told with what no request tells at all; a session without one can be filtered for.
    named = [one for one in found.objects() if one["name"] is not None or by.of != "requests"]
    rows = [_row(by, one, every, filters, now) for one in named[:most]]
    rest = every - sum(row.usd for row in rows)
    rest_before = every_before - sum(row.before_usd for row in rows)
    if abs(rest) > _NOTHING_USD or abs(rest_before) > _NOTHING_USD:
        name = OTHERS if len(named) > most else NOT_TOLD
        rows.append(Row(name, None, rest, rest_before, rest / every if every else None, None, None, rest=True))
    return [row for row in rows if row.usd or row.before_usd or row.sessions]


def _row(by: By, one: Mapping[str, Any], every: float, filters: Filters, now: datetime) -> Row:
    value, usd = one["name"], one["usd"] or 0.0
    name = NONE if value is None else str(one.get("shown") or value)
    only, lists = None, usage.with_hours(filters, now)
    if by.filter is not None and by.leads is not None:
        url = lists.link("/sessions", **{by.leads: value})
        only = filters.link("/cost", by=by.name, **{by.filter: value})
    else:
        url = _requests_url(by, value, lists)
    share = usd / every if every else None
    return Row(
        name,
        value,
        usd,
        one["before_usd"] or 0.0,
        share,
        one["sessions"],
        one["tokens"],
        url,
        only,
        tenant=one.get("tenant"),
    )


def _requests_url(by: By, value: str, filters: Filters) -> str:
    """What has no filter among the sessions is asked of the SQL page."""
    sql = (
        f"select tenant, session_id, count(*) as requests, round(sum({usage.USD}), 4) as cost_usd\nfrom events e\n"
        f"where {_requests(filters)}\n  and e.{by.column} = {literal(value)}\n"
        "group by all order by cost_usd desc limit 100"
    )
    return f"/sql?{urlencode({'q': sql})}"


def _chart(
    by: By,
    filters: Filters,
    now: datetime,
    cells: Sequence[Mapping[str, Any]],
    totals: Sequence[Mapping[str, Any]],
    names: Mapping[str | None, str],
) -> Chart:
    """Cost over time, stacked: the largest by name, what is left of each bucket's total in one more."""
    buckets = filters.buckets()
    places = {start: place for place, start in enumerate(buckets)}
    left = [0.0] * len(buckets)
    for row in totals:
        if (place := places.get(_at(row))) is not None:
            left[place] += row["usd"] or 0.0
    values: dict[str | None, list[float]] = {}
    cut = False
    for row in cells:
        place, usd = places.get(_at(row)), row["usd"] or 0.0
        if place is None:
            continue
        cut = cut or not row["top"]
        if not row["top"] or (row["name"] is None and by.of == "requests"):
            continue
        values.setdefault(row["name"], [0.0] * len(buckets))[place] += usd
        left[place] -= usd
    series = [
        Series(
            NONE if value is None else names.get(value, value),
            usds,
            _bucket_urls(filters, now, **{by.leads: value}) if by.leads else (),
        )
        for value, usds in sorted(values.items(), key=lambda item: -sum(item[1]))
    ]
    if any(abs(one) > _NOTHING_USD for one in left):
        series.append(Series(OTHERS if cut else NOT_TOLD, [one if abs(one) > _NOTHING_USD else 0.0 for one in left]))
    labels = [spelled(start) for start in buckets]
    title = f"Cost over time by {by.label if by.name == 'mcp_server' else by.label.lower()}"
    links = _bucket_urls(filters, now)
    return Chart(title, "bars", "usd", labels, series, times=True, bucket=filters.bucket, links=links)


def _at(row: Mapping[str, Any]) -> Any:
    return moment(row["at"])


def _bucket_urls(filters: Filters, now: datetime, **chosen: str | None) -> list[str | None]:
    """The sessions of each bucket.  chosen: a further filter."""
    buckets = (Filters(one.start, one.end, None, filters.values) for one in usage.spans(filters))
    return [usage.with_hours(one, now).link("/sessions", **chosen) for one in buckets]


def _cached(answer: Answer) -> list[CacheRow]:
    rows = []
    for one in answer.objects():
        sums = prices.Sums(one["requests"], *(one[n] or 0.0 for n in ("xx", "xy", "yy", "xc", "yc", "cc")))
        tokens = (one["read"], one["written"], one["plain"])
        rows.append(CacheRow(one["model"], one["speed"], one["requests"], *tokens, prices.derived(sums)))
    return rows


PAGES = (Page("/cost", cost), Page("/cost.csv", cost_file, file=True))
