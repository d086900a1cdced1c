"""What of a partition's rows has expired, by the received time that was seen in it, and what was published of it.

Hours and beats go by their own time: a record counts in an hour at most 30 days before its receipt (DESIGN.md, rule 9),
so nothing can be added to one that is 60 days old. Sessions go when nothing was heard of them for 400 days, and their
cumulative series with them: one that says nothing for longer while its session lives is still what the session's sums
hold of it. An index has an entry for every day on which a row was touched; only the last of them is the row's.

Deleting is never what changes a number: a session that comes back after so long begins anew whether its row is still
there or not (fold.half_of), and nothing passes on an hour that has expired (fold.kept_hours). Rows are deleted some
time after that (Keep.margin_us), so it does not matter when somebody looks, and how far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from schemas import topics
from streams.expiry import Clock, Scan
from streams.rows import Rows
from streams.sessions import state
from streams.sessions.beats import SLOT_US
from streams.sessions.fold import ID_SLOT_US, FoldSettings, of_before
from streams.sessions.state import DAY_US, HOUR_US, Half, Series


@dataclass(slots=True)
class Expired:
    """Keys of rows to delete, and Kafka's (key, partition key) of what was published of them."""

    rows: list[bytes] = field(default_factory=list)
    sessions: list[tuple[bytes, bytes]] = field(default_factory=list)
    hours: list[tuple[bytes, bytes]] = field(default_factory=list)


def expired(clock: Clock, scan: Scan, own: Rows, other: Rows, newest_us: int, settings: FoldSettings) -> Expired:
    """What of one table and partition has expired.

    Args:    scan, own: of the table whose source was read.  other: the rows of the sessions' other half.
             newest_us: the newest received time of the chunk.
    """
    out = Expired()
    out.rows += clock.due(scan, b"i", (newest_us - settings.horizon_us) // ID_SLOT_US - 2)
    out.rows += clock.due(scan, b"t", settings.keep.hours_before(newest_us) // SLOT_US)
    hours = clock.due(scan, b"h", settings.keep.hours_before(newest_us) // HOUR_US)
    out.rows += hours
    out.hours += dict.fromkeys(_published_hours(hours, own, other))
    entries = clock.due(scan, b"e", settings.keep.sessions_before(newest_us) // DAY_US)
    keys = [state.expiry_parts(entry)[1] for entry in entries]
    own.prefetch(keys)
    own.prefetch(_half_of_series(key) for key in keys if not key.startswith(state.SESSION))
    other.prefetch(key for key in keys if key.startswith(state.SESSION))
    for entry in entries:
        _look(entry, own, other, out, settings)
    return out


def _published_hours(hours: Iterable[bytes], own: Rows, other: Rows) -> Iterator[tuple[bytes, bytes]]:
    """An hour may have been published for everybody whom its session ever named."""
    hours = list(hours)
    for rows in (own, other):
        rows.prefetch(state.session_key(state.hour_parts(key)[3]) for key in hours)
    for key in hours:
        hour, _, user, session = state.hour_parts(key)
        halves: list[Half | None] = [rows.value(state.session_key(session)) for rows in (own, other)]
        for half in halves:
            if half is not None:
                for name in {user, *(who.user for who in half.identities)}:
                    owner = topics.make_key(half.tenant, name)
                    yield topics.make_key(half.tenant, name, half.session, str(hour * HOUR_US)), owner


def _half_of_series(key: bytes) -> bytes:
    return state.session_key(state.series_session(key))


def _look(entry: bytes, own: Rows, other: Rows, out: Expired, settings: FoldSettings) -> None:
    day, key = state.expiry_parts(entry)
    row = own.get(key)
    if row is None or row.value.received // DAY_US > day:
        out.rows.append(entry)
        return  # gone, or touched since: the entry of that day stands for it
    value: Half | Series = row.value
    lives: Half | None
    if isinstance(value, Half):
        lives = other.value(key)  # one session: both halves go together
    else:
        half: Half | None = own.value(_half_of_series(key))
        lives = None if half is None or of_before(half, value, settings) else half
    if lives is not None and lives.received // DAY_US > day:
        own.put(state.expiry_key(lives.received // DAY_US, key), b"", row.offset).touched = True
        out.rows.append(entry)
        return
    if isinstance(value, Half):
        name = topics.make_key(value.tenant, value.session)
        out.sessions.append((name, name))
    out.rows += (key, entry)  # in this order: a row without its entry would stay for ever
