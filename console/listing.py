"""The list of sessions as a value: its columns and filters, from a URL into SQL and back; see pages/sessions.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from starlette.datastructures import QueryParams

from console.ask import Visible, moment
from console.filters import NONE, FilterFault, Filters, joined, literal, page_number, shown_dimensions, timestamp

PAGE_ROWS = 50
# What OFFSET may skip: the store sorts all that it skips.
PAGES_MAX = 2000
_CHOICES_MAX = 200
_TEXT_MAX = 256
# A client sends its events every few seconds, and nobody calls a pause of half an hour work.
OPEN_FOR, IDLE_FOR = timedelta(minutes=5), timedelta(minutes=30)
_SEARCHED = ("user_email", "team", "department", "cost_center", "model", "app_version", "terminal_type", "service_name")

Kind = Literal["start", "time", "user", "text", "id", "outcome", "usd", "count", "tokens", "seconds", "errors"]


@dataclass(frozen=True)
class Column:
    """One of the list.

    name: of the URL.  needs: the columns of `sessions` that it is made of.  sql: its value; None: the one it needs.
    """

    name: str
    label: str
    kind: Kind
    needs: tuple[str, ...]
    sql: str | None = None
    hint: str = ""

    @property
    def value(self) -> str:
        """In SQL, over the alias s."""
        return self.sql or f"s.{self.needs[0]}"

    @property
    def number(self) -> bool:
        """Whether it stands at the right."""
        return self.kind in ("usd", "count", "tokens", "seconds", "errors")


_FAILED = ("retries_exhausted", "internal_errors")
_TOKENS, _CACHE = ("input_tokens", "output_tokens"), ("cache_read_tokens", "cache_creation_tokens")
COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        one.name: one
        for one in (
            Column("start", "Start time", "start", ("start_time",)),
            Column("user", "User", "user", ("user_key",)),
            Column("model", "Model", "text", ("model",), hint="the one with the most cost"),
            Column("prompts", "Prompts", "count", ("prompts",)),
            Column("duration", "Duration", "seconds", ("duration_s",), hint="wall clock, from first to last event"),
            Column("cost", "Cost", "usd", ("spend_usd",), hint="estimated by the client"),
            Column("tools", "Tools", "count", ("tools",), hint="tool calls that ended"),
            Column("tokens", "Tokens", "tokens", _TOKENS, "s.input_tokens + s.output_tokens", "input and output"),
            Column("errors", "Errors", "errors", ("errors",), hint="of the API, of tools and inside the client"),
            Column("team", "Team", "text", ("team",)),
            Column("department", "Department", "text", ("department",)),
            Column("cost_center", "Cost center", "text", ("cost_center",)),
            Column("version", "Version", "text", ("app_version",)),
            Column("entrypoint", "Entrypoint", "text", ("app_entrypoint",)),
            Column("terminal", "Terminal", "text", ("terminal_type",)),
            Column("outcome", "Outcome", "outcome", ("last_time", *_FAILED), "s.last_time"),
            Column("refusals", "Refusals", "count", ("refusals",)),
            Column("mode", "Permission mode", "text", ("permission_mode",)),
            Column("lines_added", "Lines added", "count", ("lines_added",)),
            Column("lines_removed", "Lines removed", "count", ("lines_removed",)),
            Column("commits", "Commits", "count", ("commits",)),
            Column("pull_requests", "Pull requests", "count", ("pull_requests",)),
            Column(
                "cache_tokens", "Cache tokens", "tokens", _CACHE, "s.cache_read_tokens + s.cache_creation_tokens",
                "read and written",
            ),
            Column("active", "Active time", "seconds", ("active_user_s",), hint="of the user, from metrics"),
            Column("requests", "API requests", "count", ("api_requests",)),
            Column("accepts", "Accepted", "count", ("accepts",), hint="permission decisions"),
            Column("rejects", "Rejected", "count", ("rejects",), hint="permission decisions"),
            Column("gaps", "Gaps", "count", ("sequence_gaps",), hint="events that never arrived"),
            Column("resends", "Re-sends", "count", ("resends",), hint="records that came again, counted once"),
            Column("compactions", "Compactions", "count", ("compactions",)),
            Column("subagents", "Subagents", "count", ("subagents",)),
            Column("last", "Last event", "time", ("last_time",)),
            Column("tenant", "Tenant", "text", ("tenant",)),
            Column("session", "Session", "id", ("session_id",)),
        )
    }
)  # fmt: skip
DEFAULT_COLUMNS = ("start", "user", "model", "prompts", "duration", "cost", "tools", "tokens", "errors")
DEFAULT_SORT = "-start"
# name of the URL → words, condition on `sessions` s, the columns it needs
ONLY: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "errors": ("with errors", "s.errors > 0", ("errors",)),
        "refusals": ("with refusals", "s.refusals > 0", ("refusals",)),
        "failed": (
            "failed",
            "(s.retries_exhausted > 0 OR s.internal_errors > 0)",
            _FAILED,
        ),
        "retries_exhausted": ("given up after retries", "s.retries_exhausted > 0", ("retries_exhausted",)),
        "api_errors": ("with API errors", "s.api_errors > 0", ("api_errors",)),
        "tool_failures": ("with failed tools", "s.tool_failures > 0", ("tool_failures",)),
        "internal_errors": ("with internal errors", "s.internal_errors > 0", ("internal_errors",)),
        "rejects": ("with rejected tools", "s.rejects > 0", ("rejects",)),
        "commits": ("with commits", "s.commits > 0", ("commits",)),
        "pull_requests": ("with pull requests", "s.pull_requests > 0", ("pull_requests",)),
        "compactions": ("with compactions", "s.compactions > 0", ("compactions",)),
        "subagents": ("with subagents", "s.subagents > 0", ("subagents",)),
        "gaps": ("with gaps", "s.sequence_gaps > 0", ("sequence_gaps",)),
        "resends": ("with re-sends", "s.resends > 0", ("resends",)),
        "late": ("with late events", "s.late > 0", ("late",)),
    }
)
OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "open": "open: an event in the last 5 minutes",
        "idle": "idle: none for 5 to 30 minutes",
        "closed": "closed: none for 30 minutes",
        "failed": "failed: retries exhausted, or an internal error",
    }
)


@dataclass(frozen=True)
class Listing:
    """What the list is asked for, besides range and filters."""

    filters: Filters
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    sort: str = DEFAULT_SORT
    page: int = 1
    q: str = ""
    outcome: str = ""
    mode: str = ""
    only: tuple[str, ...] = ()

    @property
    def sorted_by(self) -> str:
        """The column's name."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Whether the highest come first."""
        return self.sort.startswith("-")

    @cached_property
    def said(self) -> dict[str, str]:
        """Its own parameters of a URL, without what is the default."""
        found = {
            "columns": "" if self.columns == DEFAULT_COLUMNS else ",".join(self.columns),
            "sort": "" if self.sort == DEFAULT_SORT else self.sort,
            "q": self.q,
            "outcome": self.outcome,
            "mode": self.mode,
            "only": ",".join(self.only),
            "page": "" if self.page == 1 else str(self.page),
        }
        return {name: value for name, value in found.items() if value}

    @property
    def kept(self) -> dict[str, str]:
        """What another time range or filter keeps: all but the page."""
        return {name: value for name, value in self.said.items() if name != "page"}

    def query(self, **changes: str | None) -> str:
        """As the query of a URL; another list begins at its first page."""
        said: dict[str, str | None] = {**self.kept, **changes}
        return self.filters.query(**said)

    def url(self, /, path: str = "/sessions", **changes: str | None) -> str:
        """A page with this list's parameters."""
        query = self.query(**changes)
        return f"{path}?{query}" if query else path

    def sort_url(self, column: str) -> str:
        """The list sorted by a column; by the one it is sorted by: the other way round."""
        first = (
            f"-{column}" if COLUMNS[column].number or COLUMNS[column].kind in ("start", "time", "outcome") else column
        )
        second = column if first.startswith("-") else f"-{column}"
        sort = second if self.sort == first else first
        return self.url(sort=None if sort == DEFAULT_SORT else sort)

    def without(self, one: str) -> str:
        """The list without one of its `only`."""
        return self.url(only=",".join(name for name in self.only if name != one) or None)


def listing(query: QueryParams, filters: Filters) -> Listing:
    """Of the query of a URL. Raises: FilterFault."""

    def many(name: str) -> list[str]:
        said = [one.strip() for text in query.getlist(name) for one in text.split(",")]
        return list(dict.fromkeys(one for one in said if one))

    columns = tuple(one for one in many("columns") if one in COLUMNS) or DEFAULT_COLUMNS
    found = Listing(
        filters,
        columns,
        query.get("sort", "") or DEFAULT_SORT,
        page_number(query.get("page", "1"), first=1, most=PAGES_MAX, cure="filter or sort to get to what lies behind"),
        q=_text(query.get("q", ""), "q"),
        outcome=query.get("outcome", ""),
        mode=_text(query.get("mode", ""), "mode"),
        only=tuple(many("only")),
    )
    if found.sorted_by not in COLUMNS:
        raise FilterFault(f"there is no column {found.sorted_by[:40]!r} to sort by; there are {', '.join(COLUMNS)}")
    if found.outcome and found.outcome not in OUTCOMES:
        raise FilterFault(f"there is no outcome {found.outcome[:40]!r}; there are {', '.join(OUTCOMES)}")
    if unknown := [one for one in found.only if one not in ONLY]:
        raise FilterFault(f"only cannot be {unknown[0][:40]!r}; it can be {', '.join(ONLY)}")
    return found


def state(last_time: str | None, now: datetime) -> str:
    """open, idle or closed."""
    last = moment(last_time)
    if last is None:
        return "closed"
    since = now - last
    return "open" if since <= OPEN_FOR else "idle" if since <= IDLE_FOR else "closed"


def shown(visible: Visible, asked: Listing) -> list[Column]:
    return [COLUMNS[name] for name in asked.columns if visible.has("sessions", *COLUMNS[name].needs)]


def rows_sql(asked: Listing, shown: Sequence[Column], visible: Visible, where: str, *, rows: int = PAGE_ROWS) -> str:
    by = COLUMNS[asked.sorted_by]
    if not visible.has("sessions", *by.needs):
        by = COLUMNS["start"]
    order = "coalesce(s.user_email, s.user_key)" if by.name == "user" and emails(visible) else by.value
    values = {one.name: one.value for one in shown if one.kind != "outcome"}
    values |= {"session_id": "s.session_id", "tenant": "s.tenant", "last_time": "s.last_time", "start": "s.start_time"}
    if emails(visible):
        values["user_email"] = "s.user_email"
    if visible.has("sessions", *ONLY["failed"][2]):
        values["failed"] = ONLY["failed"][1]
    values.setdefault("user", "s.user_key")
    selected = ", ".join(f"{sql} AS {name}" for name, sql in values.items())
    direction = "DESC" if asked.descending else "ASC"
    return (
        f"SELECT {selected} FROM sessions s WHERE {where} "
        f"ORDER BY {order} {direction} NULLS LAST, s.session_id, s.tenant "
        f"LIMIT {rows} OFFSET {(asked.page - 1) * PAGE_ROWS}"
    )


def sums_sql(visible: Visible, where: str) -> str:
    sums = [
        f"coalesce(sum({COLUMNS[name].value}), 0) AS {name}"
        for name in ("prompts", "cost", "tools", "tokens", "errors")
        if visible.has("sessions", *COLUMNS[name].needs)
    ]
    return f"SELECT {', '.join(['count(*) AS sessions', *sums])} FROM sessions s WHERE {where}"


def where(asked: Listing, visible: Visible, now: datetime) -> str:
    conditions = [_in_range(asked.filters), *asked.filters.conditions("s")]
    conditions += [ONLY[name][1] for name in asked.only]
    if asked.outcome:
        opened, idle = f"s.last_time >= {timestamp(now - OPEN_FOR)}", f"s.last_time >= {timestamp(now - IDLE_FOR)}"
        conditions.append(
            {
                "open": opened,
                "idle": f"{idle} AND NOT {opened}",
                "closed": f"NOT {idle}",
                "failed": ONLY["failed"][1],
            }[asked.outcome]
        )
    if asked.mode:
        conditions.append(
            "s.permission_mode IS NULL" if asked.mode == NONE else f"s.permission_mode = {literal(asked.mode)}"
        )
    if asked.q:
        conditions.append(_search(asked.q, visible))
    return joined(conditions)


def _in_range(filters: Filters) -> str:
    return f"NOT s.ghost AND s.start_time < {timestamp(filters.end)} AND s.last_time >= {timestamp(filters.start)}"


def _search(text: str, visible: Visible) -> str:
    low = literal(text.lower())
    ways = [f"starts_with(lower(s.session_id), {low})", f"starts_with(s.user_key, {low})"]
    ways += [f"contains(lower(s.{one}), {low})" for one in _SEARCHED if visible.has("sessions", one)]
    return f"({' OR '.join(ways)})"


def choices_sql(filters: Filters, visible: Visible) -> str:
    """The values that occur in the range, the most frequent ones, of every dimension and of the mode."""
    of = {one.name: one.column for one in shown_dimensions(visible)}
    if visible.has("sessions", "permission_mode"):
        of["mode"] = "permission_mode"
    label = "any_value(s.user_email)" if emails(visible) else "NULL::VARCHAR"
    parts = [
        f"(SELECT '{name}' AS dimension, s.{column} AS value, count(*) AS sessions, "
        f"{label if name == 'user' else 'NULL::VARCHAR'} AS label "
        f"FROM sessions s WHERE {_in_range(filters)} GROUP BY 2 ORDER BY 3 DESC, 2 LIMIT {_CHOICES_MAX})"
        for name, column in of.items()
    ]
    return " UNION ALL ".join(parts)


def emails(visible: Visible) -> bool:
    return visible.has("sessions", "user_email")


def _text(text: str, name: str) -> str:
    if len(text) > _TEXT_MAX or "\0" in text:
        raise FilterFault(f"{name} is longer than {_TEXT_MAX} characters, or not a text")
    return text.strip()
