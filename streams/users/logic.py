"""Users: hour and day totals from the snapshots of sessions' hours.

A snapshot replaces what the same session said of the same hour before, so it counts with new minus old; one that is not
newer than what was counted changes nothing. Windows are keyed by user, team and cost centre; a snapshot that moved to
another team leaves the old window and enters the new one.

Rows (a row's version is the offset of the last snapshot folded into it):

    w + grain + start hour + user, team, cost centre    a window: sessions and sums
    c + day + user + session                            what was counted of a session on a day, hour by hour

Snapshots of an hour come for 60 days at most; some time after (Keep.margin_us) its window goes, and what was counted of
it. Days are kept as long as sessions. Time is the received time that the snapshots name.

Windows come before counted snapshots in the changelog: a crash can cut it anywhere, and what counts as counted must be
in the windows. A snapshot redelivered after a crash has all its windows written and emitted again; the counted row
therefore remembers every (team, cost centre) it was counted under, until what was emitted of those windows is
acknowledged. A chunk that would have it remember too many is folded in parts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from schemas.records import record
from schemas.topics import make_key, split_key
from streams import exact
from streams.expiry import Clock, Keep, Scan
from streams.formats import Formats
from streams.receipt import AHEAD_US
from streams.rows import Layout, Read, Rows, Stored, Working

TABLE = "user-windows"
KINDS = {b"w": "window", b"c": "counted"}
"""First byte of a key -> what the row is."""

OTHER = "other"
HOUR_US = 3_600_000_000
LOGIC = 2
"""Grows with every change that makes other rows of the same snapshots; rows of another one are refused."""
GROUPS = 16
"""(team, cost centre) pairs beyond which a counted row forgets those that it no longer counts under."""
GROUPS_ADDED = 64
"""Pairs that one chunk can have a counted row remember beside those that it has: so it fits a message."""
WINDOWS_MOST = 20_000
"""Windows that one chunk changes, but for a single snapshot's: what heap and time they take."""
DEPARTMENTS = 64
"""Departments that a window tells apart at a time; further ones are `other`."""

_WINDOW = record("user_window")
INTEGERS = tuple(name for name in _WINDOW.sums if _WINDOW.field(name).type == "long")
FLOATS = tuple(name for name in _WINDOW.sums if _WINDOW.field(name).type == "double")
IDENTITY = (
    "tenant",
    "user_key",
    "session_id",
    "start",
    "epoch",
    "version",
    "active",
    "team",
    "department",
    "cost_center",
    "received_time",
)
FIELDS = (*IDENTITY, *INTEGERS, *FLOATS)
"""The fields of a `session_hour` that are folded; ``reader`` gives them in this order."""

Group = tuple[str, str]
"""(team, cost centre), empty for none."""


class Snapshot(NamedTuple):
    """One snapshot of one hour of one session."""

    tenant: str
    user: str
    session: str
    hour: int
    epoch: int
    version: int
    active: bool
    team: str
    department: str
    cost_center: str
    received: int
    integers: tuple[int, ...]
    floats: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Snapshot:
        at = len(IDENTITY)
        tenant, user, session, start, epoch, version, active, team, department, cost_center, received = values[:at]
        return cls(
            tenant,
            user or "",
            session,
            start // HOUR_US,
            epoch,
            version,
            bool(active),
            _part(team),
            department or "",
            _part(cost_center),
            received or 0,
            tuple(values[at : at + len(INTEGERS)]),
            tuple(values[at + len(INTEGERS) :]),
        )


def _part(value: str | None) -> str:
    """A name as a part of a key, where 0x1F separates parts."""
    return (value or "").replace("\x1f", " ")


class Window(msgspec.Struct, array_like=True):
    """Totals of a user, team and cost centre in an hour or a day."""

    #: Name -> how many of the hours of sessions in here name it.
    departments: dict[str, int]
    sessions: int
    integers: list[int]
    floats: list[list[float]]
    received: int


class CountedHour(NamedTuple):
    """What of an hour of a session is in a user's windows."""

    version: int
    group: Group
    active: bool
    integers: tuple[int, ...]
    floats: tuple[float, ...]
    department: str


class Counted(msgspec.Struct, array_like=True):
    """What of a session is in a user's windows of one day: its hours, and the groups whose windows it changed."""

    hours: dict[int, CountedHour]
    groups: list[Group]


def _with_departments(kind: bytes, body: bytes) -> bytes:
    """A row of format 1, where a window held one department, and what was counted none."""
    row = msgspec.msgpack.decode(body)
    if kind == WINDOW:
        row[0] = {row[0]: 1} if row[0] else {}
    else:
        row[0] = {hour: [*counted, ""] for hour, counted in row[0].items()}
    return msgspec.msgpack.encode(row)


FORMATS = Formats(2, {1: _with_departments})


_encode = msgspec.msgpack.Encoder().encode
_window = msgspec.msgpack.Decoder(Window).decode
_counted = msgspec.msgpack.Decoder(Counted).decode
_HOUR = struct.Struct(">I")


WINDOW = b"w"
"""First byte of the key of a window, whose row is what is published."""


def window_key(grain: str, hour: int, tenant: str, user: str, group: Group) -> bytes:
    return WINDOW + grain[0].encode() + _HOUR.pack(hour) + "\x1f".join((tenant, user, *group)).encode()


def window_parts(key: bytes) -> tuple[str, int, list[str]]:
    """(grain, start hour, [tenant, user, team, cost centre]) of a window's key."""
    return "hour" if key[1:2] == b"h" else "day", _HOUR.unpack_from(key, 2)[0], key[6:].decode().split("\x1f")


def published_key(key: bytes) -> tuple[bytes, bytes]:
    """Kafka's (key, partition key) of the window with this key."""
    grain, start, parts = window_parts(key)
    return make_key(*parts, grain, str(start * HOUR_US)), make_key(*parts[:2])


def counted_key(tenant: str, user: str, session: str, hour: int) -> bytes:
    return b"c" + _HOUR.pack(hour // 24) + f"{tenant}\x1f{user}\x1f{session}".encode()


def key_parts(key: bytes) -> dict[str, Any]:
    """What a row's key says: kind, tenant, user, and what its kind adds; hours and days counted from 1970.

    Raises: ValueError: no key that this release writes.
    """
    kind = KINDS.get(key[:1])
    try:
        if kind == "window":
            grain, hour, (tenant, user, team, cost_center) = window_parts(key)
            group = {"team": team, "cost_center": cost_center}
            return {"kind": kind, "tenant": tenant, "user_key": user, **group, "grain": grain, "hour": hour}
        if kind == "counted":
            day = _HOUR.unpack_from(key, 1)[0]
            tenant, user, session = key[5:].decode().split("\x1f")
            return {"kind": kind, "tenant": tenant, "user_key": user, "session_id": session, "day": day}
    except struct.error as error:
        raise ValueError(f"a key of {len(key)} bytes is too short") from error
    raise ValueError(f"unknown kind of row {key[:1]!r}")


def unpack(key: bytes, payload: bytes) -> Window | Counted:
    """The row with this key behind a payload.

    Raises: WrongRow: a format that this release does not know.  msgspec.MsgspecError.
    """
    kind = key[:1]
    of: Callable[[bytes], Window | Counted] = _window if kind == WINDOW else _counted
    return of(FORMATS.body(kind, payload))


def _pack(row: Window | Counted) -> bytes:
    try:
        return FORMATS.payload(_encode(row))
    except OverflowError:
        assert isinstance(row, Window)
        row.integers = list(map(exact.whole, row.integers))
        return FORMATS.payload(_encode(row))


LAYOUT = Layout(unpack, _pack, order=(WINDOW, b"c"))


def window_row(key: bytes, offset: int, window: Window, epoch: int) -> dict[str, Any]:
    """A window as the record `user_window`.  offset: of the last snapshot folded into it."""
    grain, start, (tenant, user, team, cost_center) = window_parts(key)
    return {
        "tenant": tenant,
        "user_key": user,
        "team": team or None,
        "department": _department(window),
        "cost_center": cost_center or None,
        "grain": grain,
        "start": start * HOUR_US,
        "sessions": window.sessions,
        **dict(zip(INTEGERS, map(exact.whole, window.integers), strict=True)),
        **{name: exact.total(partials) for name, partials in zip(FLOATS, window.floats, strict=True)},
        "epoch": epoch,
        "version": offset + 1,
        "received_time": window.received,
    }


class Users:
    """The rows of one chunk while its snapshots are folded.

    forgets: rows forget groups; what was emitted of earlier chunks must be acknowledged before the rows are written.

    Args:    epoch: ours; snapshots of another are left alone. The public topic holds those of a higher one as well, as
             soon as it is published.
    """

    def __init__(self, read: Read, epoch: int) -> None:
        self._epoch = epoch
        self._rows = Rows(read, LAYOUT)
        self._newest = 0
        self.duplicates = 0
        self.forgets = False

    def fold(self, snapshots: Sequence[tuple[int, Snapshot]], applied: int) -> int | None:
        """Fold (offset, snapshot) pairs, offsets rising: all of them, or the first where they change too much.

        Args:    applied: everything up to this offset is in the rows; what has none was counted, and has expired since.
        Returns: the offset of the first that was left, if any was.
        """
        snapshots = [(offset, new) for offset, new in snapshots if new.epoch == self._epoch]
        keys = [counted_key(new.tenant, new.user, new.session, new.hour) for _, new in snapshots]
        self._rows.prefetch(keys)
        count = self._first(snapshots, keys)
        left = snapshots[count][0] if count < len(snapshots) else None
        snapshots, keys = snapshots[:count], keys[:count]
        ahead = self._prefetch(snapshots, keys)
        replaced = _replaced(snapshots, keys)
        for (offset, new), key in zip(snapshots, keys, strict=True):
            self._newest = max(self._newest, new.received)
            row = self._rows.get(key)
            old = None if row is None else row.value.hours.get(new.hour)
            if offset <= applied or (old is not None and old.version >= new.version):
                if row is not None:
                    self._again(offset, new, row)
            elif offset <= ahead or offset not in replaced:
                self._fold(offset, new, key)
        return left

    def _first(self, snapshots: Sequence[tuple[int, Snapshot]], keys: Sequence[bytes]) -> int:
        """How many of them can be folded at once, at least one."""
        windows = 0
        counted: dict[tuple[bytes, int], int] = {}
        known: dict[bytes, dict[Group, None]] = {}
        most: dict[bytes, int] = {}
        for number, ((_, new), key) in enumerate(zip(snapshots, keys, strict=True)):
            groups = known.get(key)
            if groups is None:
                row = self._rows.get(key)
                groups = known[key] = {} if row is None else dict.fromkeys(row.value.groups)
                most[key] = len(groups) + GROUPS_ADDED
            groups[new.team, new.cost_center] = None
            windows += 2 * (len(groups) - counted.get((key, new.hour), 0))
            counted[key, new.hour] = len(groups)
            if number and (len(groups) > most[key] or windows > WINDOWS_MOST):
                return number
        return len(snapshots)

    def _prefetch(self, snapshots: Sequence[tuple[int, Snapshot]], keys: Sequence[bytes]) -> int:
        """Read all rows that the snapshots change; the counted ones are read.

        Returns: the offset up to which windows may hold what no counted row knows of: a crash came between the two.
        What a later snapshot of the chunk replaces need not be counted, but only beyond it.
        """
        windows = {key: None for _, new in snapshots for key in self._window_keys(new, (new.team, new.cost_center))}
        for (_, new), key in zip(snapshots, keys, strict=True):
            row = self._rows.get(key)
            for group in () if row is None else row.value.groups:
                windows.update(dict.fromkeys(self._window_keys(new, group)))
        self._rows.prefetch(windows)
        return max((row.offset for key in windows if (row := self._rows.get(key)) is not None), default=-1)

    def _fold(self, offset: int, new: Snapshot, key: bytes) -> None:
        row = self._rows.get(key) or self._rows.put(key, Counted({}, []))
        counted: Counted = row.value
        if not row.touched:
            self._forget(counted)
        row.touched = True
        row.offset = max(row.offset, offset)
        group = (new.team, new.cost_center)
        if group not in counted.groups:
            counted.groups.append(group)
        old = counted.hours.get(new.hour)
        before = _present(counted)
        now = CountedHour(new.version, group, new.active, new.integers, new.floats, new.department)
        counted.hours[new.hour] = now
        after = _present(counted)
        for known in counted.groups:
            days = (known in after) - (known in before)
            hour, day = self._windows(new, known)
            for window, sessions in ((hour, None), (day, days)):
                if offset <= window.offset:
                    continue
                window.offset = offset
                if old is not None and old.group == known:
                    _add(window.value, -1, -int(old.active) if sessions is None else 0, old)
                if group == known:
                    _add(window.value, 1, int(new.active) if sessions is None else 0, now)
                window.value.sessions += sessions or 0
                window.value.received = max(window.value.received, new.received)

    def _again(self, offset: int, new: Snapshot, row: Working) -> None:
        """It was counted before; a crash may have kept its windows from being written or emitted."""
        self.duplicates += 1
        row.touched = True
        row.offset = max(row.offset, offset)
        for group in row.value.groups:
            for key in self._window_keys(new, group):
                self._rows.touch(key)

    def _forget(self, counted: Counted) -> None:
        """Of too many groups, forget those that were left in chunks before.

        A client that names a team an event must not make a row that outgrows a message. Only in a chunk that passes
        none of their windows on again: what chunks before emitted can be waited for, what this one emits cannot.
        """
        if len(counted.groups) > GROUPS:
            held = {hour.group for hour in counted.hours.values()}
            if len(held) < len(counted.groups):
                counted.groups = [group for group in counted.groups if group in held]
                self.forgets = True

    def _windows(self, new: Snapshot, group: Group) -> tuple[Working, Working]:
        hour, day = self._window_keys(new, group)
        return self._rows.change(hour, _empty), self._rows.change(day, _empty)

    def _window_keys(self, new: Snapshot, group: Group) -> tuple[bytes, bytes]:
        return (
            window_key("hour", new.hour, new.tenant, new.user, group),
            window_key("day", new.hour // 24 * 24, new.tenant, new.user, group),
        )

    def puts(self) -> dict[bytes, Stored]:
        """Touched rows in the order in which the changelog must hold them: windows first."""
        return self._rows.puts()

    def expired(self, clock: Clock, scan: Scan, keep: Keep) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
        """What of the partition has expired, by the newest receipt of the chunk.

        Returns: keys of rows to delete, and Kafka's (key, partition key) of the windows that were published of them.
        """
        hour, day = keep.hours_before(self._newest) // HOUR_US, keep.sessions_before(self._newest) // HOUR_US
        windows = clock.due(scan, b"wh", hour) + clock.due(scan, b"wd", day)
        return clock.due(scan, b"c", hour // 24) + windows, [published_key(key) for key in windows]

    def published(self) -> list[dict[str, Any]]:
        """The touched windows as records `user_window`."""
        return [
            window_row(key, row.offset, row.value, self._epoch)
            for key, row in self._rows.touched(WINDOW)
            if row.offset >= 0
        ]


def windows(stored: Iterable[tuple[bytes, Stored]], epoch: int) -> list[dict[str, Any]]:
    """Stored windows (key, row) as records `user_window`."""
    return [window_row(key, offset, _window(FORMATS.body(WINDOW, payload)), epoch) for key, (offset, payload) in stored]


def unknown_windows(keys: Iterable[bytes], read: Read, since_us: int) -> list[tuple[bytes, bytes]]:
    """Published windows that no row stands for, though the records of their time were all read again.

    Args:    keys: Kafka's.  since_us: records received from this time on were read.
    Returns: Kafka's (key, partition key).
    """
    rows: dict[bytes, bytes] = {}
    for key in keys:
        tenant, user, team, cost_center, grain, start = split_key(key)
        if int(start) >= since_us + AHEAD_US:
            rows[key] = window_key(grain, int(start) // HOUR_US, tenant, user, (team, cost_center))
    found = read(list(rows.values()))
    return [(key, owner(key)) for key, stored in zip(rows, found, strict=True) if stored is None]


def unknown_hours(keys: Iterable[bytes], read: Read, since_us: int) -> list[tuple[bytes, bytes]]:
    """The same of published hours of sessions: those that were not counted."""
    rows: dict[bytes, tuple[int, bytes]] = {}
    for key in keys:
        tenant, user, session, start = split_key(key)
        if int(start) >= since_us + AHEAD_US:
            hour = int(start) // HOUR_US
            rows[key] = (hour, counted_key(tenant, user, session, hour))
    found = read([row for _, row in rows.values()])
    return [
        (key, owner(key))
        for (key, (hour, row)), stored in zip(rows.items(), found, strict=True)
        if stored is None or hour not in _counted(FORMATS.body(row[:1], stored[1])).hours
    ]


def owner(key: bytes) -> bytes:
    """Tenant and user of a published window or hour: what their rows are partitioned by."""
    return make_key(*split_key(key)[:2])


def _empty() -> Window:
    return Window({}, 0, [0] * len(INTEGERS), [[] for _ in FLOATS], 0)


def _replaced(snapshots: Sequence[tuple[int, Snapshot]], keys: Sequence[bytes]) -> set[int]:
    """Offsets of those that need not be counted, as the next newer one counts in the same windows.

    One that was left for other windows must be: what a crash kept of those it left would else depend on the chunk.
    """
    replaced: set[int] = set()
    last: dict[tuple[bytes, int], tuple[int, Snapshot]] = {}
    for (offset, new), counted in zip(snapshots, keys, strict=True):
        key = (counted, new.hour)
        before = last.get(key)
        if before is None or new.version > before[1].version:
            if before is not None and (before[1].team, before[1].cost_center) == (new.team, new.cost_center):
                replaced.add(before[0])
            last[key] = (offset, new)
    return replaced


def _present(counted: Counted) -> set[Group]:
    """The groups under which the session counts as one of the day's."""
    return {hour.group for hour in counted.hours.values() if hour.active}


def _add(window: Window, sign: int, sessions: int, hour: CountedHour) -> None:
    window.sessions += sessions
    kept = window.integers
    for index, amount in enumerate(hour.integers):
        if amount:
            kept[index] += sign * amount
    for partials, value in zip(window.floats, hour.floats, strict=True):
        if value:
            exact.add(partials, sign * value)
    if hour.department:
        _vote(window.departments, hour.department, sign)


def _vote(departments: dict[str, int], name: str, sign: int) -> None:
    if name not in departments and (sign < 0 or len(departments) >= DEPARTMENTS):
        name = OTHER
    votes = departments.get(name, 0) + sign
    if votes:
        departments[name] = votes
    else:
        departments.pop(name, None)


def _department(window: Window) -> str | None:
    """The one that most hours of sessions name, ties by name: whatever the order in which they came."""
    departments = window.departments
    return min(departments, key=lambda name: (name == OTHER, -departments[name], name), default=None)
