"""The list of sessions as a value: its columns and filters, from a URL into SQL and back; see pages/sessions.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from starlette.datastructures import QueryParams

from console import usage
from console.ask import Visible, moment
from console.filters import NONE, FilterFault, Filters, joined, page_number
from service.sql import literal, timestamp

PAGE_ROWS = 50
# What OFFSET may skip: the store sorts all that it skips.
PAGES_MAX = 2000
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
# Of a URL: how the list looks. All else leaves sessions out.
_LOOKS = frozenset({"columns", "sort", "page"})


@dataclass(frozen=True)
class Only:
    """Sessions that have something.

    counts: of these columns one must not be 0.  hours: in the hours of the range; else in the whole session, which is
    all that is told of it.
    """

    words: str
    counts: tuple[str, ...]
    hours: bool = True


ONLY: Mapping[str, Only] = MappingProxyType(
    {
        "errors": Only("with errors", ("errors",)),
        "refusals": Only("with refusals", ("refusals",)),
        "failed": Only("failed", _FAILED),
        "retries_exhausted": Only("given up after retries", ("retries_exhausted",)),
        "api_errors": Only("with API errors", ("api_errors",)),
        "tool_failures": Only("with failed tools", ("tool_failures",)),
        "internal_errors": Only("with internal errors", ("internal_errors",)),
        "accepts": Only("with accepted tools", ("accepts",)),
        "rejects": Only("with rejected tools", ("rejects",)),
        "commits": Only("with commits", ("commits",)),
        "pull_requests": Only("with pull requests", ("pull_requests",)),
        "compactions": Only("with compactions", ("compactions",)),
        "subagents": Only("with subagents", ("subagents",)),
        "lines_added": Only("with lines added", ("lines_added",)),
        "lines_removed": Only("with lines removed", ("lines_removed",)),
        "active": Only("with active time of the user", ("active_user_s",)),
        "active_cli": Only("with active time of the CLI", ("active_cli_s",)),
        "input": Only("with input tokens", ("input_tokens",)),
        "output": Only("with output tokens", ("output_tokens",)),
        "cache_read": Only("with tokens read from the cache", ("cache_read_tokens",)),
        "cache_creation": Only("with tokens written to the cache", ("cache_creation_tokens",)),
        "gaps": Only("with gaps", ("sequence_gaps",), hours=False),
        "resends": Only("with re-sends", ("resends",), hours=False),
        "late": Only("with late events", ("late",), hours=False),
    }
)
# Of the clients; another one can stand in the address.
MODES = ("default", "acceptEdits", "plan", "dontAsk", "bypassPermissions")
OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "open": "open: an event in the last 5 minutes",
        "idle": "idle: none for 5 to 30 minutes",
        "closed": "closed: none for 30 minutes",
        "failed": "failed: retries exhausted, or an internal error",
    }
)


@dataclass(frozen=True)
class Having:
    """Something that an event of a session says in the range.  label: for people.  needs: columns of events."""

    label: str
    part: usage.Part
    needs: tuple[str, ...]


HAVING: Mapping[str, Having] = MappingProxyType(
    {
        "asked": Having("Asked", usage.REQUESTS, ("model",)),
        "tool": Having("Tool", usage.TOOL, ("tool_name",)),
        "decision": Having("Decision", usage.DECISION, ("decision", "source")),
        "repository": Having("Repository", usage.REPOSITORY, ("vcs_repository_name", "vcs_owner_name")),
    }
)


@dataclass(frozen=True)
class Listing:
    """What the list is asked for, besides range and filters.  having: of HAVING → what an event of the range says."""

    filters: Filters
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    sort: str = DEFAULT_SORT
    page: int = 1
    q: str = ""
    outcome: str = ""
    mode: str = ""
    only: tuple[str, ...] = ()
    having: Mapping[str, str] = field(default_factory=dict)

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
            **self.having,
            "page": "" if self.page == 1 else str(self.page),
        }
        return {name: value for name, value in found.items() if value}

    @property
    def kept(self) -> dict[str, str]:
        """What another time range or filter keeps: all but the page."""
        return {name: value for name, value in self.said.items() if name != "page"}

    @property
    def narrowed(self) -> bool:
        """Whether it leaves out sessions of its time range."""
        return bool(self.filters.values or self.said.keys() - _LOOKS)

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
        having={name: text for name in HAVING if (text := _text(query.get(name, ""), name))},
    )
    if found.sorted_by not in COLUMNS:
        raise FilterFault(f"there is no column {found.sorted_by[:40]!r} to sort by; there are {', '.join(COLUMNS)}")
    if found.outcome and found.outcome not in OUTCOMES:
        raise FilterFault(f"there is no outcome {found.outcome[:40]!r}; there are {', '.join(OUTCOMES)}")
    if unknown := [one for one in found.only if one not in ONLY]:
        raise FilterFault(f"only cannot be {unknown[0][:40]!r}; it can be {', '.join(ONLY)}")
    return found


def minute(now: datetime) -> datetime:
    """The time by which the list and each state are told: so coarse that several people ask the same question."""
    return now.astimezone(UTC).replace(second=0, microsecond=0)


def state(last_time: str | None, now: datetime) -> str:
    """open, idle or closed, as the list tells it."""
    last = moment(last_time)
    if last is None:
        return "closed"
    since = minute(now) - last
    return "open" if since <= OPEN_FOR else "idle" if since <= IDLE_FOR else "closed"


def shown(visible: Visible, asked: Listing) -> list[Column]:
    return [COLUMNS[name] for name in asked.columns if visible.has("sessions", *COLUMNS[name].needs)]


def rows_sql(asked: Listing, shown: Sequence[Column], visible: Visible, now: datetime, *, rows: int = PAGE_ROWS) -> str:
    by = COLUMNS[asked.sorted_by]
    if not visible.has("sessions", *by.needs):
        by = COLUMNS["start"]
    order = "coalesce(s.user_email, s.user_key)" if by.name == "user" and emails(visible) else by.value
    values = {one.name: one.value for one in shown if one.kind != "outcome"}
    values |= {"session_id": "s.session_id", "tenant": "s.tenant", "last_time": "s.last_time", "start": "s.start_time"}
    if emails(visible):
        values["user_email"] = "s.user_email"
    if visible.has("sessions", *_FAILED):
        values["failed"] = usage.any_of(f"s.{count}" for count in _FAILED)
    values.setdefault("user", "s.user_key")
    selected = ", ".join(f"{sql} AS {name}" for name, sql in values.items())
    direction = "DESC" if asked.descending else "ASC"
    where = joined([usage.of_range(asked.filters, now, _counts(asked)), *_own(asked, visible, now)])
    return (
        f"SELECT {selected} FROM sessions s WHERE {where} "
        f"ORDER BY {order} {direction} NULLS LAST, s.session_id, s.tenant "
        f"LIMIT {rows} OFFSET {(asked.page - 1) * PAGE_ROWS}"
    )


def summed(asked: Listing, visible: Visible) -> list[Column]:
    """The columns that the sums are of: the usual ones, and what the list is asked for."""
    names = ["prompts", "cost", "tools", "tokens", "errors"]
    names += [one for one in asked.only if one in COLUMNS and ONLY[one].hours and one not in names]
    return [COLUMNS[name] for name in names if visible.has("session_hours", *COLUMNS[name].needs)]


def sums_sql(asked: Listing, visible: Visible, now: datetime) -> str:
    """How many sessions the list has, and sums of their hours in the range; older ones have none.

    Columns: sessions, those of `summed`; rest_usd: what is spent there by no session, if the list leaves out nothing
    else.
    """
    columns = [(one.name, " + ".join(f"h.{need}" for need in one.needs)) for one in summed(asked, visible)]
    own, counts = _own(asked, visible, now), _counts(asked)
    filters, of_session = asked.filters, asked.filters.conditions("s", hours=False)
    each = "".join(f", sum({sql}) AS {name}" for name, sql in columns)
    grouped = (
        f"SELECT h.tenant, h.session_id, bool_or(h.active) AS active, sum(h.spend_usd) AS spend{each} "
        f"FROM session_hours h WHERE {usage.own_hours(filters)} GROUP BY h.tenant, h.session_id"
    )
    if not (own or counts or of_session) and filters.start >= usage.kept_from(now):
        sums = "".join(f", coalesce(sum({name}) FILTER (active), 0) AS {name}" for name, _ in columns)
        rest = "coalesce(sum(spend) FILTER (NOT active), 0) AS rest_usd"
        return f"SELECT count(*) FILTER (active) AS sessions{sums}, {rest} FROM ({grouped})"
    sums = "".join(f", coalesce(sum(x.{name}), 0) AS {name}" for name, _ in columns)
    listed = joined([usage.of_range(filters, now, counts), *own])
    return (
        f"SELECT count(*) AS sessions{sums}, 0 AS rest_usd FROM sessions s LEFT JOIN ({grouped}) x "
        f"ON x.tenant = s.tenant AND x.session_id = s.session_id WHERE {listed}"
    )


def _counts(asked: Listing) -> list[tuple[str, ...]]:
    """What the hours of each session must have some of."""
    only = [*asked.only, *(["failed"] if asked.outcome == "failed" else [])]
    return [ONLY[name].counts for name in only if ONLY[name].hours]


def refused(asked: Listing, visible: Visible) -> str | None:
    """What the list is asked for that is not for this person to see."""
    base = ("tenant", "session_id", "event_name", "event_time", "received_time", "clock_suspect")
    return next((name for name in asked.having if not visible.has("events", *base, *HAVING[name].needs)), None)


def _own(asked: Listing, visible: Visible, now: datetime) -> list[str]:
    """Conditions on the whole session, and on its events in the range."""
    conditions = [usage.with_part(asked.filters, HAVING[name].part, value) for name, value in asked.having.items()]
    conditions += [usage.any_of(f"s.{c}" for c in ONLY[name].counts) for name in asked.only if not ONLY[name].hours]
    opened, idle = f"s.last_time >= {timestamp(now - OPEN_FOR)}", f"s.last_time >= {timestamp(now - IDLE_FOR)}"
    if asked.outcome in ("open", "idle", "closed"):
        conditions.append({"open": opened, "idle": f"{idle} AND NOT {opened}", "closed": f"NOT {idle}"}[asked.outcome])
    if asked.mode:
        conditions.append(
            "s.permission_mode IS NULL" if asked.mode == NONE else f"s.permission_mode = {literal(asked.mode)}"
        )
    if asked.q:
        conditions.append(_search(asked.q, visible))
    return conditions


def _search(text: str, visible: Visible) -> str:
    low = literal(text.lower())
    ways = [f"starts_with(lower(s.session_id), {low})", f"starts_with(s.user_key, {low})"]
    ways += [f"contains(lower(s.{one}), {low})" for one in _SEARCHED if visible.has("sessions", one)]
    return f"({' OR '.join(ways)})"


def emails(visible: Visible) -> bool:
    return visible.has("sessions", "user_email")


def _text(text: str, name: str) -> str:
    if len(text) > _TEXT_MAX or "\0" in text:
        raise FilterFault(f"{name} is longer than {_TEXT_MAX} characters, or not a text")
    return text.strip()
