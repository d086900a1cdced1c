"""Folding events into the sessions' event half: counts, tokens, money, decisions, beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from schemas.routing import DROP
from streams import exact
from streams.rows import Rows, Working
from streams.sessions import fold, state
from streams.sessions.fold import Facts, FoldSettings, Touched
from streams.sessions.state import Half, Hour

COUNTS = (
    "prompts",
    "api_requests",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "tools",
    "tool_failures",
    "api_errors",
    "internal_errors",
    "retries_exhausted",
    "refusals",
    "accepts",
    "rejects",
    "compactions",
    "subagents",
)
"""What Half.counts and Hour.counts of this half hold, in this order."""
MONEY = ("cost_usd",)
AT = {name: index for index, name in enumerate(COUNTS)}
UNNAMED = "unknown"
"""The model of requests that name none, so that the map of models sums up to the cost."""


class Event(NamedTuple):
    """The fields of a ClaudeEvent that are folded; ``reader`` gives them in this order."""

    tenant: str
    session_id: str | None
    user_key: str | None
    user_account_uuid: str | None
    user_email: str | None
    user_id: str | None
    event_id: str
    event_name: str
    event_time: int
    received_time: int
    clock_suspect: bool | None
    event_sequence: int | None
    organization_id: str | None
    terminal_type: str | None
    app_version: str | None
    service_version: str | None
    app_entrypoint: str | None
    service_name: str | None
    team: str | None
    department: str | None
    cost_center: str | None
    model: str | None
    cost_usd: float | None
    cost_usd_micros: int | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None
    success: bool | None
    decision: str | None
    to_mode: str | None
    route: str | None

    @property
    def since(self) -> None:
        """An event is what happened at its time."""


FIELDS = Event._fields

Addends = tuple[tuple[tuple[int, int], ...], float, int]
"""((index in COUNTS, amount) ..., US dollars, flags)"""
_ONE = {
    "user_prompt": AT["prompts"],
    "api_error": AT["api_errors"],
    "internal_error": AT["internal_errors"],
    "api_retries_exhausted": AT["retries_exhausted"],
    "api_refusal": AT["refusals"],
    "compaction": AT["compactions"],
    "subagent_completed": AT["subagents"],
}


def addends(event: Event) -> Addends:
    """What one event adds to the sums of its session and hour."""
    name = event.event_name
    if name == "api_request":
        return _request(event)
    if name == "tool_result":
        if event.success is False:
            return ((AT["tools"], 1), (AT["tool_failures"], 1)), 0.0, 0
        return ((AT["tools"], 1),), 0.0, 0
    if name == "tool_decision":
        return ((AT["accepts" if event.decision == "accept" else "rejects"], 1),), 0.0, 0
    index = _ONE.get(name)
    return (() if index is None else ((index, 1),)), 0.0, 0


def _request(event: Event) -> Addends:
    counts, flags = [(AT["api_requests"], 1)], 0
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"):
        amount: int | None = getattr(event, name)
        if amount:
            if abs(amount) <= exact.LARGEST_WHOLE:
                counts.append((AT[name], amount))
            else:
                flags |= state.FLAG_VALUE
    said = event.cost_usd if event.cost_usd_micros is None else event.cost_usd_micros / 1e6
    cost = exact.bounded(said)
    if said is not None and cost is None:
        flags |= state.FLAG_VALUE
    return tuple(counts), cost or 0.0, flags


def _add(row: Half | Hour, adding: Addends) -> None:
    for index, amount in adding[0]:
        row.counts[index] += amount
    if adding[1]:
        exact.add(row.money[0], adding[1])


def _fold_half(half: Half, at: fold.Place, event: Event, adding: Addends, settings: FoldSettings) -> None:
    names = (
        event.user_id,
        event.user_email,
        event.user_account_uuid,
        event.organization_id,
        event.terminal_type,
        event.app_version or event.service_version,
        event.app_entrypoint,
        event.service_name,
        event.team,
        event.department,
        event.cost_center,
        event.to_mode if event.event_name == "permission_mode_changed" else None,
    )
    fold.see(half, at, event, names, settings)
    fold.add_to_map(half.maps, event.event_name, 1)
    half.flags |= adding[2]
    _add(half, adding)
    if event.event_name == "api_request":
        fold.add_to_sums(half.sums, event.model or UNNAMED, adding[1])


def _take_place(
    rows: Rows, row: Working, at: fold.Place, offset: int, sequence: int | None, settings: FoldSettings
) -> None:
    """Fold an event that routing dropped: its place in the sequence, and nothing else, not even that it was sent again.

    Its id is remembered as another one: the event itself may come yet, when the rules that dropped it are gone.
    """
    time, order, digest = at.stamp
    at = replace(at, stamp=(time, order, bytes(byte ^ 0xFF for byte in digest)))
    if fold.known(rows, at, offset, settings):
        rows.touch(state.beats_key(at.session, at.slot))
    else:
        fold.beat(rows, row.value, at, offset, sequence, dropped=True)
    row.offset = max(row.offset, offset)


def fold_events(
    events: Sequence[tuple[int, bytes, Event]],
    rows: Rows,
    facts: Callable[[bytes], Facts],
    settings: FoldSettings,
) -> dict[bytes, Touched]:
    """Fold a chunk of events into the rows, in order.

    Args:    events: (offset, key, event), offsets rising.  facts: what is known of a session before the chunk.
    Returns: the sessions touched.
    """
    places = [fold.place(key, event, event.event_id, event.event_sequence) for _, key, event in events]
    rows.prefetch(fold.row_keys(places, settings))
    touched: dict[bytes, Touched] = {}
    slots: dict[tuple[bytes, int], None] = {}
    for (offset, _, event), seen_at in zip(events, places, strict=True):
        seen = touched.get(seen_at.session) or Touched(facts(seen_at.session))
        row = fold.half_of(rows, event, seen_at, offset, len(COUNTS), len(MONEY), settings)
        half: Half = row.value
        seen.redelivered += offset <= row.offset
        touched[seen_at.session] = seen
        slots[seen_at.session, seen_at.slot] = None
        if event.route == DROP:
            _take_place(rows, row, seen_at, offset, event.event_sequence, settings)
            continue
        at = fold.identified(half, seen_at)
        hour_key = state.hour_key(at.session, at.hour, at.level, at.user)
        if fold.known(rows, at, offset, settings):
            if offset > row.offset:
                half.resends += 1
                row.offset = offset
            rows.touch(hour_key)
            rows.touch(state.beats_key(at.session, at.slot))
            continue
        seen.hours.add(at.hour)
        adding = addends(event)
        if offset > row.offset:
            _fold_half(half, at, event, adding, settings)
            row.offset = offset
        hour = rows.change(hour_key, lambda: fold.new_hour(len(COUNTS), len(MONEY)))
        if offset > hour.offset:
            _add(hour.value, adding)
            hour.value.records += 1
            hour.offset = offset
        fold.beat(rows, half, at, offset, event.event_sequence)
    for session_bytes, slot in slots:
        fold.summarise(rows, session_bytes, slot, settings)
    return touched
