"""What folding an event and folding a metric point have in common: re-sends, names, identities, beats, bounds.

A record changes a row only if its offset is beyond the row's; a redelivered one leaves it as it is, but has it written
and its session passed on again. A record that the session has seen within the horizon under an earlier offset (a
client's re-send) counts in ``resends`` and nowhere else.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from schemas.topics import MADE_UP
from streams import exact
from streams.expiry import Keep
from streams.rows import Rows, Working
from streams.sessions import beats as beating
from streams.sessions import state
from streams.sessions.state import Half, Hour, Identity, Named, Series

ID_SLOT_US = 600_000_000
LATEST_US = ((1 << 32) - 1) * ID_SLOT_US - 1
"""The last time whose slot fits a key: far beyond what nanoseconds in 64 bits can say."""


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """Times of the rules, in µs: the dedup horizon, the grace after which a record is late, the pause that stops a run,
    how long rows are kept."""

    horizon_us: int = 3600 * 1_000_000
    grace_us: int = 600 * 1_000_000
    pause_us: int = 1800 * 1_000_000
    keep: Keep = field(default_factory=Keep)


class Record(Protocol):
    """What both kinds of records carry (ids as UUID text, times in µs)."""

    @property
    def tenant(self) -> str: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def user_key(self) -> str | None: ...
    @property
    def user_account_uuid(self) -> str | None: ...
    @property
    def user_email(self) -> str | None: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def event_time(self) -> int: ...
    @property
    def received_time(self) -> int: ...
    @property
    def clock_suspect(self) -> bool | None: ...
    @property
    def since(self) -> int | None:
        """When what it says began, if that is more than what happened at its time."""


NAMES = (
    "user_id",
    "user_email",
    "user_account_uuid",
    "organization_id",
    "terminal_type",
    "app_version",
    "app_entrypoint",
    "service_name",
    "team",
    "department",
    "cost_center",
    "permission_mode",
)
"""The scalars of a session row, in the order in which Half.names keeps them."""


class Facts(NamedTuple):
    """What of a session decides how all its hours count: a change of it has every hour passed on again."""

    user: str
    identities: frozenset[tuple[int, str]]
    ghost: bool
    spent_by_events: bool
    team: str | None
    department: str | None
    cost_center: str | None


@dataclass(slots=True)
class Touched:
    """A session that a chunk touched: how many of its records were redelivered, and the hours that changed."""

    before: Facts
    redelivered: int = 0
    hours: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record belongs: the session's bytes in row keys, its id, and the identity that the record carries.

    holder: whose ids its id is among; of records without a session their user, whatever the day.
    """

    holder: bytes
    session: bytes
    session_id: str
    pseudo: bool
    level: int
    user: str
    stamp: state.Stamp
    hour: int
    slot: int
    id_slot: int


def place(key: bytes, record: Record, record_id: str, sequence: int | None) -> Place:
    """Records without a session count for their user, under a pseudo-session a day. A cumulative series lies in that of
    the day on which it began, whole: what a point adds is told by the one before.

    A record whose clock cannot be right is taken to have happened when it was received.
    """
    received, time = _time(record.received_time), _counted(record)
    user = record.user_key or ""
    session, session_id, pseudo = key, _session_id(record), False
    if session_id is None:
        (session, session_id), pseudo = _pseudo_session(key, record), True
    level = 3 if record.user_account_uuid else 2 if record.user_email else 1 if record.user_id else 0
    digest = bytes.fromhex(record_id.replace("-", ""))[:8]
    return Place(
        key,
        session,
        session_id,
        pseudo,
        level,
        user,
        (time, -1 if sequence is None else sequence, digest),
        time // state.HOUR_US,
        time // beating.SLOT_US,
        received // ID_SLOT_US,
    )


def session_of(key: bytes, record: Record) -> bytes:
    """The session's bytes in the keys of rows."""
    if _session_id(record) is not None:
        return key
    return _pseudo_session(key, record)[0]


def _session_id(record: Record) -> str | None:
    """None without one. One that is named like a pseudo-session, which no gateway lets pass, would take its place."""
    name = record.session_id
    return None if not name or name.startswith(MADE_UP) else name


def _pseudo_session(key: bytes, record: Record) -> tuple[bytes, str]:
    since = record.since
    return state.pseudo_session(key, (_counted(record) if since is None else _time(since)) // state.DAY_US)


def _counted(record: Record) -> int:
    return _time(record.received_time if record.clock_suspect else record.event_time)


def _time(us: int) -> int:
    # A time before 1970 has no hour that a key could hold; whatever stands in the log must not stop the partition.
    return min(max(us, 0), LATEST_US)


def row_keys(places: Iterable[Place], settings: FoldSettings, *, beats: bool = True) -> Iterator[bytes]:
    """The rows that nearly every record needs; asked once for all records of a chunk that lie in the same place."""
    for at in {(at.session, at.hour, at.level, at.user, at.slot, at.id_slot): at for at in places}.values():
        yield state.session_key(at.session)
        yield state.hour_key(at.session, at.hour, at.level, at.user)
        if beats:
            yield state.beats_key(at.session, at.slot)
        yield from _id_keys(at.holder, at.id_slot, settings.horizon_us)


@functools.lru_cache(maxsize=4096)
def _id_keys(holder: bytes, id_slot: int, horizon_us: int) -> tuple[bytes, ...]:
    """The ids rows in which an earlier copy of a record can be found; its own last.

    One slot ahead as well: the first copy may have come through a gateway whose clock is a little ahead.
    """
    first = max(0, id_slot - -(-horizon_us // ID_SLOT_US))
    return tuple(state.ids_key(holder, slot) for slot in (*range(first, id_slot), id_slot + 1, id_slot))


def known(rows: Rows, at: Place, offset: int, settings: FoldSettings) -> bool:
    """Has the session this id already? If not, it is remembered from now on."""
    keys = _id_keys(at.holder, at.id_slot, settings.horizon_us)
    digest = at.stamp[2]
    for key in keys:
        row = rows.get(key)
        if row is not None and _contains(row.value, digest):
            if key == keys[-1]:
                row.touched = True
            return True
    own = rows.change(keys[-1], bytes)
    if offset > own.offset:
        kept = own.value
        if len(kept) >= 8 * state.IDS_PER_ROW:  # a flood: the oldest half is forgotten, the session is flagged
            kept = kept[len(kept) // 2 // 8 * 8 :]
            half = rows.get(state.session_key(at.session))
            if half is not None:
                half.value.flags |= state.FLAG_IDS
        own.value = kept + digest
        own.offset = offset
    return False


def _contains(ids: bytes, digest: bytes) -> bool:
    at = ids.find(digest)
    while at % 8 > 0:  # -1 % 8 == 7: told apart below; found across a border between two ids: look on
        if at < 0:
            return False
        at = ids.find(digest, at + 1)
    return at >= 0


def half_of(
    rows: Rows, record: Record, at: Place, offset: int, counts: int, money: int, settings: FoldSettings
) -> Working:
    """The session's half row, to be written; one that nothing was heard of for so long as rows are kept begins anew.

    (Whether it was deleted meanwhile depends on when somebody looked, and must not change the numbers.)
    """
    key = state.session_key(at.session)
    row = rows.get(key) or rows.put(key, _new_half(record, at, counts, money))
    row.touched = True
    if record.received_time - row.value.received > settings.keep.sessions_us and row.offset >= 0:
        row.value = _new_half(record, at, counts, money)
    received = max(row.value.received, record.received_time)
    note_day(rows, key, offset, row.value.received, received)
    row.value.received = received
    return row


def of_before(half: Half, series: Series, settings: FoldSettings) -> bool:
    """Whether a series is of the time before its session began anew, and so of sums that are gone."""
    return 0 < series.received < half.since - settings.keep.sessions_us


def note_day(rows: Rows, key: bytes, offset: int, before: int, received: int) -> None:
    """Enter a row into the index of what expires, once a day of received time."""
    day = _time(received) // state.DAY_US
    if day != before // state.DAY_US:
        rows.put(state.expiry_key(day, key), b"", offset).touched = True


def _new_half(record: Record, at: Place, counts: int, money: int) -> Half:
    return Half(
        tenant=record.tenant,
        session=at.session_id,
        pseudo=at.pseudo,
        counts=[0] * counts,
        money=[[] for _ in range(money)],
        names=[None] * len(NAMES),
        identities=[],
        maps={},
        sums={},
        beats=[],
        hours=[],
        first=-1,
        last=-1,
        resends=0,
        late=0,
        received=0,
        flags=0,
        since=record.received_time,
    )


def new_hour(counts: int, money: int) -> Hour:
    return Hour([0] * counts, [[] for _ in range(money)], 0)


def is_late(record: Record, settings: FoldSettings) -> bool:
    """Whether the record was received more than the grace after its event."""
    return record.received_time - record.event_time > settings.grace_us


def see(half: Half, at: Place, record: Record, names: Sequence[str | None], settings: FoldSettings) -> None:
    """Fold what every new record says of its session: when, who, what it is called."""
    time = at.stamp[0]
    if half.first < 0 or time < half.first:
        half.first = time
    if time > half.last:
        half.last = time
    if is_late(record, settings):
        half.late += 1
    if record.clock_suspect:
        half.flags |= state.FLAG_CLOCK
    stamp = at.stamp
    kept = half.names
    for index, value in enumerate(names):
        if value:
            if len(value) > state.NAME_CHARS:
                value = state.bounded(value)
                half.flags |= state.FLAG_NAME
            name = kept[index]
            if name is None:
                kept[index] = Named(value, *stamp)
            elif stamp > (name.time, name.sequence, name.id):
                name.value, name.time, name.sequence, name.id = value, *stamp
    _identify(half, at)
    if at.hour not in half.hours:
        half.hours = sorted({*kept_hours(half.hours, half.received, settings), at.hour})


def kept_hours(hours: Iterable[int], received: int, settings: FoldSettings) -> Iterator[int]:
    """Those whose rows are still there for a session last heard of at ``received``."""
    oldest = (received - settings.keep.hours_us) // state.HOUR_US
    return (hour for hour in hours if hour >= oldest)


def identified(half: Half, at: Place) -> Place:
    """The place under an identity that the session keeps: past the bound, everybody new counts as the first one."""
    if len(half.identities) < state.IDENTITIES:
        return at
    if any(who.level == at.level and who.user == at.user for who in half.identities):
        return at
    half.flags |= state.FLAG_IDENTITIES
    return replace(at, level=half.identities[0].level, user=half.identities[0].user)


def _identify(half: Half, at: Place) -> None:
    for who in half.identities:
        if who.level == at.level and who.user == at.user:
            if at.stamp > (who.time, who.sequence, who.id):
                who.time, who.sequence, who.id = at.stamp
            return
    half.identities.append(Identity(at.level, at.user, *at.stamp))


def beat(rows: Rows, half: Half, at: Place, offset: int, sequence: int | None, *, dropped: bool = False) -> None:
    """Fold a record's time and sequence into its slot."""
    row = rows.change(state.beats_key(at.session, at.slot), lambda: array("Q"))
    if offset > row.offset:
        if not beating.insert(row.value, beating.packed(at.stamp[0], sequence, dropped=dropped)):
            half.flags |= state.FLAG_BEATS
        row.offset = offset


def summarise(rows: Rows, session: bytes, slot: int, settings: FoldSettings) -> None:
    """Bring the session row's summary of a slot up to date; once a chunk and slot, it walks the slot's beats."""
    kept, half = rows.value(state.beats_key(session, slot)), rows.value(state.session_key(session))
    if not kept or half is None:
        return
    if not beating.place(half.beats, beating.summary(slot, kept, settings.pause_us), settings.pause_us):
        half.flags |= state.FLAG_SLOTS


def add_to_map(kept: dict[str, int], name: str, amount: int) -> None:
    """Count under a name, in a map of at most 64 names and ``other``."""

    def merge(entries: dict[str, int], leaving: str) -> None:
        entries[state.OTHER] = entries.get(state.OTHER, 0) + entries.pop(leaving)

    slot = state.slot_of_map(kept, state.bounded(name), merge)
    kept[slot] = kept.get(slot, 0) + amount


def add_to_sums(kept: dict[str, list[float]], name: str, amount: float) -> None:
    """The same for exact sums; a name stands in the map even when nothing but zeros was added."""

    def merge(entries: dict[str, list[float]], leaving: str) -> None:
        other = entries.setdefault(state.OTHER, [])
        for partial in entries.pop(leaving):
            exact.add(other, partial)

    exact.add(kept.setdefault(state.slot_of_map(kept, state.bounded(name), merge), []), amount)
