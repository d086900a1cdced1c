"""Reliability: what failed and whether work went on, how long things took, and which clients are in use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from console import clock, usage
from console.ask import Answer, moment
from console.charts import Chart, Series, over_time
from console.events import VERSION, WHEN, grouped, is_value, named, of_range, since
from console.figures import ROWS, Figures, Row, counted, drilled, figures, hidden, keyed, part, there_are, told, total
from console.filters import DAY, NONE, Filters, joined
from console.sections import Cell, Column, Section, Stat, Tab, Table
from console.shown import count
from console.web import Page, Visit
from service.sql import spelled, timestamp

TITLE = "Reliability"
TABS = (
    Tab("/reliability", "Errors"),
    Tab("/reliability/latency", "Speed of tools and API"),
    Tab("/reliability/versions", "Client versions"),
)
# So long after an error that nobody can tell yet whether the session goes on.
_UNDECIDED = timedelta(minutes=5)
_FAILED = ("api_error", "api_retries_exhausted")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_MODELS_MAX = 6
_VERSIONS, _TOOLS = 200, 60


# Errors


async def errors(visit: Visit) -> Response:
    """Errors of the API by status and model, retries that were exhausted and what came after, internal errors."""
    of_failures = {"kind": "Event", "status": "HTTP status", "failed": "Model", "after": "Afterwards"}
    of_internals = {"name": "Error", "code": "Code", "client": "Client version"}
    page = await figures(visit, "/reliability", **of_failures, **of_internals)
    filters = page.filters
    kinds = named("api_request", *_FAILED, "tool_result", "internal_error", "compaction")
    chosen = page.narrowed({"kind": "e.event_name", "status": "e.status_code::VARCHAR", "failed": "e.model"})
    internal = page.narrowed({"name": "e.error_name", "code": "e.error_code", "client": VERSION})
    found = await page.ask(
        totals=counted(
            since(filters),
            of_range(filters, kinds, since=filters.before.start),
            api_errors="e.event_name = 'api_error'",
            requests="e.event_name = 'api_request'",
            exhausted="e.event_name = 'api_retries_exhausted'",
            tool_failures="e.event_name = 'tool_result' AND NOT e.success",
            internal="e.event_name = 'internal_error'",
            compactions="e.event_name = 'compaction'",
        ),
        sessions=usage.sessions(filters, "errors"),
        statuses=f"SELECT {usage.start(filters.bucket, WHEN)} AS at, "
        f"coalesce(e.status_code::VARCHAR, 'no HTTP status') AS status, count(*) AS n "
        f"{of_range(filters, named('api_error'))} GROUP BY ALL",
        api=_api(filters),
        after=f"{_followed(page, _failures(filters))} SELECT event_name, after, count(*) AS n, "
        "quantile_cont(pause_s, 0.5) AS pause_s FROM f GROUP BY ALL",
        latest=_latest(page, chosen),
        internal=f"SELECT e.error_name, e.error_code, {VERSION} AS version, count(*) AS n, "
        "count(DISTINCT (e.tenant, e.session_id)) AS sessions, count(DISTINCT (e.tenant, e.user_key)) AS users, "
        f"max({WHEN}) AS last, count(*) OVER () AS of {of_range(filters, named('internal_error'))} "
        f"GROUP BY ALL ORDER BY n DESC LIMIT {ROWS}",
        internals=page.latest(
            f"e.error_name, e.error_code, {VERSION} AS version", named("internal_error"), *internal, most=ROWS + 1
        )
        if internal
        else None,
        compactions='SELECT e."trigger", e.success, count(*) AS n, avg(e.pre_tokens) AS pre, '
        "avg(e.post_tokens) AS post, quantile_cont(e.duration_ms, 0.95) AS p95, "
        "count(DISTINCT (e.tenant, e.session_id)) AS sessions, count(*) OVER () AS of "
        f"{of_range(filters, named('compaction'))} GROUP BY ALL ORDER BY n DESC LIMIT {ROWS}",
    )

    def totals() -> Section:
        row = found["totals"].one()
        sessions = found["sessions"].one()
        links = usage.with_hours(filters, visit.console.now()).url("/sessions", only="errors")
        now, before = (_share(row[f"api_errors{when}"], row[f"requests{when}"]) for when in ("", "_before"))
        return Section(
            "totals",
            "At a glance",
            stats=[
                total("API errors", row, "api_errors", better="down", href=page.choose("failures", kind="api_error")),
                Stat("Share of API requests that failed", now, "percent", before, "down", page.choose("models")),
                total("Retries exhausted", row, "exhausted", better="down", href=page.choose("after")),
                total(
                    "Failed tool calls",
                    row,
                    "tool_failures",
                    better="down",
                    href=filters.url("/reliability/latency") + "#tools",
                ),
                total("Internal errors", row, "internal", better="down", href=page.choose("internal")),
                Stat("Sessions with errors", sessions["sessions"], "count", sessions["sessions_before"], "down", links),
                total("Compactions", row, "compactions", href=page.choose("compactions")),
            ],
        )

    def of_api() -> Section:
        chart = over_time(
            "API errors by HTTP status",
            "count",
            filters.buckets(),
            found["statuses"].objects(),
            name="status",
            value="n",
            bucket=filters.bucket,
        )
        rows = found["api"].objects()
        codes = [row for row in rows if row["of_status"]]
        tables = [_code_table(page, codes), _model_table(page, [row for row in rows if not row["of_status"]])]
        return Section(
            "api",
            "Errors of the API",
            charts=[drilled(chart, filters, page.path, "failures", kind="api_error")],
            tables=tables,
        )

    def after() -> Section:
        rows = found["after"].objects()
        text = (
            "A client gives up after its last attempt. The session recovered if another request of it succeeded within "
            "a day. Until one does it counts as stalled, but for the first five minutes."
        )
        return Section(
            "after",
            "Retries exhausted: recovered or stalled",
            text,
            tables=[_after_table(page, rows), _failure_list(page, found["latest"].objects())],
            chosen=page.chips("failures", of_failures),
        )

    def inside() -> Section:
        tables = [
            _internal_table(page, found["internal"].objects()),
            _compaction_table(found["compactions"].objects()),
        ]
        if internal:
            tables.append(_internal_list(page, found["internals"].objects()))
        return Section("inside", "Inside the client", tables=tables, chosen=page.chips("internals", of_internals))

    return page.render(
        "reliability.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["totals"], found["sessions"]], totals),
            part("api", "Errors of the API", [found["statuses"], found["api"]], of_api),
            part("after", "Retries exhausted: recovered or stalled", [found["after"], found["latest"]], after),
            part("inside", "Inside the client", [found["internal"], found["internals"], found["compactions"]], inside),
        ],
        _short_of_hours(page, "Sessions with errors"),
        "" if page.sees("error") else hidden("the text of errors", "class detail"),
    )


def _short_of_hours(page: Figures, counted: str) -> str:
    """What to say of a range that is longer than the hours that these are counted by; nothing of a shorter one."""
    if not usage.short_of_hours(page.filters, page.visit.console.now()):
        return ""
    return (
        f"{counted} are counted by their hours, which are kept for 60 days. What is older in this range, or in the one "
        "before it, is not counted."
    )


def _share(failed: int, done: int) -> float | None:
    """An event api_request is one that was answered, an api_error one that was not."""
    return failed / (failed + done) if failed + done else None


def _api(filters: Filters) -> str:
    """Requests and errors of the API by model (part 0) and by HTTP status (part 1)."""
    columns = "e.event_name, e.model, e.status_code"
    counts = grouped(
        [("model",), ("status_code",)],
        {
            "failed": "coalesce(sum(n) FILTER (event_name = 'api_error'), 0)::BIGINT",
            "done": "coalesce(sum(n) FILTER (event_name = 'api_request'), 0)::BIGINT",
            "exhausted": "coalesce(sum(n) FILTER (event_name = 'api_retries_exhausted'), 0)::BIGINT",
            "last": "max(last) FILTER (event_name = 'api_error')",
        },
        "f",
        sessions="tenant, session_id",
        users="tenant, user_key",
    )
    # Of requests that were answered nobody asks whose they were, and there are a hundred times as many.
    return (
        f"WITH f AS MATERIALIZED (SELECT {columns}, e.tenant, e.session_id, e.user_key, "
        f"count(*) AS n, max({WHEN}) AS last {of_range(filters, named(*_FAILED))} GROUP BY ALL "
        f"UNION ALL SELECT {columns}, NULL AS tenant, NULL AS session_id, NULL AS user_key, count(*) AS n, "
        f"NULL AS last {of_range(filters, named('api_request'))} GROUP BY ALL) "
        f"SELECT *, part = 1 AS of_status, count(*) OVER (PARTITION BY part) AS of FROM ({counts}) "
        "WHERE part = 0 OR failed > 0 ORDER BY failed DESC, done DESC LIMIT 200"
    )


# Of the errors that ended a request.
_OF_FAILURES = (
    "e.event_name, e.model, e.status_code, coalesce(e.total_attempts, e.attempt) AS attempts, e.total_retry_duration_ms"
)


def _failures(filters: Filters, *more: str, error: str = "") -> str:
    """All of them."""
    base = f"e.event_id, e.tenant, e.session_id, e.user_key, {WHEN} AS happened"
    return f"SELECT {base}, {_OF_FAILURES}{error} {of_range(filters, named(*_FAILED), *more)}"


def _latest(page: Figures, chosen: Sequence[str]) -> str:
    """The latest of them, with what came after; unless that is what is chosen, only of those that are shown."""
    error = ", e.error" if page.sees("error") else ""
    order = "ORDER BY happened DESC, event_id"
    if "after" in page.chosen:
        found = _failures(page.filters, *chosen, error=error)
        shown = f"WHERE {is_value('after', page.chosen['after'])} {order} {page.limit}"
    else:
        found, shown = page.latest(f"{_OF_FAILURES}{error}", named(*_FAILED), *chosen), order
    return f"{_followed(page, found)} SELECT * FROM f {shown}"


def _followed(page: Figures, failures: str) -> str:
    """As `f`: these errors, and whether a later request of the same session succeeded."""
    filters = page.filters
    # To the minute, so that the answer can be shared.
    recent = (page.visit.console.now().astimezone(UTC) - _UNDECIDED).replace(second=0, microsecond=0)
    until = clock.within("r", filters.start, filters.end + DAY)
    # Sessions by a number: what sorts by it takes half as long as by their names.
    return (
        f"WITH x AS MATERIALIZED ({failures}), "
        "s AS MATERIALIZED (SELECT tenant, session_id, row_number() OVER () AS id "
        "FROM (SELECT DISTINCT tenant, session_id FROM x WHERE session_id IS NOT NULL)), "
        f"r AS (SELECT s.id, {clock.when('r')} AS happened FROM events r "
        "JOIN s ON s.tenant = r.tenant AND s.session_id = r.session_id "
        f"WHERE {until} AND r.event_name = 'api_request'), "
        "y AS (SELECT x.*, s.id FROM x LEFT JOIN s ON s.tenant = x.tenant AND s.session_id = x.session_id), "
        "f AS (SELECT y.*, CASE WHEN r.happened < y.happened + INTERVAL 1 DAY "
        "THEN date_diff('millisecond', y.happened, r.happened) / 1000 END AS pause_s, "
        "CASE WHEN y.session_id IS NULL THEN 'unknown' WHEN r.happened < y.happened + INTERVAL 1 DAY "
        "THEN 'recovered' "
        f"WHEN y.happened >= {timestamp(recent)} THEN 'too early to say' ELSE 'stalled' END AS after "
        "FROM y ASOF LEFT JOIN r ON y.id = r.id AND y.happened < r.happened)"
    )


_DECIDED, _UNKNOWN = ("recovered", "stalled"), "unknown"
_TONES = {"recovered": "good", "stalled": "bad"}
_KINDS = {"api_retries_exhausted": "Retries exhausted", "api_error": "API error"}


def _after_table(page: Figures, rows: Sequence[Row]) -> Table:
    unknown = [_UNKNOWN] if any(row["after"] == _UNKNOWN for row in rows) else []
    cells: list[list[Cell]] = []
    keys = []
    for kind, title in (("api_retries_exhausted", "Retries exhausted"), ("api_error", "API errors, all")):
        counts = {row["after"]: row for row in rows if row["event_name"] == kind}
        if not counts:
            continue
        line = [Cell(title), Cell(sum(row["n"] for row in counts.values()), page.choose("failures", kind=kind))]
        for name in (*_DECIDED, "too early to say", *unknown):
            n = counts[name]["n"] if name in counts else 0
            href = page.choose("failures", kind=kind, after=name) if n else None
            line.append(Cell(n, href, _TONES.get(name, "") if n else ""))
        decided = sum(counts[name]["n"] for name in _DECIDED if name in counts)
        line.append(Cell(counts["recovered"]["n"] / decided if "recovered" in counts else 0.0 if decided else None))
        pause = counts["recovered"]["pause_s"] if "recovered" in counts else None
        line.append(Cell(None if pause is None else pause * 1000))
        cells.append(line)
        keys.append(kind)
    columns = (
        Column("What ended"),
        Column("Times", "count"),
        Column("Recovered", "count"),
        Column("Stalled", "count"),
        Column("Too early to say", "count"),
        *(Column(one.capitalize(), "count") for one in unknown),
        Column("Recovered", "percent"),
        Column("Went on after (median)", "ms"),
    )
    empty = "No request failed for good in this time range."
    note = "Unknown: the error names no session." if unknown else ""
    return Table("recovery", "Did the session go on?", columns, cells, empty, note, keys=keys, wide=True)


def _failure_list(page: Figures, rows: Sequence[Row]) -> Table:
    def cells(row: Row) -> list[Cell]:
        text = [Cell(row["error"])] if "error" in row else []
        return [
            page.user(row),
            Cell(_KINDS[row["event_name"]]),
            Cell(None if row["status_code"] is None else str(row["status_code"])),
            Cell(row["model"]),
            *text,
            Cell(row["attempts"]),
            Cell(row["total_retry_duration_ms"]),
            Cell(row["after"], tone=_TONES.get(row["after"], "")),
        ]

    text = [Column("What it said", "words")] if page.sees("error") else []
    columns = (
        *(Column(name) for name in ("User", "What", "HTTP status", "Model")),
        *text,
        Column("Attempts", "count"),
        Column("Tried for", "ms"),
        Column("Afterwards", "tag"),
    )
    empty = "No such error in this time range."
    return page.listing("failures", "Latest errors", columns, rows, cells, empty=empty)


def _code_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        status = "no HTTP status" if row["status_code"] is None else str(row["status_code"])
        href = page.behind("failures", kind="api_error", status=row["status_code"])
        numbers = (Cell(row["failed"], href), Cell(row["sessions"]), Cell(row["users"]), Cell(row["last"]))
        cells.append((Cell(status, href), *numbers))
    columns = (
        Column("HTTP status"),
        *(Column(name, "count") for name in ("Errors", "Sessions", "Users")),
        Column("Last", "time"),
    )
    empty = "The API answered every request in this time range."
    keys = keyed(rows, "status_code")
    return Table("codes", "By HTTP status", columns, cells, empty, keys=keys, of=there_are(rows))


def _model_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        failed, exhausted = (page.behind("failures", kind=kind, failed=row["model"]) for kind in _FAILED)
        both = page.behind("failures", failed=row["model"]) if row["failed"] or row["exhausted"] else None
        cells.append(
            (
                told(row["model"], both),
                _sessions_of(row["done"], page, row["model"]),
                Cell(row["failed"], failed if row["failed"] else None),
                Cell(_share(row["failed"], row["done"])),
                Cell(row["exhausted"], exhausted if row["exhausted"] else None),
                Cell(row["sessions"]),
            )
        )
    columns = (
        Column("Model"),
        Column("Requests done", "count"),
        Column("Errors", "count"),
        Column("Share failed", "percent"),
        Column("Retries exhausted", "count"),
        Column("Sessions hit", "count"),
    )
    empty, keys = "No API request in this time range.", keyed(rows, "model")
    return Table("models", "By model", columns, cells, empty, keys=keys, of=there_are(rows))


def _sessions_of(requests: int, page: Figures, model: str | None) -> Cell:
    """How many requests a model had; they are not listed, the sessions are that used it."""
    return Cell(requests, page.filters.link("/sessions", model=model), to="The sessions that used this model")


def _internal_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        href = page.behind("internals", name=row["error_name"], code=row["error_code"], client=row["version"])
        texts = (told(row["error_name"], href), Cell(row["error_code"]), Cell(row["version"]))
        cells.append((*texts, Cell(row["n"], href), Cell(row["sessions"]), Cell(row["users"]), Cell(row["last"])))
    columns = (
        *map(Column, ("Error", "Code", "Client version")),
        *(Column(name, "count") for name in ("Times", "Sessions", "Users")),
        Column("Last", "time"),
    )
    empty = "No client failed inside in this time range."
    keys = keyed(rows, "error_name", "error_code", "version")
    return Table("internal", "Internal errors", columns, cells, empty, keys=keys, of=there_are(rows))


def _internal_list(page: Figures, rows: Sequence[Row]) -> Table:
    return page.listing(
        "internals",
        "Latest internal errors",
        tuple(Column(name) for name in ("User", "Error", "Code", "Client version")),
        rows,
        lambda row: [page.user(row), told(row["error_name"]), Cell(row["error_code"]), Cell(row["version"])],
        empty="No such error in this time range.",
        paged=False,
    )


def _compaction_table(rows: Sequence[Row]) -> Table:
    cells = []
    for row in rows:
        ended = "unknown" if row["success"] is None else "done" if row["success"] else "failed"
        tokens = (Cell(row["pre"]), Cell(row["post"]))
        cells.append(
            (
                told(row["trigger"]),
                Cell(ended, tone="bad" if ended == "failed" else ""),
                Cell(row["n"]),
                Cell(row["sessions"]),
                *tokens,
                Cell(row["p95"]),
            )
        )
    columns = (
        Column("Started by"),
        Column("Outcome"),
        Column("Times", "count"),
        Column("Sessions", "count"),
        Column("Before (mean)", "tokens"),
        Column("After (mean)", "tokens"),
        Column("95 % within", "ms"),
    )
    empty = "No context was compacted in this time range."
    keys = keyed(rows, "trigger", "success")
    return Table("compactions", "Compactions of the context", columns, cells, empty, keys=keys, of=there_are(rows))


# Speed


async def latency(visit: Visit) -> Response:
    """How often tools succeed and how long they take; time to first token and length of requests, by model."""
    page = await figures(visit, "/reliability/latency", tool="Tool")
    filters = page.filters
    quantiles = f"[{', '.join(map(str, _QUANTILES.values()))}]"
    chosen = page.narrowed({"tool": "e.tool_name"})
    error = ", e.error" if page.sees("error") else ""
    bucket = f"{usage.start(filters.bucket, WHEN)} AS start"
    told_first = "e.ttft_ms IS NOT NULL"
    found = await page.ask(
        tools="SELECT e.tool_name, grouping(e.tool_name) = 1 AS of_all, count(*) AS n, "
        f"count(*) FILTER (WHERE NOT e.success) AS failed, quantile_cont(e.duration_ms, {quantiles}) AS q, "
        f"count(*) OVER () - 1 AS of {of_range(filters, named('tool_result'))} "
        f"GROUP BY GROUPING SETS ((), (e.tool_name)) ORDER BY of_all DESC, n DESC LIMIT {_TOOLS + 1}",
        users="SELECT tool_name, count(*) AS users FROM (SELECT DISTINCT e.tool_name, e.tenant, e.user_key "
        f"{of_range(filters, named('tool_result'))}) GROUP BY 1",
        before="SELECT count(*) AS n, count(*) FILTER (WHERE NOT e.success) AS failed, "
        f"quantile_cont(e.duration_ms, {quantiles}) AS q {of_range(filters.before, named('tool_result'))}",
        requests=f"SELECT e.model, count(*) AS n, quantile_cont(e.duration_ms, {quantiles}) AS q, "
        f"{_of_first(quantiles)}, count(*) OVER () - 1 AS of "
        f"{of_range(filters, named('api_request'))} GROUP BY GROUPING SETS ((), (e.model)) "
        f"ORDER BY grouping(e.model) DESC, n DESC LIMIT {ROWS + 1}",
        over=f"SELECT {bucket}, quantile_cont(e.duration_ms, {quantiles}) AS q "
        f"{of_range(filters, named('api_request'))} GROUP BY ALL",
        first=_first(bucket, of_range(filters, named("api_request"), told_first)),
        failures=page.latest(
            f"e.tool_name, e.error_type, e.duration_ms{error}", named("tool_result"), "NOT e.success", *chosen
        ),
    )
    first_by_time = found["first"].objects() if isinstance(found["first"], Answer) else []
    traced: dict[str, Any] = {}
    if not first_by_time and page.sees("ttft_ms", table="spans"):  # older clients tell it only in their traces
        start = f"{usage.start(filters.bucket, clock.when('e', 'start_time'))} AS start"
        sql = of_range(filters, told_first, table="spans")
        traced = await page.ask(
            first=_first(start, sql),
            models=f"SELECT e.model, {_of_first(quantiles)} {sql} GROUP BY 1 ORDER BY first_n DESC LIMIT {ROWS}",
        )

    def tools() -> Section:
        (every, *by_tool), before = found["tools"].objects(), found["before"].one()
        now_q, before_q = (dict(zip(_QUANTILES, one["q"] or [None] * 3, strict=True)) for one in (every, before))
        done, done_before = ((one["n"] - one["failed"]) / one["n"] if one["n"] else None for one in (every, before))
        href = page.choose("tools")
        stats = [
            Stat("Tool calls", every["n"], "count", before["n"], href=href),
            Stat("That succeeded", done, "percent", done_before, "up", page.choose("tool-failures")),
            *(
                Stat(f"Tool time, {name}", now_q[name], "ms", before_q[name], "down", href)
                for name in ("p50", "p95", "p99")
            ),
        ]
        users = {row["tool_name"]: row["users"] for row in found["users"].objects()}
        tables = [_tool_table(page, by_tool, users), _tool_failures(page, found["failures"].objects())]
        text = "Half of the calls are within p50, 95 of 100 within p95."
        return Section("of-tools", "Tools", text, stats, tables=tables, chosen=page.chips("tool-failures"))

    def requests() -> Section:
        rows = found["requests"].objects()
        over = {
            row["start"]: dict(zip(_QUANTILES, row["q"] or [None] * 3, strict=True)) for row in found["over"].objects()
        }
        chart = lines("How long API requests take", filters, list(over.items()), tuple(_QUANTILES))
        table = _request_table(page, [row for row in rows if row["n"]])
        return Section("requests", "API requests", charts=[chart], tables=[table])

    def first_tokens() -> Section:
        rows = traced["first"].objects() if traced else first_by_time
        models = list(dict.fromkeys(row["model"] for row in rows))
        cut = f"The first {len(models)} of {count(there_are(rows))} models." if there_are(rows) > len(models) else ""
        charts = []
        for place, title in enumerate(("Time to first token, median", "Time to first token, 95 % within")):
            at: dict[str, dict[str | None, float]] = {}
            for row in rows:
                at.setdefault(row["start"], {})[row["model"]] = row["first"][place]
            charts.append(replace(lines(title, filters, list(at.items()), models), note=cut))
        by_model = traced["models"].objects() if traced else found["requests"].objects()
        of_model = [row for row in by_model if row["first_n"] and row["model"] is not None]
        text = "From the traces of the clients; their events do not tell it." if traced and rows else ""
        note = "" if rows else _NO_FIRST
        tables = [_first_table(of_model)]
        return Section(
            "first-token", "Time to first token", text, charts=charts if rows else [], tables=tables, note=note
        )

    return page.render(
        "reliability.html",
        TITLE,
        TABS,
        [
            part("of-tools", "Tools", [found[name] for name in ("tools", "users", "before", "failures")], tools),
            part("requests", "API requests", [found["requests"], found["over"]], requests),
            part(
                "first-token",
                "Time to first token",
                [found["first"], found["requests"], *traced.values()],
                first_tokens,
            ),
        ],
        "" if page.sees("error") else hidden("the text of errors", "class detail"),
    )


_NO_FIRST = (
    "No client of this time range tells its time to first token. Newer ones do in each API request; older ones in "
    "their traces, with CLAUDE_CODE_ENHANCED_TELEMETRY_BETA=1 and OTEL_TRACES_EXPORTER=otlp."
)


def lines(
    title: str, filters: Filters, rows: Sequence[tuple[str, Mapping[Any, Any]]], names: Sequence[str | None]
) -> Chart:
    """A chart of times in ms, a line for each name; where nothing was measured there is a gap, no zero.

    Args: rows: ISO time of a bucket, name → ms.
    """
    at = {}
    for text, values in rows:
        start = moment(text)
        assert start is not None, "a bucket has a start"
        at[start.astimezone(UTC)] = values
    buckets: Sequence[datetime] = filters.buckets()
    series = [
        Series(NONE if name is None else name, [at.get(start, {}).get(name) for start in buckets]) for name in names
    ]
    labels = [spelled(start) for start in buckets]
    return Chart(title, "lines", "ms", labels, series, times=True, bucket=filters.bucket)


def _tool_table(page: Figures, rows: Sequence[Row], users: Mapping[str | None, int]) -> Table:
    cells = []
    for row in rows:
        href = page.behind("tool-failures", tool=row["tool_name"]) if row["failed"] else None
        cells.append(
            (
                told(row["tool_name"]),
                Cell(row["n"]),
                Cell((row["n"] - row["failed"]) / row["n"]),
                Cell(row["failed"], href, "bad" if row["failed"] else ""),
                *map(Cell, row["q"] or [None] * 3),
                Cell(users.get(row["tool_name"])),
            )
        )
    columns = (
        Column("Tool"),
        Column("Calls", "count"),
        Column("Succeeded", "percent"),
        Column("Failed", "count"),
        *(Column(name, "ms") for name in _QUANTILES),
        Column("Users", "count"),
    )
    empty = "No tool was called in this time range."
    keys = keyed(rows, "tool_name")
    return Table("tools", "By tool", columns, cells, empty, keys=keys, wide=True, of=there_are(rows))


def _tool_failures(page: Figures, rows: Sequence[Row]) -> Table:
    def cells(row: Row) -> list[Cell]:
        text = [Cell(row["error"])] if "error" in row else []
        return [page.user(row), Cell(row["tool_name"]), Cell(row["error_type"]), *text, Cell(row["duration_ms"])]

    text = [Column("What it said", "words")] if page.sees("error") else []
    columns = (Column("User"), Column("Tool"), Column("Kind of error"), *text, Column("Took", "ms"))
    empty = "No such call failed in this time range."
    return page.listing("tool-failures", "Latest calls that failed", columns, rows, cells, empty=empty)


def _request_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = []
    for place, row in enumerate(rows):
        name = Cell("all models") if row["model"] is None and place == 0 else told(row["model"])
        requests = _sessions_of(row["n"], page, row["model"]) if row["model"] else Cell(row["n"])
        cells.append((name, requests, *map(Cell, row["q"] or [None] * 3)))
    columns = (Column("Model"), Column("Requests", "count"), *(Column(name, "ms") for name in _QUANTILES))
    empty, of = "No API request in this time range.", there_are(rows)
    # With the line of all models, which is of none.
    of, keys = of + 1 if of else 0, [(), *keyed(rows[1:], "model")]
    return Table("requests-by-model", "Requests by model", columns, cells, empty, keys=keys, of=of)


def _of_first(quantiles: str) -> str:
    """first_n, first: times to the first token of a group of `e`; first_of: how many models tell any."""
    return (
        f"count(e.ttft_ms) AS first_n, quantile_cont(e.ttft_ms, {quantiles}) AS first, "
        "count(*) FILTER (WHERE e.model IS NOT NULL AND count(e.ttft_ms) > 0) OVER () AS first_of"
    )


def _first(bucket: str, source: str) -> str:
    """start, model, first (two quantiles), of (models): of the models that tell it most often, these first."""
    return (
        f"WITH each AS (SELECT {bucket}, e.model, quantile_cont(e.ttft_ms, [0.5, 0.95]) AS first, "
        f"count(e.ttft_ms) AS n {source} GROUP BY ALL), "
        "summed AS (SELECT *, sum(n) OVER (PARTITION BY model) AS all_n FROM each), "
        "placed AS (SELECT *, dense_rank() OVER (ORDER BY all_n DESC, model) AS place FROM summed) "
        "SELECT start, model, first, max(place) OVER () AS of FROM placed "
        f"QUALIFY place <= {_MODELS_MAX} ORDER BY place, start"
    )


def _first_table(rows: Sequence[Row]) -> Table:
    cells = [(told(row["model"]), Cell(row["first_n"]), *map(Cell, row["first"] or [None] * 3)) for row in rows]
    columns = (Column("Model"), Column("Measured", "count"), *(Column(name, "ms") for name in _QUANTILES))
    empty, of = "Nothing was measured in this time range.", rows[0]["first_of"] if rows else 0
    keys = keyed(rows, "model")
    return Table("first-by-model", "First token by model", columns, cells, empty, keys=keys, of=of)


# Client versions


async def versions(visit: Visit) -> Response:
    """Which versions of the clients are in use, newest first."""
    page = await figures(visit, "/reliability/versions")
    filters = page.filters
    lists = usage.with_hours(filters, visit.console.now())
    found = await page.ask(now=_versions(filters), before=_versions(filters.before), client=_clients(filters))

    def totals() -> Section:
        rows, before = (next(row for row in found[name].objects() if row["of_all"]) for name in ("now", "before"))
        known = [row["app_version"] for row in found["now"].objects() if not row["of_all"] and row["app_version"]]
        newest = max(known, key=version_order, default=None)
        on_newest = next((row for row in found["now"].objects() if newest and row["app_version"] == newest), None)
        href = lists.url("/sessions", version=newest) if newest else None
        share = on_newest["sessions"] / rows["sessions"] if on_newest and rows["sessions"] else None
        return Section(
            "totals",
            "At a glance",
            stats=[
                Stat("Versions in use", len(known), note=f"newest: {newest}" if newest else ""),
                Stat("Sessions", rows["sessions"], "count", before["sessions"], href=lists.url("/sessions")),
                Stat("Users", rows["users"], "count", before["users"]),
                Stat("Sessions on the newest version", share, "percent", href=href, note=newest or "none is told"),
            ],
        )

    def listed() -> Section:
        rows = [row for row in found["now"].objects() if not row["of_all"]]
        tables = [_version_table(lists, rows), _client_table(page, found["client"].objects())]
        return Section("versions", "Versions", tables=tables)

    return page.render(
        "reliability.html",
        TITLE,
        TABS,
        [
            part("totals", "At a glance", [found["now"], found["before"]], totals),
            part("versions", "Versions", [found["now"], found["client"]], listed),
        ],
        _short_of_hours(page, "Sessions"),
    )


def _in_use(filters: Filters) -> str:
    """FROM: the sessions of the range as `s`, with `x`: their errors in it."""
    errors = ("errors", "api_errors", "tool_failures", "internal_errors")
    sums = ", ".join(f"sum(h.{name})::BIGINT AS {name}" for name in errors)
    where = joined(["x.active", *filters.conditions("s", hours=False)])
    return (
        f"FROM (SELECT h.tenant, h.session_id, bool_or(h.active) AS active, {sums} FROM session_hours h "
        f"WHERE {usage.own_hours(filters)} GROUP BY h.tenant, h.session_id) x "
        f"JOIN sessions s ON s.tenant = x.tenant AND s.session_id = x.session_id WHERE {where}"
    )


def _versions(filters: Filters) -> str:
    counts = grouped(
        [(), ("app_version",)],
        {
            "sessions": "count(*)",
            "first": "min(start_time)",
            "last": "max(last_time)",
            "with_errors": "count(*) FILTER (errors > 0)",
            **{name: f"sum({name})::BIGINT" for name in ("api_errors", "tool_failures", "internal_errors")},
        },
        "used",
        users="tenant, user_key",
    )
    return (
        "WITH used AS MATERIALIZED (SELECT s.tenant, s.user_key, s.app_version, s.start_time, s.last_time, "
        f"x.errors, x.api_errors, x.tool_failures, x.internal_errors {_in_use(filters)}) "
        "SELECT *, part = 0 AS of_all, count(*) OVER () - 1 AS of FROM "
        f"({counts}) ORDER BY of_all DESC, sessions DESC LIMIT {_VERSIONS + 1}"
    )


def _clients(filters: Filters) -> str:
    return (
        "SELECT s.service_name, s.app_entrypoint, s.terminal_type, count(*) AS sessions, "
        "count(DISTINCT (s.tenant, s.user_key)) AS users, max(s.last_time) AS last, count(*) OVER () AS of "
        f"{_in_use(filters)} GROUP BY ALL ORDER BY sessions DESC LIMIT {ROWS}"
    )


def version_order(version: str | None) -> tuple[Any, ...]:
    """Sorts versions as people count them: 2.1.99 before 2.1.100, 2.2.0-beta before 2.2.0, none before all."""
    if version is None:
        return ()
    number, _, rest = version.partition("-")
    parts = [int(part) for part in re.findall(r"[0-9]{1,9}", number)]
    return (parts, rest == "", rest)


def _version_table(lists: Filters, rows: Sequence[Row]) -> Table:
    """lists: the filters of the sessions that its numbers lead to."""
    cells = []
    rows = sorted(rows, key=lambda row: version_order(row["app_version"]), reverse=True)
    for row in rows:
        version = row["app_version"]
        sessions = lists.link("/sessions", version=version)
        failing = lists.link("/sessions", version=version, only="errors") if row["with_errors"] else None
        cells.append(
            (
                told(row["app_version"], sessions),
                Cell(row["sessions"], sessions),
                Cell(row["users"]),
                Cell(row["first"]),
                Cell(row["last"]),
                Cell(row["with_errors"], failing),
                Cell(row["with_errors"] / row["sessions"]),
                Cell(row["api_errors"]),
                Cell(row["tool_failures"]),
                Cell(row["internal_errors"]),
            )
        )
    columns = (
        Column("Version"),
        Column("Sessions", "count"),
        Column("Users", "count"),
        Column("First seen", "time"),
        Column("Last seen", "time"),
        Column("With errors", "count"),
        Column("Share", "percent"),
        *(Column(name, "count") for name in ("API errors", "Tool failures", "Internal errors")),
    )
    note = "Sessions that were active in the time range, with their errors in it; first seen is of these sessions."
    empty = "No session in this time range. Choose a longer one; or see under Sources whether clients are sending."
    of, keys = there_are(rows), keyed(rows, "app_version")
    title = "Client versions, newest first"
    return Table("versions-in-use", title, columns, cells, empty, note, keys=keys, wide=True, of=of)


def _client_table(page: Figures, rows: Sequence[Row]) -> Table:
    cells = [
        (
            told(row["service_name"]),
            told(
                row["app_entrypoint"],
                page.filters.link("/reliability/versions", entrypoint=row["app_entrypoint"]),
            ),
            Cell(row["terminal_type"]),
            Cell(row["sessions"]),
            Cell(row["users"]),
            Cell(row["last"]),
        )
        for row in rows
    ]
    columns = (
        *map(Column, ("Program", "Entrypoint", "Terminal")),
        Column("Sessions", "count"),
        Column("Users", "count"),
        Column("Last seen", "time"),
    )
    empty = "No session in this time range."
    of, keys = there_are(rows), keyed(rows, "service_name", "app_entrypoint", "terminal_type")
    return Table("clients", "Kinds of client", columns, cells, empty, keys=keys, wide=True, of=of)


PAGES = (
    Page("/reliability", errors),
    Page("/reliability/latency", latency),
    Page("/reliability/versions", versions),
)
