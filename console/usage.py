"""Sums of usage as SQL: of a period and the one before, over time, by a dimension, and what only events tell.

`session_hours` has every sum, of clients without events, of records that routing archived and of points without a
session too, so totals come from there. And it says which sessions are of a range: those that were active in an hour of
it that the filters mean, for every page alike.

What it does not know (which model, tool or source) only `events` tell, and points the model of money: such a chart
shows what they told, and beside it what is missing from the total, as NOT_TOLD.

Buckets are whole numbers of hours, days or weeks since the epoch: DuckDB divides ten times faster than date_trunc cuts
in a time zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from console import clock
from console.ask import Visible
from console.filters import DAY, HOUR, NONE, UNNAMED, Dimension, Filters, joined
from service.sql import literal, timestamp

# Events of so long are read in about the time of any other question of a page.
SHORT = 8 * DAY
TOKENS = "h.input_tokens + h.output_tokens"
USD = "coalesce(e.cost_usd_micros / 1e6, e.cost_usd)"
"""The money of a request, as the sums have it: newer clients say it in millionths, too."""
# Monday of the week of the epoch's Thursday.
_WEEK_SHIFT = 3 * DAY
_STEP: Mapping[str, timedelta] = {"hour": HOUR, "day": DAY, "week": 7 * DAY}
# As streams keep them.
_HOURS_KEPT = 60 * DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """A part of time, half open: a bucket as far as it lies in the range."""

    start: datetime
    end: datetime


def spans(filters: Filters) -> list[Span]:
    """The buckets of the range, the first and the last one cut to it."""
    step = _STEP[filters.bucket]
    return [Span(max(at, filters.start), min(at + step, filters.end)) for at in filters.buckets()]


def number(bucket: str, column: str) -> str:
    """The number of the bucket that a time lies in, in SQL.  bucket: hour, day or week."""
    step = _STEP[bucket] // timedelta(microseconds=1)
    shift = f" + {_WEEK_SHIFT // timedelta(microseconds=1)}" if bucket == "week" else ""
    return f"((epoch_us({column}){shift}) // {step})"


def start(bucket: str, column: str) -> str:
    """The start of the bucket that a time lies in, in SQL."""
    shift = f" - {_WEEK_SHIFT // timedelta(seconds=1)}" if bucket == "week" else ""
    return f"to_timestamp({number(bucket, column)} * {_STEP[bucket] // timedelta(seconds=1)}{shift})"


def number_of(bucket: str, moment: datetime) -> int:
    """The same of a time of ours."""
    shift = _WEEK_SHIFT if bucket == "week" else timedelta(0)
    return (moment - _EPOCH + shift) // _STEP[bucket]


def short_of_hours(filters: Filters, now: datetime) -> bool:
    """Whether a part of the range, or of the one before it, is older than the hours that are kept."""
    return filters.before.start < now - _HOURS_KEPT


def kept_from(now: datetime) -> datetime:
    """Since when there are hours; of sessions that are older only the whole is known."""
    return (now - _HOURS_KEPT).replace(minute=0, second=0, microsecond=0)


def kept(filters: Filters, now: datetime) -> Filters:
    """The same, of which nothing is left where all of the range is older."""
    return replace(filters, start=max(filters.start, kept_from(now)), preset=None)


def with_hours(filters: Filters, now: datetime) -> Filters:
    """The part of the range that there are hours of, which is what sums over it have counted."""
    return kept(filters, now) if filters.start < kept_from(now) < filters.end else filters


def with_before(filters: Filters) -> Filters:
    """The range with the period before it, for one pass over both."""
    return replace(filters, start=filters.before.start, preset=None)


def hours(filters: Filters) -> str:
    """FROM and WHERE: session_hours of the range as `h`, joined with their sessions, as `s`, if a filter needs them."""
    of_session = filters.conditions("s", hours=False)
    where = joined([own_hours(filters), *of_session])
    return f"FROM session_hours h{_SESSIONS if of_session else ''} WHERE {where}"


def own_hours(filters: Filters) -> str:
    """Condition: rows of session_hours, as `h`, of the range by the filters that they know themselves."""
    return joined([filters.in_range("h.start"), *filters.conditions("h", hours=True)])


def of_hours(alias: str, filters: Filters) -> list[str]:
    """Conditions: an event, or a point, counts in hours that the filters mean. It lies in their range.

    All hours of a session are passed on again when it changes its team: they have the one that it has by now, an event
    the one that it was sent with. So its hour says where it counts, as in the sums beside it. It counts for
    the user who sent it if they have hours there, too; else they were not known yet, and it counts for the session's.
    One without a session, whose hours are under a name that is made up, counts as it was sent.
    """
    if not filters.values:
        return []
    found, hour = hours(filters), start("hour", clock.when(alias))
    asked = [
        # The second says all of it. By one column alone most of what it leaves out is left out in half the time.
        f"{alias}.session_id IN (SELECT h.session_id {found})",
        f"({alias}.tenant, {alias}.session_id, {hour}) IN (SELECT h.tenant, h.session_id, h.start {found})",
    ]
    user = filters.only("user")
    if user.values:
        session = f"s.tenant = {alias}.tenant AND s.session_id = {alias}.session_id"
        theirs = f"h.tenant = {alias}.tenant AND h.session_id = {alias}.session_id AND h.user_key = {alias}.user_key"
        unknown = (
            f"NOT EXISTS (SELECT 1 FROM session_hours h WHERE {filters.in_range('h.start')} AND {theirs}) "
            f"AND EXISTS (SELECT 1 FROM sessions s WHERE {joined([session, *user.conditions('s')])})"
        )
        asked.append(f"({joined(user.conditions(alias))} OR {unknown})")
    if filters.conditions("s", hours=False):  # which nothing without a session can meet
        return asked
    alone = joined([f"{alias}.session_id IS NULL", *filters.conditions(alias, hours=True)])
    return [f"(({joined(asked)}) OR ({alone}))"]


def of_hours_kept(alias: str, filters: Filters, now: datetime) -> list[str]:
    """The same of a range of which not all hours are kept: where they are gone, by what is known of the session."""
    kept = kept_from(now)
    counted = of_hours(alias, filters)
    if not counted or filters.start >= kept:
        return counted
    sessions = joined([f"s.last_time >= {timestamp(filters.start)}", *filters.conditions("s")])
    found = f"({alias}.tenant, {alias}.session_id) IN (SELECT s.tenant, s.session_id FROM sessions s WHERE {sessions})"
    return [f"(({joined(counted)}) OR ({clock.when(alias)} < {timestamp(kept)} AND {found}))"]


_SESSIONS = " JOIN sessions s ON s.tenant = h.tenant AND s.session_id = h.session_id"


def active(filters: Filters, counts: Sequence[Sequence[str]] = ()) -> str:
    """SELECT tenant, session_id of the sessions of the range, by the filters that session_hours has.

    Args: counts: of each group of these columns of session_hours there must be one in those hours.
    """
    source = f"SELECT h.tenant, h.session_id FROM session_hours h WHERE {own_hours(filters)}"
    if not counts:
        return f"{source} AND h.active"
    some = [any_of(f"sum(h.{column})" for column in group) for group in counts]
    # Not in one and the same hour: a commit is told by metrics, at times in an hour without an event.
    return f"{source} GROUP BY h.tenant, h.session_id HAVING {joined(['bool_or(h.active)', *some])}"


def of_range(filters: Filters, now: datetime, counts: Sequence[Sequence[str]] = ()) -> str:
    """Condition on `sessions s`: it is of the range and the filters.

    Of the time that no hours are kept of, sessions that had begun and not ended are, with what they are as a whole.

    Args: counts: as of `active`.
    """
    inside = f"(s.tenant, s.session_id) IN ({active(filters, counts)})"
    of_session = filters.conditions("s", hours=False)
    if filters.start >= kept_from(now):
        return joined([inside, *of_session])
    older = [
        "NOT s.ghost",
        f"s.start_time < {timestamp(min(filters.end, kept_from(now)))}",
        f"s.last_time >= {timestamp(filters.start)}",
        *filters.conditions("s", hours=True),
        *(any_of(f"s.{column}" for column in group) for group in counts),
    ]
    return joined([f"({inside} OR ({joined(older)}))", *of_session])


def any_of(counts: Iterable[str]) -> str:
    """Condition: one of these is not 0."""
    return f"({' OR '.join(f'{count} > 0' for count in counts)})"


def over_time(filters: Filters, sums: Mapping[str, str]) -> str:
    """Sums by bucket, and in one row more, without a bucket, those of the period before.

    Args:    sums: name → expression over `h`.
    Columns: bucket (its number; null: the period before), then those of `sums`.
    """
    bucket = f"CASE WHEN h.start >= {timestamp(filters.start)} THEN {number(filters.bucket, 'h.start')} END"
    listed = ", ".join(f"sum({expression}) AS {name}" for name, expression in sums.items())
    return f"SELECT {bucket} AS bucket, {listed} {hours(with_before(filters))} GROUP BY 1"


def sessions(filters: Filters, count: str | None = None) -> str:
    """How many sessions are of the range.

    Args:    count: only those with some of this column of session_hours there.
    Columns: sessions, and sessions_before: of the period before.
    """
    now = f"h.start >= {timestamp(filters.start)}"
    some = "" if count is None else f" AND h.{count} > 0"
    return (
        "SELECT count(*) FILTER (now) AS sessions, count(*) FILTER (before) AS sessions_before "
        f"FROM (SELECT bool_or({now}) AS now, bool_or(NOT ({now})) AS before "
        f"{hours(with_before(filters))} AND h.active{some} GROUP BY h.tenant, h.session_id)"
    )


def by_dimension(filters: Filters, dimension: Dimension, *, most: int) -> str:
    """Cost, tokens and sessions of each value of a dimension, the most expensive first.

    Args:    dimension: not model, which a session has many of.
    Columns: value, spend_usd, tokens, sessions, spend_usd_before, tokens_before, sessions_before, total (values).
    """
    now = f"h.start >= {timestamp(filters.start)}"
    own = f"h.{dimension.column}" if dimension.hours else f"s.{dimension.column}"
    source = hours(with_before(filters))
    if not dimension.hours:
        source = _joined(source)
    return (
        "SELECT value, sum(spend) AS spend_usd, sum(tok) AS tokens, count(*) FILTER (now) AS sessions, "
        "sum(spend_b) AS spend_usd_before, sum(tok_b) AS tokens_before, count(*) FILTER (before) AS sessions_before, "
        "count(*) OVER () AS total FROM ("
        f"SELECT {own} AS value, h.tenant, h.session_id, sum(h.spend_usd) FILTER ({now}) AS spend, "
        f"sum({TOKENS}) FILTER ({now}) AS tok, sum(h.spend_usd) FILTER (NOT ({now})) AS spend_b, "
        f"sum({TOKENS}) FILTER (NOT ({now})) AS tok_b, bool_or(h.active AND {now}) AS now, "
        f"bool_or(h.active AND NOT ({now})) AS before {source} GROUP BY ALL) "
        "GROUP BY value "
        f"ORDER BY spend_usd DESC NULLS LAST, tokens DESC NULLS LAST, value LIMIT {most}"
    )


@dataclass(frozen=True)
class Part:
    """How the events of one name divide.

    event: the name.  name, source: expressions over `e` that they are divided by.
    counted: the sums of session_hours that count these events, so that one sees whether all was told.
    """

    event: str
    name: str
    counted: tuple[str, ...]
    source: str = "NULL"


@dataclass(frozen=True)
class Question:
    """What only events can tell."""

    parts: tuple[Part, ...]


MCP = "MCP tools"
# Of calls, those of MCP as one, of which there may be thousands.
TOOL = Part(
    "tool_result",
    f"CASE WHEN starts_with(e.tool_name, 'mcp__') OR e.tool_name = 'mcp_tool' THEN '{MCP}' ELSE e.tool_name END",
    ("tools",),
)
_VERDICT = "CASE WHEN e.decision = 'accept' THEN 'accept' ELSE 'reject' END"
# A decision and who, or what, made it, in one: as the chart of decisions names its series.
DECISION = Part("tool_decision", f"{_VERDICT} || coalesce(': ' || nullif(e.source, ''), '')", ("accepts", "rejects"))
REPOSITORY = Part("api_request", "coalesce(e.vcs_owner_name || '/', '') || e.vcs_repository_name", ("api_requests",))
REQUESTS = Part("api_request", "e.model", ("api_requests",))
# Models of requests; tools; decisions by their source.
SPLIT = Question(
    (
        REQUESTS,
        TOOL,
        Part("tool_decision", _VERDICT, ("accepts", "rejects"), "e.source"),
    )
)
REPOSITORIES = Question((REPOSITORY,))


def told(filters: Filters, span: Span, question: Question) -> str:
    """What the events of a span say that the filters mean, by bucket.

    An event counts where the aggregates count it: one with an impossible clock in its hour of receipt.

    Args:    span: within the range.
    Columns: bucket (its number), event, name, source, n, cost_usd, tokens.
    """
    there = replace(filters, start=span.start, end=span.end)
    asked = [clock.within("e", span.start, span.end), *of_hours("e", there)]
    # Of ten million events, a scan for each name took two thirds of one scan for all: only where the name is equal
    # the other columns are read. But each costs 15 ms to plan, more than a short span takes, and a filter of theirs
    # reads as little in one scan.
    apart = span.end - span.start > SHORT and not filters.values
    parts = [(part,) for part in question.parts] if apart else [question.parts]
    return " UNION ALL ".join(_told(filters.bucket, asked, some) for some in parts)


def _told(bucket: str, asked: list[str], parts: tuple[Part, ...]) -> str:
    def each(spelled: Mapping[str, str]) -> str:
        if len(spelled) == 1:
            return next(iter(spelled.values()))
        return f"CASE e.event_name {' '.join(f'WHEN {literal(k)} THEN {v}' for k, v in spelled.items())} END"

    events = ", ".join(literal(part.event) for part in parts)
    which = f"e.event_name IN ({events})" if len(parts) > 1 else f"e.event_name = {events}"
    return (
        f"SELECT {number(bucket, clock.when('e'))} AS bucket, e.event_name AS event, "
        f"{each({part.event: part.name for part in parts})} AS name, "
        f"{each({part.event: part.source for part in parts})} AS source, count(*) AS n, "
        "coalesce(sum(e.cost_usd_micros), 0) / 1e6 "
        "+ coalesce(sum(e.cost_usd) FILTER (e.cost_usd_micros IS NULL), 0) AS cost_usd, "
        "(coalesce(sum(e.input_tokens), 0) + coalesce(sum(e.output_tokens), 0))::BIGINT AS tokens "
        f"FROM events e WHERE {joined([which, *asked])} GROUP BY ALL"
    )


SPEND = "claude_code.cost.usage"


def sees_points(visible: Visible) -> bool:
    """Whether somebody may ask for what `spent_by_points` finds."""
    columns = ("session_id", "metric", "temporality", "event_time", "received_time", "clock_suspect", "value", "model")
    return visible.has("metrics", "tenant", *columns) and visible.has("sessions", "api_requests", "spend_usd")


def spent_by_points(filters: Filters, of: Iterable[str]) -> str:
    """WHERE of the points `m` whose cost is what was spent: those of sessions of which no request came.

    Args: of: conditions, which the filters stand for.
    """
    silent = f"s.api_requests = 0 AND s.spend_usd > 0 AND s.last_time >= {timestamp(filters.start)}"
    asked = [
        clock.within("m", filters.start, filters.end),
        f"m.metric = {literal(SPEND)}",
        "m.temporality = 'delta'",
        f"(m.tenant, m.session_id) IN (SELECT s.tenant, s.session_id FROM sessions s WHERE {silent})",
    ]
    return joined([*asked, *of])


def models_by_points(filters: Filters) -> str:
    """What points alone tell of the cost of models, by bucket. Columns: bucket (its number), name, cost_usd."""
    return (
        f"SELECT {number(filters.bucket, clock.when('m'))} AS bucket, m.model AS name, sum(m.value) AS cost_usd "
        f"FROM metrics m WHERE {spent_by_points(filters, of_hours('m', filters))} AND m.model IS NOT NULL GROUP BY ALL"
    )


def with_part(filters: Filters, part: Part, value: str) -> str:
    """Condition on `sessions s`: an event of the range is of this part.  value: NONE: it names none."""
    said = f"{part.name} IS NULL" if value == NONE else f"{part.name} = {literal(value)}"
    when = clock.within("e", filters.start, filters.end)
    where = joined([f"e.event_name = {literal(part.event)}", when, said])
    return f"(s.tenant, s.session_id) IN (SELECT e.tenant, e.session_id FROM events e WHERE {where})"


# The models of a session, one a row, as the filter `model` finds it: none is told as such.
MODELS = f"nullif(unnest(CASE WHEN cardinality(s.models) = 0 THEN [s.model] ELSE map_keys(s.models) END), '{UNNAMED}')"


def models_of_sessions(filters: Filters) -> str:
    """How many sessions of the range, without ghosts, used a model, be it beside others, as the filter `model` counts.

    Columns: value, sessions, sessions_before.
    """
    now = f"h.start >= {timestamp(filters.start)}"
    source = _joined(hours(with_before(filters)))
    return (
        f"SELECT {MODELS} AS value, count(*) FILTER (now) AS sessions, "
        "count(*) FILTER (before) AS sessions_before FROM "
        f"(SELECT any_value(s.model) AS model, any_value(s.models) AS models, bool_or({now}) AS now, "
        f"bool_or(NOT ({now})) AS before {source} AND h.active GROUP BY h.tenant, h.session_id) s GROUP BY 1"
    )


def choices(filters: Filters, dimensions: Iterable[Dimension], *, most: int) -> str:
    """The values of each dimension that sessions of the range have, the most frequent first.

    The other filters hold, that on the dimension itself does not: one wants to choose another value.

    Args:    dimensions: those that the asker may see; at least one.
    Columns: dimension, value, sessions.
    """
    parts = []
    for one in dimensions:
        others = filters.without(one.name)
        if one.hours:
            found = f"SELECT DISTINCT h.{one.column} AS value, h.tenant, h.session_id {hours(others)} AND h.active"
        else:
            value = MODELS if one.name == "model" else f"s.{one.column}"
            conditions = [f"(s.tenant, s.session_id) IN ({active(others)})", *others.conditions("s", hours=False)]
            found = f"SELECT {value} AS value FROM sessions s WHERE {joined(conditions)}"
        parts.append(
            f"(SELECT '{one.name}' AS dimension, value, count(*) AS sessions FROM ({found}) GROUP BY value "
            f"ORDER BY sessions DESC, value LIMIT {most})"
        )
    return " UNION ALL ".join(parts)


def emails(keys: Iterable[str]) -> str:
    """Who is behind some user keys, of which there is one at least. Columns: user_key, user_email."""
    listed = ", ".join(literal(key) for key in sorted(set(keys)))
    return f"SELECT user_key, user_email FROM people WHERE user_key IN ({listed}) AND user_email IS NOT NULL"


def _joined(source: str) -> str:
    """Hours with their sessions, whether a filter needs them or not."""
    if _SESSIONS in source:
        return source
    return source.replace("FROM session_hours h", f"FROM session_hours h LEFT{_SESSIONS}", 1)
