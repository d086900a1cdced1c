"""What a month cost, for each cost center or all, to be printed and filed."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from console import clock, usage
from console.ask import Answer, Visible, moment
from console.download import csv_file, cut_after
from console.errors import AskFault
from console.filters import DAY, DIMENSIONS, HOUR, NONE, FilterFault, Filters, exactly, joined
from console.shown import NOT_TOLD
from console.web import Page, Visit
from service.sql import timestamp

OTHERS = "(others)"
_MONTH = re.compile(r"(20\d\d|[3-8]\d\d\d)-(0[1-9]|1[0-2])")
_MONTHS = 14
_ROWS_MAX = 1000
_CENTERS_MAX = 500
# A fleet of 100,000, and all who left it and came to it in the month.
_FILE_ROWS_MAX = 300_000
# What the SQL service sends at most. A line has some 150 bytes.
_FILE_BYTES_MAX = 64 << 20
# The filters that days of users have; a report is of nothing else.
_FILTERS = ("tenant", "team", "department", "cost_center")
_SUMS = {
    "cost_usd": "sum(d.spend_usd)",
    "input_tokens": "sum(d.input_tokens)",
    "output_tokens": "sum(d.output_tokens)",
    "cache_tokens": "sum(d.cache_read_tokens + d.cache_creation_tokens)",
    "users": "count(DISTINCT (d.tenant, d.user_key))",
    "commits": "sum(d.commits)",
    "pull_requests": "sum(d.pull_requests)",
    "lines_added": "sum(d.lines_added)",
    "lines_removed": "sum(d.lines_removed)",
}
COLUMNS = ("section", "name", "key", *_SUMS)


@dataclass(frozen=True)
class Section:
    """A table of the report.

    lines: to be read once: name, key and the sums of COLUMNS; None: not told so.  cut: what a file says of more lines.
    """

    title: str
    name: str
    lines: Iterator[Mapping[str, Any]] | AskFault
    note: str = ""
    cut: Sequence[Sequence[str]] = ()


def report_url(filters: Filters, now: datetime) -> str:
    """The report of the last month of a range, with those of its filters that a report has."""
    month = f"{min(filters.end - HOUR, now):%Y-%m}"
    return f"/report?{urlencode({'month': month, **filters.only(*_FILTERS).values})}"


async def report(visit: Visit) -> Response:
    """The page, made to be printed."""
    filters, month = _asked(visit)
    visible = await visit.visible()
    found = await visit.panels(
        sections=_sections(visit.ask, visit, filters, visible, _ROWS_MAX),
        totals=visit.ask(_totals(filters)),
        started=visit.ask(_started(filters)),
        centers=visit.ask(_centers(filters)),
    )
    centers = [] if isinstance(found["centers"], AskFault) else [one["name"] for one in found["centers"].objects()]
    totals, now = found["totals"], visit.console.now()
    return visit.render(
        "report.html",
        filters=filters,
        month=month,
        months=_months(now, month),
        centers=[one["name"] for name in centers[:_CENTERS_MAX] if (one := exactly({"name": name}))],
        centers_max=_CENTERS_MAX if len(centers) > _CENTERS_MAX else None,
        center=filters.values.get("cost_center"),
        last=filters.end - DAY,
        # On paper nothing can be hovered over: times say their zone.
        as_of=_spoken(now),
        newest=None if isinstance(totals, AskFault) else _spoken(moment(totals.one()["as_of"])),
        closed=filters.end <= now,
        totals=totals if isinstance(totals, AskFault) else totals.one(),
        started=found["started"] if isinstance(found["started"], AskFault) else found["started"].one()["sessions"],
        sections=found["sections"],
        query=filters.query(month=month, **_NO_RANGE),
        labels={name: DIMENSIONS[name].label for name in _FILTERS},
        many=_ROWS_MAX,
        file_rows=_FILE_ROWS_MAX,
        emails=visible.has("people", "user_email"),
    )


async def report_file(visit: Visit) -> Response:
    """GET /report.csv: all tables of the report, one below the other, told apart by their section."""
    filters, month = _asked(visit)
    visible = await visit.visible()
    totals = (await visit.ask(_totals(filters))).one()
    ask = partial(visit.ask_now, bytes_max=_FILE_BYTES_MAX)
    sections = await _sections(ask, visit, filters, visible, _FILE_ROWS_MAX)
    for section in sections:
        if isinstance(section.lines, AskFault):
            raise section.lines
    center = re.sub(r"[^A-Za-z0-9._-]+", "-", filters.values.get("cost_center", "all"))
    return csv_file(f"report-{month}-{center}", COLUMNS, _file_lines(totals, sections))


def _file_lines(totals: Mapping[str, Any], sections: Sequence[Section]) -> Iterator[Sequence[Any]]:
    yield ["total", "", "", *(totals[name] for name in _SUMS)]
    for section in sections:
        assert not isinstance(section.lines, AskFault), "it was raised"
        for one in section.lines:
            yield [section.name, one["name"], one["key"], *(one[name] for name in _SUMS)]
        for line in section.cut:
            yield [section.name, *line]


_NO_RANGE: Mapping[str, str | None] = {"from": None, "to": None}


def _asked(visit: Visit) -> tuple[Filters, str]:
    """The month (UTC) as a range, with the filters that a report has. Raises: FilterFault."""
    now = visit.console.now()
    month = visit.request.query_params.get("month", "").strip() or f"{now:%Y-%m}"
    if not _MONTH.fullmatch(month):
        raise FilterFault(f"{month[:20]!r} is no month; write 2026-11")
    start = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
    values = {name: value for name, value in visit.filters.values.items() if name in _FILTERS}
    return Filters(start, _next_month(start), None, values), month


def _next_month(start: datetime) -> datetime:
    return (start + timedelta(days=31)).replace(day=1)


def _months(now: datetime, chosen: str) -> list[str]:
    """The months to choose from, the newest first."""
    start, found = now.astimezone(UTC).replace(day=1), []
    for _ in range(_MONTHS):
        found.append(f"{start:%Y-%m}")
        start = (start - DAY).replace(day=1)
    return found if chosen in found else [*found, chosen]


def _spoken(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


# SQL. `d` is user_days, which is kept longest; `p` people; `e` an event.


def _days(filters: Filters) -> str:
    return f"FROM user_days d WHERE {joined([filters.in_range('d.start'), *filters.conditions('d')])}"


def _sums() -> str:
    return ", ".join(f"{sql} AS {name}" for name, sql in _SUMS.items())


def _totals(filters: Filters) -> str:
    """The sums; as_of: receipt of the newest record in them; after: user days changed by records of after the month."""
    return (
        f"SELECT {_sums()}, max(d.received_time) AS as_of, "
        f"count(*) FILTER (d.received_time >= {timestamp(filters.end)}) AS after, "
        f"sum(d.sessions) AS day_sessions {_days(filters)}"
    )


def _started(filters: Filters) -> str:
    where = joined([filters.in_range("s.start_time"), "NOT s.ghost", *filters.conditions("s")])
    return f"SELECT count(*) AS sessions FROM sessions s WHERE {where}"


def _centers(filters: Filters) -> str:
    every = filters.without("cost_center")
    return f"SELECT DISTINCT d.cost_center AS name {_days(every)} ORDER BY 1 LIMIT {_CENTERS_MAX + 1}"


def _by(column: str, filters: Filters, limit: int) -> str:
    return (
        f"SELECT d.{column} AS key, {_sums()} {_days(filters)} GROUP BY 1 ORDER BY cost_usd DESC, key LIMIT {limit + 1}"
    )


def _by_user(filters: Filters, visible: Visible, limit: int) -> str:
    order = f"ORDER BY cost_usd DESC, key LIMIT {limit + 1}"
    grouped = f"SELECT d.tenant AS tenant, d.user_key AS key, {_sums()} {_days(filters)} GROUP BY ALL {order}"
    if not visible.has("people", "user_email"):
        return grouped
    return (
        f"WITH spent AS ({grouped}) SELECT spent.*, p.user_email AS shown FROM spent "
        f"LEFT JOIN people p ON p.tenant = spent.tenant AND p.user_key = spent.key {order}"
    )


def _by_week(filters: Filters) -> str:
    return f"SELECT date_trunc('week', d.start) AS key, {_sums()} {_days(filters)} GROUP BY 1 ORDER BY 1"


def _by_model(filters: Filters, visible: Visible, now: datetime, limit: int) -> str:
    """From the events, which alone tell the tokens of a model; the cost of sessions without any from their metrics."""
    events = ["e.event_name = 'api_request'", clock.within("e", filters.start, filters.end)]
    points = (
        " UNION ALL SELECT m.model, m.value, 0, 0, 0, m.tenant, m.user_key "
        f"FROM metrics m WHERE {usage.spent_by_points(filters, usage.of_hours_kept('m', filters, now))}"
    )
    return (
        f"WITH told AS (SELECT e.model AS key, {usage.USD} AS usd, e.input_tokens, e.output_tokens, "
        "coalesce(e.cache_read_tokens, 0) + coalesce(e.cache_creation_tokens, 0) AS cache_tokens, e.tenant, e.user_key "
        f"FROM events e WHERE {joined([*events, *usage.of_hours_kept('e', filters, now)])}"
        f"{points if usage.sees_points(visible) else ''}) "
        "SELECT key, sum(usd) AS cost_usd, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, "
        "sum(cache_tokens) AS cache_tokens, count(DISTINCT (tenant, user_key)) AS users "
        f"FROM told WHERE key IS NOT NULL GROUP BY 1 ORDER BY cost_usd DESC, key LIMIT {limit + 1}"
    )


# From answers to tables.


async def _sections(
    ask: Callable[..., Coroutine[Any, Any, Answer]], visit: Visit, filters: Filters, visible: Visible, limit: int
) -> list[Section]:
    questions = {
        **({} if "cost_center" in filters.values else {"cost_center": _by("cost_center", filters, limit)}),
        "team": _by("team", filters, limit),
        "week": _by_week(filters),
        "model": _by_model(filters, visible, visit.console.now(), limit),
        "user": _by_user(filters, visible, limit),
    }
    asked = {name: ask(sql, limit=limit) for name, sql in questions.items()}
    found = await visit.panels(**asked, totals=visit.ask(_totals(filters)))
    totals = found.pop("totals")
    if isinstance(totals, AskFault):
        raise totals
    return [_section(name, answer, totals.one(), filters) for name, answer in found.items()]


_TITLES = {
    "cost_center": "By cost center",
    "team": "By team",
    "user": "By user",
    "model": "By model",
    "week": "By week",
}
_NOTES = {
    "model": f"{NOT_TOLD}: what no stored record names a model for, such as requests whose events were archived.",
    "week": "Weeks begin on Monday (UTC); only their days in this month count.",
}


def _section(name: str, answer: Answer | AskFault, totals: Mapping[str, Any], filters: Filters) -> Section:
    if isinstance(answer, AskFault):
        return Section(_TITLES[name], name, answer)
    return Section(_TITLES[name], name, _lines(name, answer, totals, filters), _NOTES.get(name, ""), cut_after(answer))


def _lines(name: str, answer: Answer, totals: Mapping[str, Any], filters: Filters) -> Iterator[Mapping[str, Any]]:
    """One at a time: those of a fleet, all at once, take hundreds of megabytes."""
    empty: dict[str, Any] = dict.fromkeys(_SUMS)
    rest = {one: totals[one] or 0 for one in _ADDED}
    for row in answer.rows:
        one = dict(zip(answer.columns, row, strict=True))
        line = {**empty, **one, "name": _named(name, one, filters)}
        for added in _ADDED:
            rest[added] -= line[added] or 0
        yield line
    if name == "model" and any(abs(value) > 5e-7 for value in rest.values()):
        yield {**empty, **rest, "name": OTHERS if answer.truncated else NOT_TOLD, "key": None}


_ADDED = ("cost_usd", "input_tokens", "output_tokens", "cache_tokens")


def _named(section: str, one: Mapping[str, Any], filters: Filters) -> str:
    if section == "week":
        start = moment(one["key"])
        assert start is not None, "grouped by it"
        first, last = max(start, filters.start), min(start + 6 * DAY, filters.end - DAY)
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return NONE if one["key"] is None else str(one.get("shown") or one["key"])


PAGES = (Page("/report", report), Page("/report.csv", report_file, file=True))
