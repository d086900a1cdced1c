"""Rows as objects for people: names for positions, times as text, sums rounded once."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streams import exact
from streams.engine.errors import WrongRow
from streams.engine.rows import Row
from streams.inspect.errors import UnknownFormat
from streams.sessions import beats, events, fold, points, state
from streams.sessions.state import Half, Hour, Series
from streams.users import logic as users
from streams.users.logic import Counted, Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PAUSE_US = fold.FoldSettings().pause_us


@dataclass(frozen=True)
class _Table:
    """What a table's stage says of its rows.  value: makes an object of (key, row, value)."""

    kinds: Mapping[bytes, str]
    key_parts: Callable[[bytes], dict[str, Any]]
    decode: Callable[[bytes, bytes], Any]
    value: Callable[[bytes, Row, Any], Any]


def instant(us: int) -> str | None:
    """ISO 8601 of a time in µs since 1970; None for none (negative)."""
    if us < 0:
        return None
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def tables() -> list[str]:
    """The tables whose rows can be decoded."""
    return list(_TABLES)


def kinds(table: str) -> Mapping[bytes, str]:
    """First byte of a key -> name of the kind; empty for an unknown table."""
    return _TABLES[table].kinds if table in _TABLES else {}


def decoded(table: str, partition: int, key: bytes, row: Row) -> dict[str, Any]:
    """A row as an object: table, partition, epoch, offset (last source record folded into it), what the key says,
    value. Rows of kinds that this release does not know are shown raw, in hex.

    Raises: UnknownFormat.
    """
    head = {"table": table, "partition": partition, "epoch": row.epoch, "offset": row.offset}
    of = _TABLES.get(table)
    if of is None or key[:1] not in of.kinds:
        return {**head, "kind": key[:1].hex(), "key": key.hex(), "value": row.payload.hex()}
    try:
        parts = of.key_parts(key)
        value = of.value(key, row, of.decode(key, row.payload))
    except (ValueError, WrongRow, msgspec.MsgspecError) as error:
        raise UnknownFormat(f"{table}[{partition}]", str(error)) from error
    return {**head, **_times(parts), "key": key.hex(), "value": value}


def value(table: str, key: bytes, row: Row) -> Any:
    """A row's value, as the stage that made it sees it. Raises: UnknownFormat."""
    try:
        return _TABLES[table].decode(key, row.payload)
    except (ValueError, WrongRow, msgspec.MsgspecError) as error:
        raise UnknownFormat(f"table {table}", str(error)) from error


_SLOT_US = {"beats": beats.SLOT_US, "ids": fold.ID_SLOT_US}


def _times(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of hours, days and slots as the times at which they start."""
    out = dict(parts)
    if "hour" in out:
        out["start"] = instant(out.pop("hour") * state.HOUR_US)
    if "day" in out:
        out["start"] = instant(out.pop("day") * state.DAY_US)
    if "slot" in out:
        out["start"] = instant(out.pop("slot") * _SLOT_US[out["kind"]])
    if "since" in out:
        out["start"] = instant(out.pop("since"))
    return out


def _sums(row: Half | Hour, counts: tuple[str, ...], money: tuple[str, ...]) -> dict[str, Any]:
    amounts = map(exact.total, row.money)
    return {**dict(zip(counts, row.counts, strict=True)), **dict(zip(money, amounts, strict=True))}


def _half(half: Half, counts: tuple[str, ...], money: tuple[str, ...]) -> dict[str, Any]:
    whole = beats.whole(half.beats, _PAUSE_US)
    return {
        "pseudo": half.pseudo,
        **_sums(half, counts, money),
        "names": {
            name: {"value": said.value, "time": instant(said.time)}
            for name, said in zip(fold.NAMES, half.names, strict=True)
            if said is not None
        },
        "identities": [
            {"level": who.level, "user_key": who.user, "time": instant(who.time)} for who in half.identities
        ],
        "maps": half.maps,
        "sums": {name: exact.total(partials) for name, partials in half.sums.items()},
        "beats": {
            "summaries": len(half.beats),
            "sequence_gaps": whole.gaps if whole else 0,
            "run_s": whole.run_us / 1e6 if whole else 0.0,
        },
        "hours": [instant(hour * state.HOUR_US) for hour in half.hours],
        "start_time": instant(half.first),
        "last_time": instant(half.last),
        "received_time": instant(half.received),
        "resends": half.resends,
        "late": half.late,
        "flags": [name for bit, name in state.FLAGS.items() if half.flags & bit],
    }


def _of_sessions(counts: tuple[str, ...], money: tuple[str, ...]) -> Callable[[bytes, Row, Any], Any]:
    def shown(key: bytes, row: Row, value: Any) -> Any:
        if isinstance(value, Half):
            return _half(value, counts, money)
        if isinstance(value, Hour):
            return {"records": value.records, **_sums(value, counts, money)}
        if isinstance(value, Series):
            kept = [{"hour": instant(h * state.HOUR_US), "end": instant(e), "value": v} for h, e, v in value.points]
            return {"points": kept, "dropped": value.dropped}
        if isinstance(value, array):
            slot = beats.summary(0, value, _PAUSE_US)
            return {"beats": len(value), "sequence_gaps": slot.gaps, "run_s": slot.run_us / 1e6}
        return {"ids": len(value) // 8}

    return shown


def _of_users(key: bytes, row: Row, value: Window | Counted) -> Any:
    if isinstance(value, Window):
        return record_times(users.window_row(key, row.offset, value, row.epoch))
    return {
        "groups": [{"team": team, "cost_center": cost_center} for team, cost_center in value.groups],
        "hours": [
            {
                "start": instant(hour * users.HOUR_US),
                "version": counted.version,
                "team": counted.group[0],
                "cost_center": counted.group[1],
                "department": counted.department,
                "active": counted.active,
                **{name: amount for name, amount in zip(users.INTEGERS, counted.integers, strict=True) if amount},
                **{name: amount for name, amount in zip(users.FLOATS, counted.floats, strict=True) if amount},
            }
            for hour, counted in sorted(value.hours.items())
        ],
    }


def record_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """A published row with its times as text."""
    times = ("start", "start_time", "last_time", "received_time")
    return {name: instant(value) if name in times else value for name, value in row.items()}


_TABLES = {
    state.BY_EVENTS: _Table(state.KINDS, state.key_parts, state.unpack, _of_sessions(events.COUNTS, events.MONEY)),
    state.BY_POINTS: _Table(state.KINDS, state.key_parts, state.unpack, _of_sessions((), points.MONEY)),
    users.TABLE: _Table(users.KINDS, users.key_parts, users.unpack, _of_users),
}
