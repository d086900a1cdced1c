"""`explain session`: the events and points of one session, folded again one by one, and what each has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import codec
from schemas.errors import CodecError
from schemas.records import record
from schemas.routing import DROP
from streams.engine.chunk import Record
from streams.inspect.databases import Here
from streams.inspect.decoding import instant, record_times
from streams.inspect.explanation import Explanation, Step, changes, check_fields, flat, only
from streams.inspect.finding import Session, session
from streams.inspect.source import Say, Stretch, reread
from streams.receipt import Receipt
from streams.rows import Rows
from streams.sessions import events, join, points, state
from streams.sessions.events import Event
from streams.sessions.fold import FoldSettings, Place, place
from streams.sessions.points import Point
from streams.sessions.state import Half

_RECORD = record("session")
DEFAULT_FIELDS = (*_RECORD.sums, "metric_totals", "sequence_gaps", "resends", "late")
# Of the fold itself, or of the whole log: nothing that a record adds to.
_KNOWN = tuple(f.name for f in _RECORD.fields if f.name not in ("epoch", "version"))


@dataclass(frozen=True)
class _Source:
    """One of the two sources of a session.

    make: a record of the fields read; place: where it belongs; named: what it is called, and its id; why: what it may
    be that keeps it from changing anything.
    """

    table: str
    record: str
    fields: tuple[str, ...]
    make: Callable[[Sequence[Any]], Any]
    place: Callable[[bytes, Any], Place]
    named: Callable[[Any], tuple[str, str]]
    fold: Callable[..., object]
    why: Callable[[Any], str]


_REFUSED = "value refused: no amount that can be meant"
_DROPPED = "dropped by routing: it only takes its place in the sequence"
_SILENT = "no change of these fields"


def _why_event(event: Event) -> str:
    if event.route == DROP:
        return _DROPPED
    return _REFUSED if events.addends(event)[2] & state.FLAG_VALUE else _SILENT


def _why_point(point: Point) -> str:
    if point.kind != "sum":
        return f"a {point.kind} is stored and not added up"
    if points.amount(point) is None:
        return _REFUSED
    if point.temporality == "cumulative":
        return "cumulative: its series has said so already, or has said something later"
    return _SILENT


_SOURCES = (
    _Source(
        table=state.BY_EVENTS,
        record="claude_event",
        fields=events.FIELDS,
        make=Event._make,
        place=lambda key, event: place(key, event, event.event_id, event.event_sequence),
        named=lambda event: (event.event_name, event.event_id),
        fold=events.fold_events,
        why=_why_event,
    ),
    _Source(
        table=state.BY_POINTS,
        record="metric_point",
        fields=points.FIELDS,
        make=Point._make,
        place=lambda key, point: place(key, point, point.point_id, None),
        named=lambda point: (points.label(point), point.point_id),
        fold=points.fold_points,
        why=_why_point,
    ),
)


async def explain_session(
    here: Here,
    kafka: Mapping[str, Any],
    tenant: str,
    session_id: str,
    fields: Sequence[str],
    settings: FoldSettings,
    say: Say,
) -> Explanation:
    """Which records made the session's row what it is.

    Args:    fields: of the record `session`, or `map.key`; empty: all sums.  settings: as the workers have them.
    Raises:  UnknownField.  NotOnThisMachine.  NoSuchRow.  DatabaseUnreadable.  UnknownFormat.  ClusterUnavailable.
             TopicMissing.  StateMismatch.
    """
    check_fields(fields, _KNOWN)
    fields = tuple(fields) or DEFAULT_FIELDS
    with session(here, tenant, session_id) as found:
        again = _Again(found, fields, settings)
        explanation = Explanation(f"session {session_id} of tenant {tenant}, partition {found.partition}")
        for source in _SOURCES:
            row = found.halves[source.table]
            upto = -1 if row is None else row.offset
            stretch = await reread(kafka, found.snapshots[source.table], upto, found.source_key.__eq__, say)
            if stretch is not None:
                if stretch.expired:
                    explanation.missing.append(
                        f"{stretch.topic}[{stretch.partition}] begins at offset {stretch.first}; "
                        f"0 to {stretch.first - 1} are gone"
                    )
                explanation.steps += again.steps(source, stretch)
        explanation.explained = again.row
        explanation.stored = again.chosen(found.half(state.BY_EVENTS), found.half(state.BY_POINTS))
    return explanation


class _Again:
    """The session, folded a second time from nothing."""

    def __init__(self, session: Session, fields: Sequence[str], settings: FoldSettings) -> None:
        self._session, self._fields, self._settings = session, fields, settings
        self._rows = {source.table: Rows(lambda keys: [None] * len(keys), state.LAYOUT) for source in _SOURCES}
        self.row: dict[str, Any] = {}

    def steps(self, source: _Source, stretch: Stretch) -> list[Step]:
        """One for every record of the session in a stretch of its source."""
        read, receipt = codec.reader(source.record, source.fields), Receipt(source.fields)
        first_seen: dict[str, int] = {}
        steps = []
        for found in stretch.records:
            at = (stretch.topic, stretch.partition, found.offset)
            try:
                value = source.make(receipt.borne_out(read([found.value])[0], found.timestamp_ms))
            except CodecError as error:
                steps.append(Step(*at, None, "unreadable", "-", {}, f"{error.reason}: see the topic rejected"))
                continue
            if source.place(found.key, value).session != self._session.name:
                continue  # without a session, of another day
            what, record_id = source.named(value)
            changed, resent = self._fold(source, found, value)
            why = ""
            if resent:
                why = f"re-send of offset {first_seen[record_id]}" if record_id in first_seen else "re-send"
            elif not changed:
                why = source.why(value)
            if not resent:
                first_seen[record_id] = found.offset
            steps.append(Step(*at, instant(value.event_time), what, record_id, changed, why))
        return steps

    def _fold(self, source: _Source, record: Record, value: Any) -> tuple[dict[str, tuple[Any, Any]], bool]:
        """What a record changes of the chosen fields, and whether it is a re-send."""
        rows, before = self._rows[source.table], self.row
        half = self._half(source.table)
        resends = half.resends if half else 0
        source.fold([(record.offset, record.key, value)], rows, lambda _: join.facts(None, None), self._settings)
        half = self._half(source.table)
        self.row = self.chosen(self._half(state.BY_EVENTS), self._half(state.BY_POINTS))
        return _told(changes(before, self.row)), half is not None and half.resends > resends

    def _half(self, table: str) -> Half | None:
        half: Half | None = self._rows[table].value(state.session_key(self._session.name))
        return half

    def chosen(self, by_events: Half | None, by_points: Half | None) -> dict[str, Any]:
        """The chosen fields of the row that two halves make."""
        halves = join.together(by_events, by_points, self._settings)
        if halves == (None, None):
            return {}
        row = join.session_row(*halves, 0, 0, self._settings.pause_us)
        return only(flat(record_times(row)), self._fields)


def _told(changed: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Without the zeros with which a row begins."""
    return {name: values for name, values in changed.items() if values[0] is not None or values[1]}
