"""A session's events in SQL: their order, their turns, and what is known of each from the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, unquote, urlencode

from console import clock, usage
from console.ask import Visible, moment
from console.timeline import JOINS, KEPT
from console.wording import PROMPT_FIELDS, TOLD
from schemas.otlp.content import CONTENT_MARK, TREE_MARK
from service.sql import literal, timestamp

# Without these a session has no timeline.
NEEDED = ("event_id", "event_name", "event_time", "received_time", "clock_suspect", "session_id", "tenant")
# What an event says of itself in a line, so far as the person may see it.
COLUMNS = (
    "event_id", "event_name", "event_time", "event_sequence", "prompt_id", "model", "cost_usd", "input_tokens",
    "output_tokens", "cache_read_tokens", "cache_creation_tokens", "duration_ms", "ttft_ms", "success", "decision",
    "source", "tool_name", "tool_use_id", "request_id", "status_code", "error", "error_type", "error_name",
    "error_code", "error_category", "query_source", "agent_name", "agent_type", "attempt", "total_attempts",
    "total_retry_duration_ms", "command_line", "mcp_server", "mcp_tool", "file_path", "url", "prompt_length",
    "command_name", "response_length", "body_length", "body_truncated", "held_back", "category", "server_fallback_hop",
    "from_mode", "to_mode", "trigger", "hook_event", "hook_name", "hook_type", "hook_source", "num_success",
    "num_blocking", "num_non_blocking_error", "total_duration_ms", "pre_tokens", "post_tokens", "skill_name",
    "invocation_trigger", "plugin_name", "plugin_scope", "marketplace_name", "server_name", "status", "transport_type",
    "server_scope", "total_tokens", "total_tool_uses", "final_model", "tool_input_size_bytes",
    "tool_result_size_bytes", "action", "auth_method", "mention_type", "resends",
)  # fmt: skip
SPAN_COLUMNS = (
    "trace_id", "span_id", "parent_span_id", "name", "request_id", "tool_use_id", "tool_name", "subagent_type",
    "agent_id", "parent_agent_id", "agent_name",
)  # fmt: skip
# Where a text of class content leaves its mark, beside the attributes; of an event in TOLD the first of these alone say
# what its name does not.
_MARKED = ("log_body", "severity_text")
_NAMED = ("event_name", "response", "prompt", "prompt_text", "tool_input", "tool_parameters", "body")
# The row of a session comes some seconds after its events; a span may begin before the first of them.
_MARGIN = timedelta(hours=1)
_TOOK = ("duration_ms", "total_duration_ms", "total_retry_duration_ms")
_TOOK_MAX_MS = 7 * 86_400_000
_ORDER = "happened, event_sequence NULLS FIRST, event_id"


@dataclass(frozen=True)
class Session:
    """The session that a page is about.  row: of `sessions`, what the person may see of it.  back: the list's query."""

    row: Mapping[str, Any]
    back: str

    @property
    def tenant(self) -> str:
        """Its tenant."""
        return str(self.row["tenant"])

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.row["session_id"])

    def url(self, *below: str, **said: object) -> str:
        """A page below it, which knows the way back.  below: the further parts of its path."""
        query = "&".join(part for part in (self.back, urlencode(said)) if part)
        return session_url(self.tenant, self.id, query, *below)

    def event_url(self, event_id: str) -> str:
        """The link to one event in its place."""
        return f"{self.url(event=event_id)}#e-{mark(event_id)}"

    def where(self, table: str = "events") -> str:
        """Condition: the rows of `events`, `content` or `spans` of this session, by a range of time."""
        start, last = moment(self.row["start_time"]), moment(self.row["last_time"])
        if start is None or last is None:
            return "false"
        of = f"tenant = {literal(self.tenant)} AND session_id = {literal(self.id)}"
        column = "start_time" if table == "spans" else "event_time"
        first = start if table == "events" else start - _MARGIN  # the texts of a span have its start
        within = _between(column, first, last + _MARGIN)
        if "clock_suspect" in (self.row.get("flags") or ()):  # what has no time to trust counts when it was received
            within = f"({within} OR {_between('received_time', first, last + _MARGIN)})"
        return f"{of} AND {within}"


def session_url(tenant: str, session_id: str, query: str = "", *below: str) -> str:
    """The page of one session.  query: of the list to go back to.  below: the further parts of the path."""
    path = f"/sessions/{'/'.join(map(_part, (tenant, session_id, *below)))}"
    return f"{path}?{query}" if query else path


def parts(path: str) -> list[str]:
    """What such a path was made of, from its percent-encoded spelling: a client chooses its ids, slashes and all."""
    return [unquote(part.removeprefix("=")) for part in path.split("/")[2:]]


def _part(text: str) -> str:
    # Browsers take dots alone for a folder above, percent-encoded or not; a "=" of the text is percent-encoded.
    return ("=" if text in (".", "..") else "") + quote(text, safe="")


def mark(*parts: str) -> str:
    """An id for the page, from texts that could not be one."""
    return blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def column(name: str) -> str:
    """A column of `events e`, in SELECT; the money of a request as all sums have it."""
    return f"{usage.USD} AS {name}" if name == "cost_usd" else name


def line_columns(visible: Visible) -> str:
    """What `timeline.items` takes of `events e` in SELECT, so far as the person may see it.

    other_texts: whether an event has texts of class content that its name does not tell of; null: not theirs to know.
    """
    columns = [column(one) for one in COLUMNS if visible.has("events", one)]
    if visible.has("events", "attributes"):
        columns += [f"attributes['{one}'] AS {one}" for one in ("agent_id", "parent_agent_id")]
    told = f"event_name IN ({', '.join(map(literal, sorted(TOLD)))})"
    named = f"(NOT {told} AND {_marked(visible, 'events', _NAMED)})"
    hidden = "false" if visible.has("events", *_MARKED, "attributes") else "NULL::BOOLEAN"
    columns.append(f"{_marked(visible, 'events', _MARKED, 'attributes')} OR {named} OR {hidden} AS other_texts")
    return ", ".join(columns)


def _marked(visible: Visible, name: str, columns: Sequence[str], maps: str = "") -> str:
    """Condition: one of these columns, or a value of the map, is the mark of a text of class content."""
    seen = [one for one in columns if visible.has(name, one)]
    ways = [f"{literal(CONTENT_MARK)} IN ({', '.join(seen)})"] if seen else []
    if visible.has(name, maps):
        ways.append(f"list_contains(map_values({maps}), {literal(CONTENT_MARK)})")
    # A null is none; among others it would be neither.
    return f"({' OR '.join(f'coalesce({way}, false)' for way in ways) or 'false'})"


def numbered_sql(visible: Visible, session: Session, columns: Sequence[str]) -> str:
    """WITH n: the session's events in order with these columns, and with

    turn: the prompt's id; of an event without prompt_id the turn of the event before it, or one that a prompt without
        an id begins, as older clients send them; '' is the turn before the first prompt.
    number: its place in its turn, from 1.  missing: sequence numbers that are not there just before it.
    restarted: whether the sequence fell.  started_us, ended_us: since the epoch; an event is written at its end.
    """
    took = ", ".join([*(one for one in _TOOK if visible.has("events", one)), "0"])
    own = {"prompt_id": "VARCHAR", "event_sequence": "BIGINT"}
    cast = [f"{one if visible.has('events', one) else 'NULL'}::{kind} AS {one}" for one, kind in own.items()]
    others = (column(one) for one in dict.fromkeys((*NEEDED, *columns)) if one not in own)
    selected = ", ".join([*others, *cast])
    return f"""
WITH o AS (
    SELECT {selected}, {clock.when("e")} AS happened,
        least(greatest(coalesce({took}), 0), {_TOOK_MAX_MS}) AS took_ms
    FROM events e WHERE {session.where()}
), e AS (
    SELECT *,
        coalesce(last_value(coalesce(prompt_id, CASE WHEN event_name = 'user_prompt' THEN event_id END) IGNORE NULLS)
            OVER (ORDER BY {_ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), '') AS turn,
        last_value(event_sequence IGNORE NULLS)
            OVER (ORDER BY {_ORDER} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS sequence_before
    FROM o
), n AS (
    SELECT *, row_number() OVER (PARTITION BY turn ORDER BY {_ORDER}) AS number,
        CASE WHEN event_sequence > sequence_before + 1 THEN event_sequence - sequence_before - 1 ELSE 0 END AS missing,
        coalesce(event_sequence < sequence_before, false) AS restarted,
        epoch_us(happened) - 1000 * took_ms AS started_us, epoch_us(happened) AS ended_us
    FROM e
)"""


def outline_sql(visible: Visible, session: Session, chosen: str) -> str:
    """WITH t: a row for each turn with its sums.

    place: of all, from 1.  ordinal: without what was before the first prompt.  chosen: the number of that event.
    """
    sums = ("cost_usd", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
    of_prompt = {"prompt_length": "prompt_length", "prompt_command": "command_name"}
    asked = (*sums, *of_prompt.values(), "success", "held_back", "resends")
    columns = [one for one in asked if visible.has("events", one)]
    prompt = "FILTER (event_name = 'user_prompt')"
    parts = [f"arg_min(event_id, number) {prompt} AS prompt_event"]
    for name, column in of_prompt.items():
        parts.append(f"{f'arg_min({column}, number) {prompt}' if column in columns else 'NULL'} AS {name}")
    for column in sums:
        total = f"sum({column}) FILTER (event_name = 'api_request')" if column in columns else "NULL"
        parts.append(f"{total} AS {column}")
    held = f"bool_or(list_has_any(held_back, {sorted(PROMPT_FIELDS)})) {prompt}"
    parts.append(f"{held if 'held_back' in columns else 'NULL'} AS prompt_held_back")
    parts.append(f"{'sum(resends)' if 'resends' in columns else 'NULL'} AS resends")
    failed = "event_name = 'tool_result' AND success IS FALSE" if "success" in columns else "false"
    return f"""{numbered_sql(visible, session, columns)}, g AS (
    SELECT turn, count(*) AS events, min(started_us) AS started_us, max(ended_us) AS ended_us,
        min(ended_us) AS first_us, sum(missing) AS missing, {", ".join(parts)},
        count_if(event_name = 'api_request') AS requests, count_if(event_name = 'tool_result') AS tools,
        count_if(event_name IN ('api_error', 'internal_error') OR ({failed})) AS errors,
        count_if(event_name = 'api_refusal') AS refusals,
        min(CASE WHEN event_id = {literal(chosen)} THEN number END) AS chosen
    FROM n GROUP BY turn
), t AS (
    SELECT *, row_number() OVER (ORDER BY turn <> '', first_us, turn) AS place,
        row_number() OVER (PARTITION BY turn <> '' ORDER BY first_us, turn) AS ordinal,
        count(*) OVER () AS turns, sum(events) OVER () AS all_events
    FROM g
)"""


def spans_sql(visible: Visible, session: Session, event_ids: Sequence[str]) -> str:
    """The spans of these events, and those above them, which tell of subagents; the earliest first.

    Columns: SPAN_COLUMNS, and of timeline.KEPT what each has of class content.
    """
    columns = [one for one in SPAN_COLUMNS if visible.has("spans", one)]
    shown, joined = _joined(visible, session, event_ids)
    above = "UNION SELECT s.trace_id, s.span_id, s.parent_span_id FROM s, found"
    above += " WHERE s.trace_id = found.trace_id AND s.span_id = found.parent_span_id"
    return (
        f"WITH RECURSIVE s AS MATERIALIZED (SELECT {', '.join(columns)}, start_time, {_kept(visible)} FROM spans "
        f"WHERE {session.where('spans')}), "
        f"{shown}, found AS (SELECT trace_id, span_id, parent_span_id FROM s WHERE {joined} {above}) "
        f"SELECT {', '.join((*columns, *KEPT))} FROM s SEMI JOIN found USING (trace_id, span_id) "
        "ORDER BY start_time, span_id"
    )


class Texts(Enum):
    """Which texts of an event."""

    ALL = "those of its spans, too"
    OWN = "of the event alone"
    PROMPT = "its prompt"

    @classmethod
    def named(cls, query: Mapping[str, str]) -> Texts:
        """Of the parameters of an address."""
        return cls.PROMPT if query.get("prompt") == "1" else cls.OWN if query.get("own") == "1" else cls.ALL


def texts_sql(visible: Visible, session: Session, event_id: str, limit: int, of: Texts) -> str:
    """The texts of class content of an event, and then those of its spans, which have no event_id.

    Columns: those of `content` that may be seen, and `of`: how many there are in all.
    """
    names = ("event_id", "field", "text", "event_name", "length", "truncated", "masked", "body_ref")
    columns = [one for one in names if visible.has("content", one)]
    asked, told = f"event_id = {literal(event_id)}", ""
    if of is Texts.PROMPT:
        asked += f" AND field IN ({', '.join(map(literal, sorted(PROMPT_FIELDS)))})"
    elif of is Texts.ALL and visible.has("events", *NEEDED) and visible.has("spans", "trace_id", "span_id"):
        shown, joined = _joined(visible, session, [event_id])
        spans = f"SELECT trace_id, span_id FROM spans WHERE {joined} AND {session.where('spans')}"
        asked += f" OR (trace_id, span_id) IN ({spans})"
        told = f"WITH {shown} "
    return (
        f"{told}SELECT {', '.join(columns)}, count(*) OVER () AS of FROM content "
        f"WHERE ({asked}) AND {session.where('content')} "
        f"ORDER BY event_id IS NULL, event_time, span_id, field LIMIT {limit}"
    )


def _joined(visible: Visible, session: Session, event_ids: Sequence[str]) -> tuple[str, str]:
    """What `timeline` joins to these events: WITH shown, and the condition on spans that is about it."""
    joins = [one for one in JOINS if visible.has("events", one) and visible.has("spans", one)]
    ids = ", ".join(map(literal, event_ids))
    shown = f"shown AS (SELECT {', '.join((*joins, 'event_id'))} FROM events "
    shown += f"WHERE event_id IN ({ids}) AND {session.where()})"
    return shown, f"({' OR '.join(f'{one} IN (SELECT {one} FROM shown)' for one in joins) or 'false'})"


def _kept(visible: Visible) -> str:
    """Columns: what a span has of class content. Who may not see its events is told of outputs that may be there."""
    tool, events = "name = 'claude_code.tool'", f"contains(events_json, {literal(TREE_MARK)})"
    if not visible.has("spans", "events_json"):
        events = tool
    conditions = {
        "has_tool_input": _marked(visible, "spans", ("tool_input", "tool_parameters")),
        "has_tool_output": f"coalesce({tool} AND {events}, false)",
        "has_other_texts": _marked(visible, "spans", ("name", "status_message", "user_prompt"), "attributes")
        + f" OR coalesce(NOT {tool} AND {events}, false)",
    }
    return ", ".join(f"{conditions[one]} AS {one}" for one in KEPT)


def _between(column: str, start: datetime, end: datetime) -> str:
    # The literal has whole seconds.
    return f"{column} >= {timestamp(start)} AND {column} < {timestamp(end + timedelta(seconds=1))}"
