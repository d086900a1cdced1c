"""The SQL page: questions of one's own, in the roles that one has everywhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

import orjson
from starlette.responses import Response

from console.ask import ANSWER_BYTES_MAX, Answer, moment
from console.charts import Chart, Series
from console.download import csv_file, json_file, lines
from console.errors import AskFault
from console.questions import QUESTIONS
from console.there import while_there
from console.web import Page, Visit

ROW_LIMITS = (100, 1000, 5000)
_LIMIT = ROW_LIMITS[0]
_FILE_ROWS_MAX = 100_000
# The service itself ends a query before, as it is set by default, and then says so; this only keeps a page from waiting
# for good.
_TIMEOUT_S = 40.0
_SQL_MAX = 100_000
# What all servers and proxies take as an address.
_SHARED_MAX = 6000
_CELL_MAX = 2000
_POINTS_MAX = 500
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
# As the service writes a time; a finer one would lose digits.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_MIDNIGHT = datetime.min.time()


@dataclass(frozen=True)
class Cell:
    """A value as the table shows it.  kind: of it; day: of UTC; cut: characters that are left out."""

    kind: Literal["null", "number", "bool", "time", "day", "text", "json"]
    text: str
    cut: int = 0


@dataclass(frozen=True)
class Result:
    """What came of a query.

    numeric: of each column, whether all its values are numbers.  chart: if there is one; along the column x.
    data: what it may be drawn of instead.
    """

    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Cell]]
    truncated: bool
    seconds: float
    chart: Chart | None
    x: str
    data: Mapping[str, Any]

    @property
    def numbers(self) -> list[str]:
        """The columns that have a height."""
        return [name for name, number in zip(self.columns, self.numeric, strict=True) if number]


@dataclass(frozen=True)
class Limits:
    """What ends a query of this page, the service's own limits or the page's.

    seconds, answer_mib: of one query.  running: at once, of all who ask.  waiting: beyond those.
    """

    seconds: float
    answer_mib: float
    running: int
    waiting: int


@dataclass(frozen=True)
class Choice:
    """What a chart is drawn of: columns by name; empty: whatever suits."""

    x: str = ""
    y: str = ""
    kind: str = ""


async def editor(visit: Visit) -> Response:
    """The page; the SQL of its address is shown and not run, as a link must not read in someone's name."""
    query = visit.request.query_params
    return await _page(visit, _clean(query.get("q", "")), _limit(query.get("limit")), _choice(query))


async def run(visit: Visit) -> Response:
    """The page with the answer of a query."""
    sql, limit, choice = _clean(_said(visit, "q")), _limit(_said(visit, "limit")), _choice(visit.form)
    began = time.perf_counter()
    try:
        with visit.console.asking.taken(visit.person.id):
            answer = await while_there(visit.request, visit.ask_now(_checked(sql), limit=limit, timeout_s=_TIMEOUT_S))
    except AskFault as fault:
        return await _page(visit, sql, limit, choice, fault=fault)
    return await _page(visit, sql, limit, choice, result=shown(answer, time.perf_counter() - began, choice))


async def as_csv(visit: Visit) -> Response:
    """The answer as a file; the query is asked again, without the page's limit. Its last line says what it lacks."""
    return await _download(visit, _csv)


async def as_json(visit: Visit) -> Response:
    """The same as JSON, which has no place to say that it lacks something: more than a file holds is refused."""
    return await _download(visit, _json)


def shown(answer: Answer, seconds: float, choice: Choice) -> Result:
    """An answer as the page shows it."""
    columns = answer.columns
    numeric = [_numeric([row[place] for row in answer.rows]) for place in range(len(columns))]
    x, chart = _chart(answer, numeric, choice)
    data: dict[str, Any] = {}
    if chart is not None:
        drawn = answer.rows[:_POINTS_MAX]
        buckets = [_bucket([row[place] for row in drawn]) for place in range(len(columns))]
        data = {"columns": columns, "buckets": buckets, "rows": [[_scalar(value) for value in row] for row in drawn]}
    days = [_bucket([row[place] for row in answer.rows if row[place] is not None]) for place in range(len(columns))]
    cells = [[cell(value, day=of == "day") for value, of in zip(row, days, strict=True)] for row in answer.rows]
    return Result(columns, numeric, cells, answer.truncated, seconds, chart, x, data)


def cell(value: Any, *, day: bool = False) -> Cell:
    """A JSON value for a table.  day: a time in it is shown as the day of UTC that it begins."""
    if value is None:
        return Cell("null", "null")
    if isinstance(value, bool):
        return Cell("bool", "true" if value else "false")
    if isinstance(value, int | float):
        return Cell("number", str(value))
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if _time(value) is not None:
        return Cell("day" if day else "time", value)
    kind: Literal["text", "json"] = "text" if isinstance(value, str) else "json"
    return Cell(kind, text[:_CELL_MAX], max(0, len(text) - _CELL_MAX))


def limits_of(said: Mapping[str, Any]) -> Limits | None:
    """As the service says them of itself; None: it does not."""
    try:
        return Limits(
            min(said["seconds"], _TIMEOUT_S),
            min(said["bytes_max"], ANSWER_BYTES_MAX) / (1 << 20),
            said["running"],
            said["waiting"],
        )
    except KeyError:
        return None


def quoted(name: str) -> str:
    """A column's name as it stands in SQL."""
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def excerpt(sql: str, fault: AskFault) -> str:
    """The line of a fault with a mark below it; empty where it has none."""
    lines = sql.split("\n")
    if fault.line is None or fault.column is None or not 1 <= fault.line <= len(lines):
        return ""
    line, column = lines[fault.line - 1], max(1, fault.column)
    start = max(0, column - 60)
    head = f"{fault.line}: "
    return f"{head}{line[start : column + 60]}\n{' ' * (len(head) + column - 1 - start)}^"


async def _page(
    visit: Visit,
    sql: str,
    limit: int,
    choice: Choice,
    *,
    status: int = 200,
    result: Result | None = None,
    fault: AskFault | None = None,
) -> Response:
    found = await visit.panels(visible=visit.visible())
    visible = found["visible"]
    # A question that is too long for an address cannot be shared; it can be run all the same.
    query = urlencode({"q": sql, **({"limit": str(limit)} if limit != _LIMIT else {})}) if sql else ""
    return visit.render(
        "sql.html",
        status=status,
        sql=sql,
        limit=limit,
        row_limits=ROW_LIMITS,
        limits=None if isinstance(visible, AskFault) else limits_of(visible.limits),
        choice=choice,
        result=result,
        fault=fault,
        excerpt=excerpt(sql, fault) if fault is not None else "",
        share=f"/sql?{query}" if 0 < len(query) <= _SHARED_MAX else "",
        tables=visible if isinstance(visible, AskFault) else visible.listed,
        questions=[(one.title, f"/sql?{urlencode({'q': one.sql})}") for one in QUESTIONS],
        quoted=quoted,
        file_rows=_FILE_ROWS_MAX,
    )


async def _download(visit: Visit, file: Callable[[Answer], Response]) -> Response:
    sql = _clean(_said(visit, "q"))
    try:
        with visit.console.asking.taken(visit.person.id):
            answer = await visit.ask_now(_checked(sql), limit=_FILE_ROWS_MAX, timeout_s=_TIMEOUT_S)
        return file(answer)
    except AskFault as fault:
        return await _page(visit, sql, _LIMIT, Choice(), status=400, fault=fault)


def _csv(answer: Answer) -> Response:
    return csv_file("query", answer.columns, lines(answer))


def _json(answer: Answer) -> Response:
    if answer.truncated:
        raise AskFault(
            f"a JSON file holds {len(answer.rows):,} of these rows and could not say that there are more; ask for "
            "fewer with WHERE or LIMIT, or take CSV, whose last line says it",
            reason="too_large",
            status=413,
        )
    return json_file("query", answer.columns, answer.rows)


def _said(visit: Visit, name: str) -> str:
    value = visit.form.get(name)
    return value if isinstance(value, str) else ""


def _clean(sql: str) -> str:
    """As it was typed: forms send lines with \\r\\n."""
    return sql.replace("\r\n", "\n").replace("\r", "\n")[: _SQL_MAX + 1]


def _checked(sql: str) -> str:
    if not sql.strip():
        raise AskFault("write a query first, or take one of the examples", reason="empty", status=400)
    if len(sql) > _SQL_MAX:
        raise AskFault(f"the query is longer than {_SQL_MAX:,} characters", reason="too_large", status=413)
    return sql


def _limit(text: str | None) -> int:
    return next((limit for limit in ROW_LIMITS if str(limit) == text), _LIMIT)


def _choice(said: Mapping[str, Any]) -> Choice:
    x, y, kind = (str(said.get(name) or "") for name in ("x", "y", "kind"))
    return Choice(x, y, kind if kind in ("bars", "lines") else "")


def _numeric(values: Sequence[Any]) -> bool:
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)


def _time(value: Any) -> datetime | None:
    """A value that is a time; a text that only looks like one (of a month 13, say, or of finer digits) is a text."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return moment(value)
    except ValueError:
        return None


def _bucket(values: Sequence[Any]) -> Literal["day", "hour"] | None:
    """What a column of times is drawn and shown by: days, if each begins one of UTC.  None: not all of it are times."""
    times = [found for value in values if (found := _time(value)) is not None]
    if len(times) < len(values):
        return None
    return "day" if all(one.time() == _MIDNIGHT for one in times) else "hour"


def _scalar(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else cell(value).text[:100]


def _chart(answer: Answer, numeric: Sequence[bool], choice: Choice) -> tuple[str, Chart | None]:
    """The column along which it is drawn, and the chart.

    By the columns that were chosen, else by the first name or time and the first number beside it.
    """
    names = answer.columns
    numbers = [name for name, number in zip(names, numeric, strict=True) if number]
    if len(answer.rows) < 2 or len(names) < 2 or not numbers:
        return "", None
    others = [name for name in names if name not in numbers]
    x = choice.x if choice.x in names else (others or [name for name in names if name != numbers[-1]])[0]
    y = choice.y if choice.y in numbers else next((name for name in numbers if name != x), numbers[0])
    at, of = names.index(x), names.index(y)
    rows = answer.rows[:_POINTS_MAX]
    bucket = _bucket([row[at] for row in rows])
    points = [(_scalar(row[at]), row[of]) for row in rows]
    if bucket is not None:
        points.sort(key=lambda point: str(point[0]))
    kind: Literal["bars", "lines"] = "lines" if choice.kind == "lines" or (bucket and not choice.kind) else "bars"
    labels = ["null" if label is None else str(label) for label, _ in points]
    series = [Series(y, [value for _, value in points])]
    times = bucket is not None
    return x, Chart(f"{y} by {x}", kind, "count", labels, series, times=times, bucket=bucket or "hour")


PAGES = (
    Page("/sql", editor),
    Page("/sql", run, changes=True),
    Page("/sql/csv", as_csv, changes=True, file=True),
    Page("/sql/json", as_json, changes=True, file=True),
)
