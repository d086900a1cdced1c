"""The overview: what the fleet does, at a glance, beside the period before, and where one looks closer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from console import shown, usage
from console.ask import Answer, Visible, moment
from console.charts import Chart, Series, Unit
from console.errors import AskFault
from console.filters import DAY, DIMENSIONS, HOUR, NONE, Filters, exactly, shown_dimensions
from console.listing import ONLY
from console.pages.report import report_url
from console.sections import row_id
from console.told import Cell
from console.usage import REPOSITORIES, SPEND, SPLIT, Question, number_of, spans
from console.web import Page, Visit
from service.sql import spelled

# A page of ours that the filters lead back to.
_PATH = re.compile(r"/(?:[a-z]+(?:/[a-z]+)*)?")

PATH = "/"
SESSIONS = "/sessions"
REPOSITORY = "repository"
_BY = "team"
_RANKED = 15
_CHOICES = 200
_SERIES_MOST = 8
_SUMS: Mapping[str, str] = {
    name: f"h.{name}"
    for name in (
        *("spend_usd", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"),
        *("active_user_s", "active_cli_s", "lines_added", "lines_removed", "commits", "pull_requests"),
        *("tools", "api_requests", "accepts", "rejects", "prompts"),
    )
} | {
    # Of sessions, as the lists behind them count; what fails before anything is asked is under reliability.
    name: f"CASE WHEN h.active THEN h.{name} ELSE 0 END"
    for name in ("errors", "refusals")
}
_NO_ADDRESSES = "Your role sees users by their key only; an admin can grant it the class person, which has addresses."
# Of a sum: what adding millions of numbers in another order leaves.
_DUST = 1e-9
# What tells of money: events of requests, and points of sessions that sent none.
_MONEY = ("api_request", SPEND)
_EVENT_COLUMNS = ("event_name", "event_time", "model", "tool_name", "decision", "source", "cost_usd", "clock_suspect")


@dataclass(frozen=True)
class Totals:
    """Sums of session_hours.  now, before: of the period and the one before.  buckets: number → sums."""

    now: Mapping[str, Any]
    before: Mapping[str, Any]
    buckets: Mapping[int, Mapping[str, Any]]

    @property
    def nothing(self) -> bool:
        """Whether neither period has anything."""
        return not any(self.now.values()) and not any(self.before.values())


@dataclass(frozen=True)
class Row:
    """A line of the ranking.  sessions_href, only_href: None where the value cannot be filtered by."""

    id: str
    label: str
    spend_usd: float | None
    spend_usd_before: float | None
    share: float
    tokens: int | None
    tokens_before: int | None
    sessions: int | None
    sessions_before: int | None
    sessions_href: str | None
    only_href: str | None


@dataclass(frozen=True)
class Ranking:
    """Rows of a dimension, the most expensive first.  values: how many there are.  note: what to know about it."""

    rows: Sequence[Row]
    values: int
    note: str = ""


async def overview(visit: Visit) -> Response:
    """All panels of a time range, beside the period before."""
    filters, query = visit.filters, visit.request.query_params
    if any(name in query and not query[name].strip() for name in DIMENSIONS):
        return visit.go(filters.url(PATH, by=query.get("by")))  # of the form: an address to pass on says what it means
    try:
        visible = await visit.visible()
    except AskFault as fault:
        if fault.status == 403:
            raise
        return visit.render(
            "overview.html", fault=fault, short_of_hours=False, waiting=False, by=_BY, dimensions_shown=[], names={}
        )
    by = _by(visit, visible)
    # The list goes back further than the hours that are counted here.
    lists = usage.with_hours(filters, visit.console.now())
    hours = asyncio.ensure_future(_totals(visit, filters))
    found = await visit.panels(
        totals=_result(hours),
        sessions=visit.ask(usage.sessions(filters)),
        charts=_charts(visit, visible, filters, hours, lists),
        ranking=_ranking(visit, visible, filters, by, hours, lists),
        names=_emails(visit, visible, [filters.values["user"]] if "user" in filters.values else []),
    )
    if isinstance(found["names"], AskFault):
        found["names"] = {}
    drawn = found["charts"]
    waiting = found["ranking"] is None or (isinstance(drawn, dict) and None in drawn.values())
    totals = found["totals"]
    if isinstance(totals, Totals) and totals.nothing:
        found["last"] = await _last(visit)
    return visit.render(
        "overview.html",
        fault=None,
        waiting=waiting,
        by=by,
        dimensions_shown=[(one.name, one.label) for one in shown_dimensions(visible)] + [(REPOSITORY, "Repository")],
        short_of_hours=usage.short_of_hours(filters, visit.console.now()),
        report_url=report_url(filters, visit.console.now()),
        lists=lists,
        bare=filters.only(),
        **found,
    )


async def choices(visit: Visit) -> Response:
    """The form that filters, with the values that occur."""
    filters, visible = visit.filters, await visit.visible()
    dimensions = shown_dimensions(visible)
    rows = (await visit.ask(usage.choices(filters, dimensions, most=_CHOICES))).rows if dimensions else []
    values: dict[str, list[tuple[str, str, int]]] = {one.name: [] for one in dimensions}
    names = await _emails(visit, visible, [row[1] for row in rows if row[0] == "user" and row[1]])
    for dimension, value, count in rows:
        if said := exactly({dimension: value}):
            key = said[dimension]
            values[dimension].append((key, names.get(key, shown.short(key, 60)), count))
    # What else the page was asked for stays as it is.
    query = visit.request.query_params
    kept = {name: value for name, value in query.items() if name not in {*DIMENSIONS, "range", "from", "to", "of"}}
    page = query.get("of", "/")
    return visit.render(
        "overview_choices.html",
        dimensions_shown=dimensions,
        values=values,
        kept=kept,
        page=page if _PATH.fullmatch(page) else "/",
    )


def _by(visit: Visit, visible: Visible) -> str:
    """The dimension of the ranking: of the URL if the person may see it, else the first that they may."""
    able = [one.name for one in shown_dimensions(visible)] + [REPOSITORY]
    asked = visit.request.query_params.get("by", _BY)
    return asked if asked in able else _BY if _BY in able else able[0]


async def _result(task: asyncio.Future[Totals]) -> Totals:
    return await task


async def _totals(visit: Visit, filters: Filters) -> Totals:
    answer = await visit.ask(usage.over_time(filters, _SUMS))
    rows = answer.objects()
    before: dict[str, Any] = next((row for row in rows if row["bucket"] is None), dict.fromkeys(_SUMS))
    buckets = {row["bucket"]: row for row in rows if row["bucket"] is not None}
    now = {name: sum(row[name] or 0 for row in buckets.values()) for name in _SUMS}
    return Totals(now, {name: before[name] or 0 for name in _SUMS}, buckets)


async def _last(visit: Visit) -> Any:
    """When there was anything, if the range has nothing; None: never."""
    try:
        answer = await visit.ask("SELECT max(start) AS last FROM session_hours")
    except AskFault as fault:
        return fault
    at = moment(answer.one()["last"])
    return None if at is None else Filters(at - DAY + HOUR, at + HOUR, None)


async def _told(
    visit: Visit, visible: Visible, filters: Filters, question: Question, totals: Totals
) -> list[tuple[Cell, ...]] | None:
    """What events told; None: that takes a while, and the page that asks is not to wait for it."""
    if not visible.has("events", *_EVENT_COLUMNS):
        return [() for _ in spans(filters)]
    actor = visit.person.actor()

    async def ask(sql: str, limit: int) -> Answer:
        return await visit.ask(sql, limit=limit)

    scope = (actor.tenant, actor.roles, visible.digest)
    # A page is there at once; what it then asks for by itself (app.js), or without scripts by a click, may take longer.
    soon = "hx-request" not in visit.request.headers and "whole" not in visit.request.query_params
    cells = await visit.console.told.cells(
        ask, scope, filters, question, totals.buckets, visit.console.now(), soon=soon
    )
    if cells is None or question is not SPLIT:
        return cells
    return await _with_points(visit, visible, filters, cells, totals)


async def _with_points(
    visit: Visit, visible: Visible, filters: Filters, cells: list[tuple[Cell, ...]], totals: Totals
) -> list[tuple[Cell, ...]]:
    """With the models of money that no request told, asked for only if there is some."""
    spent = totals.now["spend_usd"] or 0
    requests = sum(cell.cost_usd for told in cells for cell in told if cell.event in _MONEY)
    if spent - requests <= spent * _DUST or not usage.sees_points(visible):
        return cells
    answer = await visit.ask(usage.models_by_points(filters))
    found: dict[int, list[Cell]] = {}
    for bucket, name, cost in answer.rows:
        found.setdefault(bucket, []).append(Cell(SPEND, name, None, 0, cost, 0))
    numbers = (number_of(filters.bucket, span.start) for span in spans(filters))
    return [(*told, *found.get(place, ())) for told, place in zip(cells, numbers, strict=True)]


# The charts


async def _charts(
    visit: Visit, visible: Visible, filters: Filters, hours: asyncio.Future[Totals], lists: Filters
) -> dict[str, Chart | AskFault | None]:
    """Every chart by its name; those that need events are faults where there is no answer, None where it takes long.

    Args: lists: the filters of the sessions that their bars lead to.
    """
    totals = await hours
    drawing = _Drawing(filters, totals, lists)
    charts: dict[str, Chart | AskFault | None] = {
        "tokens": drawing.sums(
            "Token usage",
            "tokens",
            {"input": "Input", "output": "Output", "cache_read": "Cache read", "cache_creation": "Cache creation"},
        ),
        "active": drawing.sums("Active time", "seconds", {"active": "User", "active_cli": "CLI"}),
        "lines": drawing.sums("Lines of code", "count", {"lines_added": "Added", "lines_removed": "Removed"}),
    }
    names = ("cost", "requests", "tools", "decisions")
    try:
        cells = await _told(visit, visible, filters, SPLIT, totals)
    except AskFault as fault:
        return charts | dict.fromkeys(names, fault)
    if cells is None:
        return charts | dict.fromkeys(names)
    hidden = "" if visible.has("events", *_EVENT_COLUMNS) else " Your role does not see events, which tell more."
    return charts | {
        "cost": drawing.parts("Cost by model", "usd", cells, "api_request", ("spend_usd",), hidden),
        "requests": drawing.parts("API requests by model", "count", cells, "api_request", ("api_requests",), hidden),
        "tools": drawing.parts("Tool calls", "count", cells, "tool_result", ("tools",), hidden),
        "decisions": drawing.parts(
            "Accept and reject decisions", "count", cells, "tool_decision", ("accepts", "rejects"), hidden
        ),
    }


# What the list of sessions is to be asked for, of a part of the events of a name.
_LEADS_BY = {"api_request": "asked", "tool_result": "tool", "tool_decision": "decision"}


class _Drawing:
    """Draws charts over the buckets of a range, each bar a way to the sessions behind it."""

    def __init__(self, filters: Filters, totals: Totals, lists: Filters) -> None:
        """lists: the filters of the sessions behind all of it."""
        self._filters = filters
        self._lists = lists
        self._totals = totals
        self._spans = spans(filters)
        self._rows = [totals.buckets.get(number_of(filters.bucket, span.start), {}) for span in self._spans]
        self._links = [replace(filters, start=one.start, end=one.end, preset=None).url(SESSIONS) for one in self._spans]

    def sums(self, title: str, unit: Unit, names: Mapping[str, str]) -> Chart:
        """A chart of sums.  names: of ONLY, which says what is summed and leads to the sessions → its series' name."""
        sums = {name: ONLY[name].counts[0] for name in names}
        series = [
            self._series(called, [float(row.get(sums[name]) or 0) for row in self._rows], only=name)
            for name, called in names.items()
        ]
        return self._chart(title, unit, series, tuple(sums.values()))

    def parts(
        self,
        title: str,
        unit: Unit,
        cells: Sequence[tuple[Cell, ...]],
        event: str,
        names: tuple[str, ...],
        hidden: str,
    ) -> Chart:
        """A chart of what events told, which with what they did not tell adds up to the sums of `names`."""
        places = len(self._spans)
        parts: dict[tuple[str | None, str | None], list[float]] = {}
        for place, told in enumerate(cells):
            for cell in told:
                if cell.event == event or (unit == "usd" and cell.event in _MONEY):
                    value = cell.cost_usd if unit == "usd" else cell.n
                    # A source that is empty is none, as DECISION has it.
                    values = parts.setdefault((cell.name, cell.source or None), [0.0] * places)
                    values[place] += value
        totals = [sum(float(row.get(name) or 0) for name in names) for row in self._rows]
        missing = [max(0.0, total - sum(v[place] for v in parts.values())) for place, total in enumerate(totals)]
        ordered = sorted(parts, key=lambda key: (-sum(parts[key]), key[0] or "", key[1] or ""))
        room = _SERIES_MOST - (1 if any(_matters(value) for value in missing) else 0)
        shown_parts, rest = (ordered, []) if len(ordered) <= room else (ordered[: room - 1], ordered[room - 1 :])
        series = [
            self._series(NONE if said is None else said, parts[name, source], **{_LEADS_BY[event]: said})
            for name, source in shown_parts
            for said in (f"{name}: {source}" if source else name,)
        ]
        if rest:
            sums = [round(sum(values), 9) for values in zip(*(parts[key] for key in rest), strict=True)]
            series.append(Series("other", sums))
        if any(_matters(value) for value in missing):
            series.append(Series(shown.NOT_TOLD, [value if _matters(value) else 0.0 for value in missing]))
        return self._chart(title, unit, series, names, hidden)

    def _series(self, called: str, values: Sequence[float], **choice: str | None) -> Series:
        """choice: what its bars lead to beside their time: a parameter of the list and its value."""
        rounded = [round(value, 9) for value in values]
        said = exactly(choice)
        if said is None:
            return Series(called, rounded)
        return Series(called, rounded, more=f"&{urlencode(said)}", whole=self._lists.url(SESSIONS, **said))

    def _chart(self, title: str, unit: Unit, series: Sequence[Series], names: tuple[str, ...], more: str = "") -> Chart:
        now = sum(self._totals.now[name] or 0 for name in names)
        before = sum(self._totals.before[name] or 0 for name in names)
        changed = shown.change(now, before)
        note = f"Total {shown.by_unit(now, unit)}, before {shown.by_unit(before, unit)}"
        if changed and before:
            note += f" ({changed})"
        labels = [spelled(at) for at in self._filters.buckets()]
        return Chart(
            title,
            "bars",
            unit,
            labels,
            series,
            times=True,
            bucket=self._filters.bucket,
            note=f"{note}.{more}",
            links=self._links,
        )


def _matters(value: float) -> bool:
    """Whether a difference is more than that of adding in another order."""
    return value > 1e-6


# The ranking


async def _ranking(
    visit: Visit, visible: Visible, filters: Filters, by: str, hours: asyncio.Future[Totals], lists: Filters
) -> Ranking | None:
    """lists: the filters of the sessions that its rows lead to."""
    if by == "model":
        return await _models(visit, visible, filters, await hours, lists)
    if by == REPOSITORY:
        return await _repositories(visit, visible, filters, await hours)
    answer = await visit.ask(usage.by_dimension(filters, DIMENSIONS[by], most=_RANKED))
    found = answer.objects()
    keys = [one["value"] for one in found if one["value"] is not None] if by == "user" else []
    names, totals = await asyncio.gather(_emails(visit, visible, keys), hours)
    rows = [_row(filters, by, totals, one, names, lists) for one in found]
    hidden = by == "user" and not _addresses(visible)
    return Ranking(rows, found[0]["total"] if found else 0, _NO_ADDRESSES if hidden else "")


async def _models(visit: Visit, visible: Visible, filters: Filters, totals: Totals, lists: Filters) -> Ranking | None:
    """By the model of each request; a session counts for every model that it used."""
    cells, before, answer = await asyncio.gather(
        _told(visit, visible, filters, SPLIT, totals),
        _before(visit, visible, filters, SPLIT),
        visit.ask(usage.models_of_sessions(filters)),
    )
    if cells is None or before is None:
        return None
    used = {one["value"]: one for one in answer.objects()}
    note = "Cost and tokens are of the requests of a model; a session counts for every model that it used."
    return _of_cells(filters, "model", totals, _by_name(cells), _by_name(before), used, note, lists)


async def _repositories(visit: Visit, visible: Visible, filters: Filters, totals: Totals) -> Ranking | None:
    if not visible.has("events", "vcs_repository_name", "vcs_owner_name"):
        return Ranking([], 0, "Your role does not see the repositories of events.")
    cells, before = await asyncio.gather(
        _told(visit, visible, filters, REPOSITORIES, totals), _before(visit, visible, filters, REPOSITORIES)
    )
    if cells is None or before is None:
        return None
    now = _by_name(cells)
    if not any(now):
        return Ranking([], 0, "No client told its repository (vcs.repository.name) in this time range.")
    note = (
        "By requests whose client told its repository. Hours do not know it, so it is a filter of the list of sessions "
        "alone."
    )
    return _of_cells(filters, REPOSITORY, totals, now, _by_name(before), {}, note, filters)


async def _before(
    visit: Visit, visible: Visible, filters: Filters, question: Question
) -> list[tuple[Cell, ...]] | None:
    earlier = filters.before
    return await _told(visit, visible, earlier, question, await _totals(visit, earlier))


def _by_name(cells: Sequence[tuple[Cell, ...]]) -> dict[str | None, tuple[float, int]]:
    """Cost and tokens of requests, by model or repository."""
    found: dict[str | None, tuple[float, int]] = {}
    for told in cells:
        for cell in told:
            if cell.event in _MONEY:
                cost, tokens = found.get(cell.name, (0.0, 0))
                found[cell.name] = (cost + cell.cost_usd, tokens + cell.tokens)
    return found


def _of_cells(
    filters: Filters,
    by: str,
    totals: Totals,
    now: Mapping[str | None, tuple[float, int]],
    before: Mapping[str | None, tuple[float, int]],
    sessions: Mapping[str | None, Mapping[str, Any]],
    note: str,
    lists: Filters,
) -> Ranking:
    found = []
    for name in sorted(now.keys() | before.keys(), key=lambda name: (-now.get(name, (0.0, 0))[0], name or "")):
        cost, tokens = now.get(name, (None, None))
        cost_before, tokens_before = before.get(name, (None, None))
        found.append(
            {
                "value": name,
                "spend_usd": cost,
                "tokens": tokens,
                "spend_usd_before": cost_before,
                "tokens_before": tokens_before,
                "sessions": sessions.get(name, {}).get("sessions"),
                "sessions_before": sessions.get(name, {}).get("sessions_before"),
            }
        )
    rows = [_row(filters, by, totals, one, {}, lists) for one in found[:_RANKED]]
    missing = (totals.now["spend_usd"] or 0) - sum(cost for cost, _ in now.values())
    if _matters(missing):
        tells = "event" if by == REPOSITORY else "event or metric"
        note += f" No stored {tells} names the {by} of {shown.usd(missing)} of the cost."
    return Ranking(rows, len(found), note)


def _row(
    filters: Filters,
    by: str,
    totals: Totals,
    one: Mapping[str, Any],
    names: Mapping[str, str],
    lists: Filters,
) -> Row:
    value = one["value"]
    called = NONE if value is None else value
    whole = totals.now["spend_usd"] or 0
    label = names.get(value) or (shown.short(called) if by == "user" else called)
    said = exactly({by: value})
    return Row(
        row_id("by", by, value),
        label,
        one["spend_usd"],
        one["spend_usd_before"],
        (one["spend_usd"] or 0) / whole if whole else 0.0,
        one["tokens"],
        one["tokens_before"],
        one["sessions"],
        one["sessions_before"],
        None if said is None else lists.url(SESSIONS, **said),
        None if said is None or by not in DIMENSIONS else filters.url(PATH, by=None if by == _BY else by, **said),
    )


async def _emails(visit: Visit, visible: Visible, keys: Sequence[str]) -> dict[str, str]:
    """Addresses of users, as far as the person may see them."""
    if not keys or not _addresses(visible):
        return {}
    return dict((await visit.ask(usage.emails(keys))).rows)


def _addresses(visible: Visible) -> bool:
    return visible.has("people", "user_key", "user_email")


PAGES = (Page(PATH, overview), Page("/overview/choices", choices))
