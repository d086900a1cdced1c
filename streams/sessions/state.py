"""What the sessions stage keeps, row by row.

Every row belongs to one session of one partition; its key says what it is:

    s + session                          the session's half row: sums, names, identities, beats
    h + hour + level + user + session    the sums of one hour of the session, of one identity
    t + slot + session                   the beats: (time, sequence) of every event in one ten-minute slot
    c + series + start + session         a cumulative series: its value at the latest end of each hour
    i + slot + session                   ids received in one ten-minute slot of received time (or + user, without one)
    e + day + key of an s or c row       that row was touched on this day of received time (see expiry.py)

A row's version is the offset of the last record folded into it. The order of the rows in the changelog matters, because
a crash can cut it anywhere: e, h and t rows come first (the session row stands on them), then s rows, then c and i rows
(a record found there counts as folded into all the others).

The two tables (one fed by events, one by metric points) hold rows of the same kinds.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from schemas.topics import MADE_UP
from streams import exact
from streams.formats import Formats
from streams.rows import Layout
from streams.sessions.beats import Beats

BY_EVENTS, BY_POINTS = "session-events", "session-points"
"""The two tables."""
KINDS = {b"s": "session", b"h": "hour", b"t": "beats", b"c": "series", b"i": "ids", b"e": "expiry"}
"""First byte of a key -> what the row is."""

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
FORMATS = Formats(1)

MAP_KEYS = 64
IDENTITIES = 16
IDS_PER_ROW = 32_768

NAME_CHARS = 200
"""Names of events, models, metrics, teams, users … are cut here: a row must fit a message, whatever a client says."""
OTHER = "other"
FLAG_IDENTITIES, FLAG_SLOTS, FLAG_BEATS, FLAG_IDS, FLAG_VALUE, FLAG_NAME, FLAG_CLOCK = 1, 2, 4, 8, 16, 64, 128
FLAG_FELL = 256
FLAGS = {
    FLAG_IDENTITIES: "identities_capped",
    FLAG_SLOTS: "late_beats_dropped",
    FLAG_BEATS: "beats_capped",
    FLAG_IDS: "ids_capped",
    FLAG_VALUE: "value_refused",
    FLAG_NAME: "name_cut",
    FLAG_CLOCK: "clock_suspect",
    FLAG_FELL: "series_fell",
}
"""Bits of ``flags`` and their published names: which bound a session has met, or what of it cannot be counted, so that
its numbers say so."""

Stamp = tuple[int, int, bytes]
"""(event_time µs, sequence or -1, first 8 bytes of the id): what "latest" means in every rule."""


class Named(msgspec.Struct, array_like=True):
    """A scalar of the session and when it was said."""

    value: str
    time: int
    sequence: int
    id: bytes

    @property
    def stamp(self) -> Stamp:
        return (self.time, self.sequence, self.id)


class Identity(msgspec.Struct, array_like=True):
    """Somebody a record named: level 3 account, 2 email, 1 user id, 0 nobody; the latest stamp it was seen with."""

    level: int
    user: str
    time: int
    sequence: int
    id: bytes

    @property
    def rank(self) -> tuple[int, Stamp]:
        return (self.level, (self.time, self.sequence, self.id))


class Half(msgspec.Struct, array_like=True):
    """A session's half row: what its events (or its metric points) say. ``first`` and ``last`` are µs, -1 without
    any; ``since``: received time of its first record, 0 in rows that are older than this field."""

    tenant: str
    session: str
    pseudo: bool
    counts: list[int]
    money: list[list[float]]
    names: list[Named | None]
    identities: list[Identity]
    maps: dict[str, int]
    sums: dict[str, list[float]]
    beats: list[Beats]
    hours: list[int]
    first: int
    last: int
    resends: int
    late: int
    received: int
    flags: int
    since: int = 0


class Hour(msgspec.Struct, array_like=True):
    """The sums of one hour of one identity of a session; ``records`` counts what was folded."""

    counts: list[int]
    money: list[list[float]]
    records: int


class Series(msgspec.Struct, array_like=True):
    """A cumulative series: (hour, latest end µs in it, value then), by hour; ``dropped``: the oldest hours were let
    go; ``received``: µs, of its newest point, 0 in rows that are older than this field."""

    points: list[tuple[int, int, float]]
    dropped: bool
    received: int = 0


_encode = msgspec.msgpack.Encoder().encode
_DECODE: dict[bytes, Callable[[bytes], Any]] = {
    b"s": msgspec.msgpack.Decoder(Half).decode,
    b"h": msgspec.msgpack.Decoder(Hour).decode,
    b"c": msgspec.msgpack.Decoder(Series).decode,
    b"t": lambda body: array("Q", body),
    b"i": bytes,
    b"e": bytes,
}


def pack(row: msgspec.Struct | array[int] | bytes) -> bytes:
    """The payload of a row."""
    if not isinstance(row, msgspec.Struct):
        return FORMATS.payload(bytes(row))
    try:
        return FORMATS.payload(_encode(row))
    except OverflowError:
        assert isinstance(row, Half | Hour)
        row.counts = list(map(exact.whole, row.counts))
        return FORMATS.payload(_encode(row))


def unpack(key: bytes, payload: bytes) -> Any:
    """The row with this key behind a payload.

    Raises: WrongRow: a format that this release does not know.  msgspec.MsgspecError.
    """
    kind = key[:1]
    return _DECODE[kind](FORMATS.body(kind, payload))


LAYOUT = Layout(unpack, pack, order=(b"e", b"t", b"h", b"s", b"c", b"i"))


SEPARATOR = b"\x1f"
SERIES_CHARS = 32
"""The name of a series is a digest of 128 bits in hex."""
_SLOT = struct.Struct(">I")
_HOUR = struct.Struct(">IB")
_START = struct.Struct(">Q")


SESSION = b"s"
"""First byte of the key of a session's half row."""


def session_key(session: bytes) -> bytes:
    return SESSION + session


def hour_key(session: bytes, hour: int, level: int, user: str) -> bytes:
    return b"h" + _HOUR.pack(hour, level) + user.encode() + b"\x1f" + session


def beats_key(session: bytes, slot: int) -> bytes:
    return b"t" + _SLOT.pack(slot) + session


def series_key(session: bytes, series: str, start: int) -> bytes:
    return b"c" + series.encode() + _START.pack(start) + session


def series_session(key: bytes) -> bytes:
    """The session's bytes in the key of a series."""
    return key[1 + SERIES_CHARS + _START.size :]


def ids_key(session: bytes, slot: int) -> bytes:
    return b"i" + _SLOT.pack(slot) + session


def expiry_key(day: int, key: bytes) -> bytes:
    return b"e" + _SLOT.pack(day) + key


def expiry_parts(key: bytes) -> tuple[int, bytes]:
    """(day, key of the row) of an expiry row's key."""
    return _SLOT.unpack_from(key, 1)[0], key[1 + _SLOT.size :]


def hour_parts(key: bytes) -> tuple[int, int, str, bytes]:
    """(hour, level, user, session) of an hour row's key."""
    hour, level = _HOUR.unpack_from(key, 1)
    user, _, session = key[1 + _HOUR.size :].partition(SEPARATOR)
    return hour, level, user.decode(), session


def pseudo_session(user_key: bytes, day: int) -> tuple[bytes, str]:
    """Bytes and id of the session under which a day's records of a user without a session count.

    Args:    user_key: tenant and holder, as the records' key has them.
    """
    return user_key + b"\x1f~%d" % day, f"{MADE_UP}{user_key.rpartition(SEPARATOR)[2].decode()}~{day}"


def session_parts(session: bytes) -> tuple[str, str]:
    """(tenant, session id) of a session's bytes in keys; a pseudo-session alone has a separator in the second part."""
    tenant, _, name = session.decode().partition("\x1f")
    holder, pseudo, day = name.rpartition("\x1f~")
    return tenant, f"{MADE_UP}{holder}~{day}" if pseudo else name


def key_parts(key: bytes) -> dict[str, Any]:
    """What a row's key says: kind, tenant, session, and what its kind adds; hours and slots counted from 1970.

    Raises: ValueError: no key that this release writes.
    """
    kind, rest, parts = KINDS.get(key[:1]), key[1:], {}
    try:
        if kind == "hour":
            hour, level, user, rest = hour_parts(key)
            parts = {"hour": hour, "level": level, "user_key": user}
        elif kind in ("beats", "ids"):
            parts, rest = {"slot": _SLOT.unpack_from(rest)[0]}, rest[_SLOT.size :]
        elif kind == "series":
            series, rest = rest[:SERIES_CHARS], rest[SERIES_CHARS:]
            parts, rest = {"series": series.decode(), "since": _START.unpack_from(rest)[0]}, rest[_START.size :]
        elif kind == "expiry":
            day, of = expiry_parts(key)
            return {**key_parts(of), "kind": kind, "of": KINDS.get(of[:1]), "day": day}
        elif kind is None:
            raise ValueError(f"unknown kind of row {key[:1]!r}")
        tenant, session = session_parts(rest)
    except struct.error as error:
        raise ValueError(f"a key of {len(key)} bytes is too short") from error
    return {"kind": kind, "tenant": tenant, "session_id": session, **parts}


def bounded(name: str) -> str:
    """The name, cut where it is too long; a digest of the whole keeps two of them apart."""
    if len(name) <= NAME_CHARS:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{name[:NAME_CHARS]}~{digest}"


def slot_of_map(kept: dict[str, Any], name: str, merge: Callable[[dict[str, Any], str], None]) -> str:
    """The key under which ``name`` counts in a map of at most MAP_KEYS names and ``other``.

    The smallest names are kept: which ones those are does not depend on the order in which they came. ``merge(kept,
    name)`` must fold the entry of a name that has to leave into OTHER.
    """
    if name in kept or name == OTHER:
        return name
    if len(kept) - (OTHER in kept) < MAP_KEYS:
        return name
    largest = max(key for key in kept if key != OTHER)
    if name > largest:
        return OTHER
    merge(kept, largest)
    return name
