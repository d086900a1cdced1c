"""A figure of a page, asked three times: read from the page, asked of SQL in words of its own, and counted from the
requests with nothing of the product (truth.py); and where the three differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from console import shown
from tests.console.proof.reading import Said
from tests.console.proof.truth import DAY_US, Record, Row, Truth, grouped, within
from tests.e2e.truth import micros

RARE = "rare"
TENANTS = ("captures", "local", RARE)
# For what depends on how long ago something was: the fleet works right now.
OVER = ("captures", RARE)
Sql = Callable[[str], list[Row]]


@dataclass(frozen=True)
class Figure:
    """Something on a page.

    of: "tiles", or the name of a table or a chart; "TABLE × COLUMN": of a table, each cell by that column.
    sql: asks for its rows of a {tenant}, under the titles that they have on the page; "": nothing in SQL says so.
    truth: counts them.  units: of columns that are no text and no count.  tenants: who can tell of it.
    """

    of: str
    sql: str
    truth: Callable[[Truth], list[Row]]
    units: Mapping[str, str] = field(default_factory=dict)
    tenants: Sequence[str] = TENANTS


def text(value: Any, unit: str | None) -> str:
    """As it is shown."""
    match unit:
        case "told":
            return "(not told)" if value is None else str(value)
        case "none":
            return "(none)" if value is None else str(value)
        case "time":
            if value is None:
                return "–"
            at = datetime.fromtimestamp(value / 1e6, UTC) if isinstance(value, int) else datetime.fromisoformat(value)
            return f"{at:%Y-%m-%d %H:%M:%S} UTC"
        case "price":
            return "not found" if value is None else shown.usd(value)
        case "lines":
            return "–" if value is None else f"+{shown.count(value[0])} −{shown.count(value[1])}"
        case "tenth":
            return f"{value:.1f}"
        case str():
            return shown.by_unit(value, unit)
    if isinstance(value, float):
        assert value == int(value), f"{value} has no unit"
    return value if isinstance(value, str) else shown.count(value)


def plain(value: Any, unit: str | None) -> Any:
    """For comparing SQL's with the truth's."""
    return micros(value) if unit == "time" and isinstance(value, str) else value


def ordered(rows: Iterable[Row]) -> list[Row]:
    """By what is exact in them first."""
    return sorted(rows, key=lambda row: sorted(_place(*cell) for cell in row.items()))


def _place(name: str, value: Any) -> tuple[bool, str, str]:
    whole = isinstance(value, float) and value == int(value)
    return isinstance(value, float) and not whole, name, str(int(value) if whole else value)


def same(left: Any, right: Any) -> bool:
    """But for how a computer adds."""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)
    if isinstance(left, list) and isinstance(right, list):
        return all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return bool(left == right)


def unlike(left: list[Row], right: list[Row]) -> list[tuple[Row | None, Row | None]]:
    """The rows that differ."""
    pairs = list(zip(ordered(left), ordered(right), strict=False))
    out: list[tuple[Row | None, Row | None]] = [
        (a, b) for a, b in pairs if a.keys() != b.keys() or not all(same(a[name], b[name]) for name in a)
    ]
    return out + [(a, None) for a in ordered(left)[len(pairs) :]] + [(None, b) for b in ordered(right)[len(pairs) :]]


def rows_of(page: Said, of: str, columns: Iterable[str], series: Container[object]) -> list[Row]:
    """What a page says there, in these columns.

    Args: of: as of a figure; of each cell, if it says something, and if its column is in series.
    """
    table, _, by = of.partition(" × ")
    if of == "tiles":
        found: list[Row] = [dict(page.tiles)]
    elif by:
        cells = [
            (row[by], title, said)
            for row in page.tables.get(table, [])
            for title, said in row.items()
            if title in series
        ]
        found = [{"at": at, "series": title, "value": said} for at, title, said in cells if said not in ("–", "0")]
    else:
        found = page.charts.get(of) or page.tables.get(of, [])
    return [{column: row[column] for column in columns} for row in found]


def faults(page: Said, sql: Sql, told: Truth, figure: Figure, **names: str) -> list[tuple[Any, ...]]:
    """Where page and SQL, and SQL and the truth, differ."""
    counted = figure.truth(told)
    stored = sql(figure.sql.format(**names)) if figure.sql else counted
    columns = list((counted or stored or [{}])[0])
    units = {column: figure.units.get(column) for column in columns}
    on_page = rows_of(page, figure.of, columns, {row.get("series") for row in counted})
    if figure.of in page.charts:
        drawn = [{name: plain(value, units[name]) for name, value in row.items()} for row in on_page]
        as_stored = [{name: plain(row[name], units[name]) for name in columns} for row in stored]
    else:
        drawn = on_page
        as_stored = [{name: text(row[name], units[name]) for name in columns} for row in stored]
    as_counted = [{name: plain(row[name], units[name]) for name in columns} for row in stored]
    shown_so = [("page", "SQL", *pair) for pair in unlike(drawn, as_stored)]
    return shown_so + [("SQL", "truth", *pair) for pair in unlike(as_counted, counted)]


# What is asked for more than once

PEOPLE = "left join people p on p.tenant = e.tenant and p.user_key = e.user_key"
EVENTS = f"from events e {PEOPLE} where e.tenant = '{{tenant}}' and"
USER = "case when e.user_key is null then 'nobody named' else coalesce(p.user_email, left(e.user_key, 11) || '…') end"
USERS = "count(distinct e.user_key)"
LAST = "max(e.event_time)"
DAY = "date_trunc('day', e.event_time)"
NO_SUCCESS = "count(*) filter (not e.success)"
P95 = {"95 % within": "ms"}


def quantile_sql(column: str, part: float) -> str:
    return f"quantile_cont(e.{column}, {part})"


def count(condition: str) -> str:
    return f"count(*) filter ({condition})"


def day(one: Record) -> int:
    return one.at // DAY_US * DAY_US


def failed(rows: list[Record]) -> int:
    return sum(one.failed for one in rows)


def said(name: str) -> Callable[[Record], str | None]:
    return lambda one: one[name]


def always(value: str) -> Callable[[Record], str]:
    return lambda _: value


def summed(name: str) -> Callable[[list[Record]], float]:
    """Of what each says."""
    return lambda rows: sum(float(one.said[name]) for one in rows)


def quantile(name: str, part: float) -> Callable[[list[Record]], float | None]:
    return lambda rows: within((one.number(name) for one in rows), part)


def that(rows: Iterable[Record], **values: str) -> list[Record]:
    """Those that say so; _ for a dot."""
    return [one for one in rows if all(one[name] == value for name, value in values.items())]


def n(rows: Iterable[Record], **values: str) -> int:
    return len(that(rows, **values))


def over_days(series: Mapping[str, Iterable[Record]]) -> list[Row]:
    rows = [(name, one) for name, some in series.items() for one in some]
    return grouped(rows, {"at": lambda one: day(one[1]), "series": lambda one: one[0]}, {"value": len})
