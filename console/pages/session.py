"""One session: what it was, and its timeline by turn down to every event. Beside the list, or as a page of its own.

/sessions/{tenant}/{session_id} takes the parameters of the list that it was opened from (console/pages/sessions.py),
to go back to; both are percent-encoded, slashes too, so that no session can be called as a page of another one. And:

    turns   the page of turns, from 1; last: the last TURNS turns, which is where a session opens while it goes on
    since   with turns=last: the first turn to show, as long as that are no more than twice as many
    event   an event's id: the page of turns that has it is shown, with the event open

A turn is shown by its last events, so that what happens now is there; in a link to an event by those around it.
/sessions/{tenant}/{session_id}/turn?turn=KEY shows one turn so, and with after=N its events behind the first N. The
pages put it in their place as a part that keeps itself up to date: its last events move on, and what begins at an event
is filled up to EVENTS, and then has a link to what follows.

/sessions/{tenant}/{session_id}/events/{event_id} shows one event whole; POST …/content reads what is content of it and
of its spans (own=1: of it alone, as of a decision, whose spans are its call's; prompt=1: its prompt alone), by
`ask_now`, so that the audit has who read it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
from starlette.responses import Response

from console import timeline
from console.ask import Visible
from console.errors import AskFault
from console.figures import there_are
from console.filters import FilterFault
from console.listing import listing, state
from console.timeline import Turn
from console.turns import (
    NEEDED,
    Session,
    Texts,
    line_columns,
    mark,
    numbered_sql,
    outline_sql,
    parts,
    spans_sql,
    texts_sql,
)
from console.web import Page, Visit, way_back
from console.wording import HELD_BACK
from service.sql import literal

TURNS = 50
_LAST = "last"
EVENTS = 200
# Events of turns that are shown at once, from the last turn on; earlier turns get theirs when they are opened.
_EVENTS_AT_ONCE = 400
# With more turns than that, only those that matter now are open.
_OPEN_TURNS = 8
_SPANS_MAX = 5000
_TEXTS_MAX = 20
_TEXT_SHOWN_MAX = 200_000
_MAPS = (("attributes", "attributes_json"), ("resource_attributes", "resource_attributes_json"))
# One escape of JSON, and of a character beyond 16 bits two.
_ESCAPE_CHARS = 12
# The first block of text in a body that the client cut, so that it is no JSON any more.
_FIRST_TEXT = re.compile(r'"type"\s*:\s*"text"\s*,\s*"text"\s*:\s*"((?:[^"\\]|\\.)*)')


async def session(visit: Visit) -> Response:
    """The session, with the turns of a page."""
    visible, found = await _found(visit)
    if found is None:
        return _unknown(visit)
    chosen = visit.request.query_params.get("event", "")[:256]
    now = state(found.row["last_time"], visit.console.now())
    last = not chosen and visit.request.query_params.get("turns", "1" if now == "closed" else _LAST) == _LAST
    outline: Any = None
    of_turns: Any = {}
    if visible.has("events", *NEEDED):
        outline = (await visit.panels(one=_outline(visit, visible, found, chosen, last=last)))["one"]
        if isinstance(outline, list):
            of_turns = (await visit.panels(one=_events(visit, visible, found, outline, chosen)))["one"]
    fault = next((one for one in (outline, of_turns) if isinstance(one, AskFault)), None)
    turns: list[Turn] = outline if isinstance(outline, list) else []
    return visit.render(
        "session.html",
        session=found,
        row=defaultdict(lambda: None, found.row),  # what is not for this person is nothing to show
        state=now,
        # What is shown stays when the session ends, goes on or grows.
        here=_here(visit, found, turns, last=last),
        last=last,
        visible=visible,
        denied=outline is None,
        fault=fault,
        turns=turns,
        all_turns=int(turns[0].numbers["turns"]) if turns else 0,
        all_events=int(turns[0].numbers["all_events"]) if turns else 0,
        counted=sum((found.row.get("event_counts") or {}).values()),
        of_turns={} if isinstance(of_turns, AskFault) else of_turns,
        first=turns[0].place if turns else 1,
        turns_at_once=TURNS,
        pages=(int(turns[0].numbers["turns"]) - 1) // TURNS + 1 if turns else 1,
        open_turns=_OPEN_TURNS,
        chosen=chosen,
        not_here=bool(chosen) and isinstance(outline, list) and all(one.numbers["chosen"] is None for one in turns),
        chosen_json=await _chosen_json(visit, found, chosen, turns),
        drawer=visit.request.headers.get("hx-target") == "in-drawer",
        **_for_events(visible, found),
    )


async def turn(visit: Visit) -> Response:
    """The events of one turn, some at a time."""
    visible, found = await _found(visit)
    if found is None or not visible.has("events", *NEEDED):
        return _unknown(visit)
    key = visit.request.query_params.get("turn", "")[:256]
    start = _number(visit, "after", 0, 10_000_000) if "after" in visit.request.query_params else None
    answer = await visit.ask(f"{outline_sql(visible, found, '')} SELECT * FROM t WHERE turn = {literal(key)} LIMIT 1")
    if not answer.rows:
        return _unknown(visit)
    of = timeline.turn(answer.one())
    events = await _events(visit, visible, found, [of], "", start=start)
    return visit.render(
        "session_turn.html",
        session=found,
        turn=of,
        shown=events[of.key],
        start=start,
        chosen="",
        chosen_json=None,
        **_for_events(visible, found),
    )


async def event(visit: Visit) -> Response:
    """One event, whole."""
    visible, found = await _found(visit)
    event_id = _below(visit)[1]
    row = None if found is None else await _whole(visit, found, event_id)
    if found is None or row is None:
        return _unknown(visit)
    where = f"event_id = {literal(event_id)} AND {found.where()}"
    line = (await visit.ask(f"SELECT {line_columns(visible)} FROM events e WHERE {where} LIMIT 1")).objects()
    spans, _ = await _spans(visit, visible, found, [event_id])
    return visit.render(
        "session_event.html",
        session=found,
        event=row,
        text=pretty(row),
        event_id=event_id,
        held=[held for one in timeline.entries(timeline.items(line, spans)) for held in one.words.held],
        **_for_events(visible, found),
    )


async def content(visit: Visit) -> Response:
    """What is content of an event. The SQL service tells the audit before it answers."""
    visible, found = await _found(visit)
    if found is None:
        return _unknown(visit)
    if not visible.has("content", "event_id", "field", "text"):
        raise AskFault(f"to read content takes {NO_CONTENT}", reason="forbidden", status=403)
    event_id = _below(visit)[1]
    of = Texts.named(visit.request.query_params)
    fault, texts = None, []
    try:
        # No text more than is shown: the audit is told how many were read.
        answer = await visit.ask_now(texts_sql(visible, found, event_id, _TEXTS_MAX, of))
        texts = [_text(one) for one in answer.objects()]
    except AskFault as error:
        fault = error
    # A part of a page is only put in its place when all went well; so the fault has to come as if it had.
    status = 200 if fault is None or visit.request.headers.get("hx-request") else fault.status
    return visit.render(
        "session_content.html",
        status=status,
        session=found,
        event_id=event_id,
        texts=texts,
        more=bool(texts) and there_are(texts) > len(texts),
        fault=fault,
        of_rows=visible.rows["content"],
        no_content=NO_CONTENT,
    )


NO_CONTENT = "a role with class content on `content`; an admin can grant it, for some teams only, too"


def _for_events(visible: Visible, found: Session) -> dict[str, Any]:
    return {
        "readable": visible.has("content", "event_id", "field", "text"),
        "no_content": NO_CONTENT,
        "held_back": HELD_BACK,
        "detail": visible.has("events", "command_line"),
        "gaps_counted": found.row.get("sequence_gaps"),
        "mark": mark,
        "bar": timeline.bar,
        "is_agent": lambda one: isinstance(one, timeline.Agent),
        "events_at_once": EVENTS,
    }


def pretty(row: Mapping[str, Any]) -> str:
    """An event as JSON: what is not null, its maps of attributes as one each."""
    shown = {name: value for name, value in row.items() if value is not None}
    for name, other in _MAPS:
        merged = {**(shown.pop(name, None) or {}), **_parsed(shown.pop(other, None) or {})}
        if merged:
            shown[name] = merged
    return orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()


def first_text(body: str) -> str | None:
    """What an API response says first: the text of its first block of type text. None: it has none."""
    try:
        parsed = orjson.loads(body)
    except ValueError:
        found = _FIRST_TEXT.search(body)
        if found is None:
            return None
        for end in range(len(found[1]), len(found[1]) - _ESCAPE_CHARS, -1):
            with suppress(ValueError):  # it was cut within an escape
                cut: str = orjson.loads(f'"{found[1][:end]}"')
                return cut
        return found[1]
    blocks = parsed.get("content") if isinstance(parsed, dict) else None
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
            return str(block["text"])
    return None


def _text(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `content` as the page shows it."""
    text = row["text"]
    answer = first_text(text) if text is not None and row.get("event_name") == "api_response_body" else None
    shown = None if text is None else text[:_TEXT_SHOWN_MAX]
    return {"length": None, "truncated": None, "masked": None, "body_ref": None, "event_name": None} | row | {
        "text": shown,
        "answer": answer,
        "cut": text is not None and len(text) > _TEXT_SHOWN_MAX,
    }  # fmt: skip


def _parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            out[name] = orjson.loads(text)
        except ValueError:
            out[name] = text
    return out


async def _found(visit: Visit) -> tuple[Visible, Session | None]:
    """The session of the path, if there is one for this person. Raises: AskFault, FilterFault."""
    visible, asked = await visit.visible(), listing(visit.request.query_params, visit.filters)
    if not visible.has("sessions", "session_id", "start_time", "last_time"):
        raise AskFault("sessions are not for your role", reason="forbidden", status=403)
    tenant, session_id = parts(visit.path)[:2]
    answer = await visit.ask(
        f"SELECT * FROM sessions WHERE tenant = {literal(tenant)} AND session_id = {literal(session_id)} LIMIT 1"
    )
    back = asked.query(**asked.said)
    return visible, Session(answer.one(), back) if answer.rows else None


def _unknown(visit: Visit) -> Response:
    return visit.render(
        "refusal.html",
        status=404,
        title="This is not to be found",
        text="There is no such session, turn or event; or it is not for your role, has expired, or is about to arrive.",
        again=True,
    )


def _here(visit: Visit, found: Session, turns: Sequence[Turn], *, last: bool) -> str:
    """Where what is shown is asked for again."""
    asked = visit.request.query_params
    if last and turns:
        return found.url(turns=_LAST, since=turns[0].place)
    if asked.get("turns") or asked.get("event"):
        return visit.here
    return found.url(turns=_LAST if last else 1)


async def _outline(visit: Visit, visible: Visible, found: Session, chosen: str, *, last: bool) -> list[Turn]:
    """The last turns, or those of the page that is asked for; with a chosen event: of the page that has it."""
    if last:
        since = _number(visit, "since", 1, 1_000_000) if "since" in visit.request.query_params else 1_000_000
        where = f"place > least(turns - {TURNS}, greatest({since - 1}, turns - {2 * TURNS}))"
    else:
        page = 1 if visit.request.query_params.get("turns") == _LAST else _number(visit, "turns", 1, 1_000_000)
        of_page = f"least({page - 1}, (turns - 1) // {TURNS})"
        if chosen:
            of_page = f"coalesce((SELECT min((place - 1) // {TURNS}) FROM t WHERE chosen IS NOT NULL), {of_page})"
        where = f"(place - 1) // {TURNS} = {of_page}"
    sql = f"{outline_sql(visible, found, chosen)} SELECT * FROM t WHERE {where} ORDER BY place"
    return [timeline.turn(row) for row in (await visit.ask(sql, limit=2 * TURNS)).objects()]


async def _events(
    visit: Visit, visible: Visible, found: Session, turns: Sequence[Turn], chosen: str, *, start: int | None = None
) -> dict[str, Any]:
    """What happened in those turns that are shown with their events.

    start: behind which event of each; None: the last ones, or those around the chosen one.

    Returns: turn → items, and from which event on, how many there are beyond, and whether all their spans are told.
    """
    starts: dict[str, int] = {}
    budget = _EVENTS_AT_ONCE
    last = turns[-1].key if turns else None
    for one in reversed(turns):
        number = one.numbers["chosen"] if chosen else None
        taken = min(one.events, EVENTS)
        if number is not None or one.key == last or taken <= budget:
            last_ones = max(0, one.events - EVENTS) if start is None else start
            starts[one.key] = last_ones if number is None else (int(number) - 1) // EVENTS * EVENTS
            budget -= taken
    if not starts:
        return {}
    parts = " OR ".join(
        f"(turn = {literal(key)} AND number > {first} AND number <= {first + EVENTS})" for key, first in starts.items()
    )
    # Only what is shown is read in all its columns; to number the events takes few.
    sql = (
        f"{numbered_sql(visible, found, ())} SELECT {line_columns(visible)}, turn, number, missing, restarted, "
        "started_us, ended_us FROM events e JOIN "
        "(SELECT event_id, turn, number, missing, restarted, started_us, ended_us "
        f"FROM n WHERE {parts}) USING (event_id) WHERE {found.where()} ORDER BY turn, number"
    )
    events = (await visit.ask(sql, limit=len(starts) * EVENTS)).objects()
    spans, all_spans = await _spans(visit, visible, found, [one["event_id"] for one in events])
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in starts}
    for row in events:
        rows[row["turn"]].append(row)
    return {
        one.key: {
            "items": timeline.items(rows[one.key], spans),
            "start": starts[one.key],
            "next": starts[one.key] + EVENTS,
            "beyond": max(0, one.events - starts[one.key] - EVENTS),
            "all_spans": all_spans,
        }
        for one in turns
        if one.key in starts
    }


async def _spans(
    visit: Visit, visible: Visible, found: Session, event_ids: Sequence[str]
) -> tuple[list[dict[str, Any]], bool]:
    """The spans of these events and those above them; and whether these are all that are for this person."""
    if not event_ids or not visible.has("spans", "trace_id", "span_id", "parent_span_id", "name", "start_time"):
        return [], True
    try:
        answer = await visit.ask(spans_sql(visible, found, event_ids), limit=_SPANS_MAX)
    except AskFault:
        return [], False
    return answer.objects(), not answer.truncated


async def _chosen_json(visit: Visit, found: Session, chosen: str, turns: Sequence[Turn]) -> str | None:
    if not chosen or not any(one.numbers["chosen"] is not None for one in turns):
        return None
    try:
        row = await _whole(visit, found, chosen)
    except AskFault:
        return None
    return None if row is None else pretty(row)


async def _whole(visit: Visit, found: Session, event_id: str) -> dict[str, Any] | None:
    answer = await visit.ask(
        f"SELECT * FROM events WHERE event_id = {literal(event_id)} AND {found.where()} LIMIT 1", limit=1
    )
    return answer.one() if answer.rows else None


def _number(visit: Visit, name: str, default: int, most: int) -> int:
    text = visit.request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not default <= int(text) <= most:
        raise FilterFault(f"{name} is a number of at least {default}")
    return int(text)


def _below(visit: Visit) -> list[str]:
    """What the path has below the session."""
    return parts(visit.path)[2:]


async def read(visit: Visit) -> Response:
    """The session, or what of it the path names. Told apart by its spelling: a session may be called "abc/turn"."""
    match parts(visit.path):
        case [_, _]:
            return await session(visit)
        case [_, _, "turn"]:
            return await turn(visit)
        case [_, _, "events", _]:
            return await event(visit)
        case [_, _, "events", _, "content"]:
            return await way_back(visit)
    return _unknown(visit)


async def changed(visit: Visit) -> Response:
    """What is asked for by a form."""
    match parts(visit.path):
        case [_, _, "events", _, "content"]:
            return await content(visit)
    return _unknown(visit)


_AT = "/sessions/{rest:path}"
PAGES = (Page(_AT, read), Page(_AT, changed, changes=True))
