"""A page of figures as it is asked for: its filters, what is chosen on it, its questions and the links on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from starlette.responses import Response

from console import events, shown
from console.ask import Answer, Visible
from console.charts import Chart
from console.errors import AskFault
from console.filters import FilterFault, Filters, exactly, page_number
from console.sections import Cell, Column, Section, Stat, Tab, Table
from console.web import Visit
from service.sql import literal

ROWS = 50
_TEXT_MAX = 256
_PAGES_MAX = 200

Row = Mapping[str, Any]


class Figures:
    """One request for such a page."""

    def __init__(self, visit: Visit, visible: Visible, path: str, choices: Mapping[str, str] | None = None) -> None:
        """choices: parameters of the URL that choose what lists show → what they are called. Raises: FilterFault."""
        self.visit = visit
        self.visible = visible
        self.path = path
        self.filters = visit.filters
        self._choices = choices or {}
        self.chosen = {name: value for name in self._choices if (value := _text(visit, name))}
        self.page = _page(visit)
        self._emails: dict[tuple[str, str], str] = {}

    def sees(self, *columns: str, table: str = "events") -> bool:
        """Whether the person may see these columns."""
        return self.visible.has(table, *columns)

    async def ask(self, **questions: str | None) -> dict[str, Any]:
        """Answers, or the fault in the place of one; and who the people in them are.  None: not asked, no rows."""
        asked = {name: self.visit.ask(sql) for name, sql in questions.items() if sql is not None}
        found = {name: Answer((), [], False) for name, sql in questions.items() if sql is None}
        found |= await self.visit.panels(**asked)
        rows = [one.objects() for one in found.values() if isinstance(one, Answer) and "user_key" in one.columns]
        with contextlib.suppress(AskFault):  # then their keys are shown; the parts themselves say what is wrong
            self._emails |= await events.emails(self.visit, *rows)
        return found

    def url(self, anchor: str = "", **changes: str | None) -> str:
        """This page with other filters or choices; a change goes back to the first rows."""
        url = self.filters.url(self.path, **{**self.chosen, **changes})
        return f"{url}#{anchor}" if anchor else url

    def choose(self, anchor: str, **choices: str | None) -> str:
        """This page with exactly these choices."""
        return self.url(anchor, **{**dict.fromkeys(self._choices), **choices})

    def behind(self, anchor: str, **values: Any) -> str | None:
        """The list of exactly the rows with these values, of which None is one.  None: no address can say them."""
        said = exactly({name: None if value is None else str(value) for name, value in values.items()})
        return None if said is None else self.choose(anchor, **said)

    def narrowed(self, columns: Mapping[str, str]) -> list[str]:
        """Conditions: what is chosen of these.  columns: choice → what of an event it is the value of."""
        return [events.is_value(column, self.chosen[name]) for name, column in columns.items() if name in self.chosen]

    def chips(self, anchor: str, names: Collection[str] | None = None) -> list[tuple[str, str]]:
        """What is chosen, or what of these, each with the URL without it."""
        return [
            (f"{self._choices[name]}: {value}", self.url(anchor, **{name: None}))
            for name, value in self.chosen.items()
            if names is None or name in names
        ]

    def user(self, row: Row) -> Cell:
        """Who it was, as a link to all of this page about them."""
        key = row["user_key"]
        if key is None:
            return Cell("nobody named")
        return Cell(self._emails.get((row["tenant"], key)) or shown.short(key), self.url(user=key))

    @property
    def limit(self) -> str:
        """LIMIT and OFFSET of the page of a list, one row more than is shown."""
        return f"LIMIT {ROWS + 1} OFFSET {self.page * ROWS}"

    def latest(self, columns: str, *more: str, most: int | None = None) -> str:
        """SELECT the events of the page of a list, one row more than is shown; or the first ones. See events.latest."""
        if most is not None:
            return events.latest(self.filters, columns, *more, rows=most)
        return events.latest(self.filters, columns, *more, rows=ROWS + 1, skip=self.page * ROWS)

    def listing(
        self,
        id_: str,
        title: str,
        columns: Sequence[Column],
        found: Sequence[Row],
        cells: Callable[[Row], Sequence[Cell]],
        *,
        empty: str,
        tall: bool = True,
        paged: bool = True,
    ) -> Table:
        """A list of events; its question is `latest`.  paged: the one of a page that the page's number is about."""
        more, last = len(found) > ROWS, not paged or self.page == _PAGES_MAX
        older = self.url(id_, page=str(self.page + 1)) if more and not last else None
        newer = self.url(id_, page=str(self.page - 1) if self.page > 1 else None) if paged and self.page else None
        rows = [[Cell(row["happened"], events.session_url(row, self.filters)), *cells(row)] for row in found[:ROWS]]
        keys = keyed(found[:ROWS], "event_id")
        headed = (Column("When", "time"), *columns)
        note = "What is older is not listed. Choose a shorter time range." if more and last else ""
        return Table(id_, title, headed, rows, empty, note, older, newer, wide=True, tall=tall, keys=keys)

    def render(
        self, template: str, title: str, tabs: Sequence[Tab], sections: Sequence[Section], *notes: str
    ) -> Response:
        """The page."""
        return self.visit.render(
            template,
            title=title,
            area=title,
            tabs=[one for one in tabs if one.sees is None or self.sees(table=one.sees)],
            shown=sections,
            notes=[note for note in notes if note],
            keep=self.chosen,
        )


async def figures(visit: Visit, path: str, **choices: str) -> Figures:
    """For a handler. Raises: FilterFault, AskFault."""
    return Figures(visit, await visit.visible(), path, choices)


def part(id_: str, title: str, answers: Sequence[Any], build: Callable[[], Section]) -> Section:
    """A section of these answers, or the fault of one of them."""
    fault = next((one for one in answers if isinstance(one, AskFault)), None)
    return build() if fault is None else Section(id_, title, fault=fault)


def drilled(chart: Chart, filters: Filters, path: str, anchor: str = "", **choices: str) -> Chart:
    """A chart over the time of these filters whose bars, and the rows of its table, lead to their own time alone.

    Args: choices: of the page that they lead to.
    """
    starts = [*filters.buckets(), filters.end]
    spans = [(max(start, filters.start), min(end, filters.end)) for start, end in pairwise(starts)]
    urls = [replace(filters, start=start, end=end, preset=None).url(path, **choices) for start, end in spans]
    return replace(chart, links=[f"{url}#{anchor}" if anchor else url for url in urls])


def counted(since: str, source: str, **conditions: str) -> str:
    """How many events of each kind the range has (NAME) and the period before it (NAME_before), as one row.

    Each condition is asked once of an event, which takes half as long as an aggregate for each.

    Args: since: condition that an event is of the range.  source: FROM and WHERE.
    """
    asked = ", ".join(f"{condition} AS {name}" for name, condition in conditions.items())
    sums = ", ".join(
        f"coalesce(sum(n) FILTER ({name} AND now), 0)::BIGINT AS {name}, "
        f"coalesce(sum(n) FILTER ({name} AND NOT now), 0)::BIGINT AS {name}_before"
        for name in conditions
    )
    return f"SELECT {sums} FROM (SELECT {asked}, {since} AS now, count(*) AS n {source} GROUP BY ALL)"


def there_are(rows: Sequence[Row]) -> int:
    """How many rows there are, of which these are the first: what `count(*) OVER () AS of` told."""
    return rows[0]["of"] if rows else 0


def keyed(rows: Sequence[Row], *columns: str) -> list[tuple[Any, ...]]:
    """What tells each row from the others: its values in the columns that it is one of."""
    return [tuple(row[column] for column in columns) for row in rows]


def hidden(what: str, columns: str) -> str:
    """What to say where a role hides something."""
    return (
        f"Your role does not show {what} ({columns}). The counts are complete; "
        "an admin can give you a role that shows it, such as analyst or security."
    )


def total(title: str, row: Row, name: str, unit: str = "count", **more: Any) -> Stat:
    """A total of `counted`, beside the one of the period before."""
    return Stat(title, row[name], unit, row[f"{name}_before"], **more)


def outcome(success: bool | None) -> Cell:
    """Whether something went well."""
    if success is None:
        return Cell("unknown")
    return Cell("done", tone="good") if success else Cell("failed", tone="bad")


def told(value: Any, href: str | None = None) -> Cell:
    """A name that the client, or a role, may hold back."""
    return Cell(shown.NOT_TOLD if value is None else value, href)


def chosen_from(name: str, value: str, known: Collection[str]) -> str:
    """A choice out of a fixed list. Raises: FilterFault."""
    if value not in known:
        raise FilterFault(f"there is no {name} {value[:40]!r}; there are {', '.join(known)}")
    return value


def yes(column: str) -> str:
    """In SQL: yes, no, or null, of a boolean."""
    return f"CASE WHEN {column} THEN {literal('yes')} WHEN NOT {column} THEN {literal('no')} END"


def _text(visit: Visit, name: str) -> str:
    value = visit.request.query_params.get(name, "").strip()
    if len(value) > _TEXT_MAX or "\0" in value:
        raise FilterFault(f"{name} is longer than {_TEXT_MAX} characters, or not a text")
    return value


def _page(visit: Visit) -> int:
    text = visit.request.query_params.get("page", "0")
    return page_number(text, first=0, most=_PAGES_MAX, cure="choose a shorter time range")
