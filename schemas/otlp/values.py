"""Attribute values: their canonical forms, and their coercion to the types of fields."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from schemas.records import FieldType

CANONICAL_FORM = """
From a record and its content rows every attribute of the request can be had back, with its type, in one form, whatever
transport, spelling of types or order of attributes it came in. tests/schemas/otlp/test_canonical.py says so as code.

1. An attribute with a field has the field's type: a `long` field shows 56 for `"56"`, 56 and 56.0, a `boolean` one
   true for `"true"`, true and 1, a `string` one the text (3.) of what came, an `array_string` one the texts of the
   items, a `timestamp` one microseconds. A known name with `_` for `.` (`session_id` for `session.id`) is that name,
   unless the record has the dotted one as well; `renamed` says which it was.
2. Every other attribute, and a value that its field cannot hold (it is named in `coercion_errors`, but not where it is
   the client's word for nothing: `""`, `"undefined"`, not set), keeps its own type: strings stand in `attributes` as
   they are, all else in `attributes_json` as canonical JSON: members sorted by name, no spaces, UTF-8; integers as
   JSON integers (all 64 bits); doubles as the shortest digits that give the same double, always with a point or an
   exponent (1.0, 1e+300); a value that is not set as null; what JSON has no word for as an object with OTLP's own
   name, `{"bytesValue": base64}` and `{"doubleValue": "NaN" | "Infinity" | "-Infinity"}`; a list of pairs that would
   look like one of these as `{"kvlistValue": {...}}`.
3. The text of a value is what identities and string fields are made of: a string is itself, a bool true or false, a
   number its shortest decimals (56 for `"56"`, 56 and 56.0 alike) or NaN, Infinity, -Infinity, bytes base64, the rest
   canonical JSON.
4. Where a text is content, its place has the mark `<content>`, and the row of ClaudeContent whose `field` names the
   place has the text: as it is in place of a string, else canonical JSON. A name of more than 1024 characters is
   content too, and so is one that looks like the mark: the row has `{name: value}`. What the resource has for the
   content topic goes with the first record of its group.
5. The attributes of a span's events and links and of exemplars are members of events_json, links_json and
   exemplars_json. There `"<content>"`, with quotes, is the mark of what is no string. Those of a span's event that have
   a field on spans have its type (1.).
6. A number, id or enum's word of the record itself that its field cannot hold (NaN, a trace id of three bytes, a
   severity `LOUD`, which severity_text has as well where the client says none) is kept like an attribute under its
   field's name, with `record.` before it where an attribute is called so; it is named in `coercion_errors`.
7. What stands beside the attributes and has no field has a name of its own in the maps: the metadata of a metric
   `metric.metadata.<name>` on its points; an eventName that is not the event's name `record.event_name`; what a
   resource or its scope has dropped `otel.resource.dropped_attributes_count` and `otel.scope.dropped_attributes_count`,
   and the resource's schema URL beside another of the scope's `otel.resource.schema_url`, among those of the resource.
8. Of two attributes with one name the last one counts. A client's own text `<content>` looks like a mark, but has no
   row.
"""

LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
# Above 2**53 a double no longer tells neighbouring integers apart, so it is not taken for one.
_EXACT = float(1 << 53)
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}

# The standard library's: its doubles are `repr` in every version, where orjson has changed its mind (1e300, 1e+300).
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)

# The names of the objects that stand for what JSON has no word for.
_STAND_INS = frozenset(("bytesValue", "doubleValue", "kvlistValue"))

# Words by which clients say that they have nothing to say.
NOTHING = frozenset(("", "undefined"))


def _not_finite(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _plain(value: Any) -> Any:
    """`value` with bytes and non-finite numbers as the objects that stand for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"doubleValue": _not_finite(value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        plain = {key: _plain(item) for key, item in value.items()}
        return {"kvlistValue": plain} if len(plain) == 1 and not _STAND_INS.isdisjoint(plain) else plain
    return value


def canonical(value: Any) -> str:
    """Canonical JSON of an attribute value, or of a list or dict of them; CANONICAL_FORM has its rules."""
    return _CANONICAL.encode(_plain(value))


def text(value: Any) -> str:
    """The text of an attribute value."""
    if value.__class__ is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= _EXACT:
            return str(int(value))
        return canonical(value) if math.isfinite(value) else _not_finite(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return "" if value is None else canonical(value)


def canonical_attributes(attributes: dict[str, Any]) -> bytes:
    """Canonical JSON of the attributes' texts: what tells identities apart."""
    return orjson.dumps({key: text(value) for key, value in attributes.items()}, option=orjson.OPT_SORT_KEYS)


def as_string(value: Any) -> str | None:
    """For a string field; None for what is not set, and for bytes."""
    return None if value is None or value.__class__ is bytes else text(value)


def as_long(value: Any, low: int = LONG_MIN, high: int = LONG_MAX) -> int | None:
    """For a long field: an integer, also as text or as a double without fraction; else None."""
    if value.__class__ is int:
        number = value
    elif value.__class__ is str:
        if value.isdecimal() and value.isascii() and len(value) < 20:
            number = int(value)
        else:
            return _long_from_text(value, low, high)
    elif value.__class__ is float:
        if not value.is_integer() or abs(value) > _EXACT:
            return None
        number = int(value)
    else:
        return None
    return number if low <= number <= high else None


def _long_from_text(value: str, low: int, high: int) -> int | None:
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    if match[1] is None and match[2] is None:
        number = int(value)
        return number if low <= number <= high else None
    return as_long(float(value), low, high)


def as_int(value: Any) -> int | None:
    """For an int field, 32 bits."""
    return as_long(value, INT_MIN, INT_MAX)


def as_double(value: Any) -> float | None:
    """For a double field: a finite number, also as text; else None. NaN would poison every sum it gets into.

    An integer that no double is equal to (beyond 2**53) does not fit: it would come out as its neighbour.
    """
    if value.__class__ is str:
        if _NUMBER.fullmatch(value) is None:
            return None
        value = float(value)
    if value.__class__ is float:
        return value if math.isfinite(value) else None
    return float(value) if value.__class__ is int and int(float(value)) == value else None


def as_boolean(value: Any) -> bool | None:
    """For a boolean field: true, false, 1, 0, also as text; else None."""
    if value.__class__ is bool:
        return value
    if value.__class__ is str:
        found = _BOOLEANS.get(value)
        return _BOOLEANS.get(value.lower()) if found is None else found
    if value.__class__ is int or value.__class__ is float:
        return True if value == 1 else False if value == 0 else None
    return None


def as_timestamp(value: Any) -> int | None:
    """For a timestamp field: ISO 8601 text (UTC where it names no zone), as microseconds since the epoch; else None."""
    if value.__class__ is not str or value.isdecimal():
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def as_strings(value: Any) -> list[str] | None:
    """For an array field: a list, a JSON list as text, or one string, number or bool; else None."""
    if value.__class__ is str:
        if value[:1] == "[":
            try:
                found = orjson.loads(value)
            except ValueError:
                return [value]
            if isinstance(found, list) and not any(isinstance(item, (list, dict)) for item in found):
                return [text(item) for item in found]
        return [value]
    if value.__class__ is list:
        return [text(item) for item in value]
    return [text(value)] if isinstance(value, (int, float)) else None


Coerce = Callable[[Any], Any]
COERCE: dict[FieldType, Coerce] = {
    "string": as_string,
    "long": as_long,
    "int": as_int,
    "double": as_double,
    "boolean": as_boolean,
    "timestamp": as_timestamp,
    "array_string": as_strings,
}
