"""Records to Avro bytes, by a plan that is built once per schema. Only codec.py and the OTLP transcoder use this.

The plan is a list with the bytes of every field's default; a record replaces the slots of the fields it has. So the
cost grows with the fields that are set, not with the width of the schema (a ClaudeEvent sets 40 of 200).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from schemas.errors import CodecError
from schemas.framing import single_object_prefix
from schemas.records import Field, FieldType, Record

LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
Encode = Callable[[Any], bytes]

_DOUBLE = struct.Struct("<d")


def _varint(n: int) -> bytes:
    """`n` >= 0 in 7-bit groups, lowest first."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


# Zigzag of 0..4095, and of -1..-4096 by negative index: lengths, counts and most numbers.
_SMALL = 4096
_ZIGZAG = [_varint(n << 1) for n in range(_SMALL)] + [_varint((-n << 1) - 1) for n in range(-_SMALL, 0)]


def encode_long(n: int) -> bytes:
    """Avro's zigzag varint. Raises: ValueError outside of 64 bits, TypeError for what is no int (or a bool)."""
    if n.__class__ is not int:
        raise TypeError(f"expected int, got {n.__class__.__name__}")
    if -_SMALL <= n < _SMALL:
        return _ZIGZAG[n]
    if LONG_MIN <= n <= LONG_MAX:
        n = (n << 1) ^ (n >> 63)
        if 1 << 49 <= n < 1 << 56:  # Times in microseconds between 1978 and 3111: the one large number of every record.
            return bytes(
                (
                    n & 0x7F | 0x80,
                    n >> 7 & 0x7F | 0x80,
                    n >> 14 & 0x7F | 0x80,
                    n >> 21 & 0x7F | 0x80,
                    n >> 28 & 0x7F | 0x80,
                    n >> 35 & 0x7F | 0x80,
                    n >> 42 & 0x7F | 0x80,
                    n >> 49,
                )
            )
        return _varint(n)
    raise ValueError(f"{n} does not fit in 64 bits")


def encode_int(n: int) -> bytes:
    """The same for 32 bits."""
    if n.__class__ is int and not INT_MIN <= n <= INT_MAX:
        raise ValueError(f"{n} does not fit in 32 bits")
    return encode_long(n)


def encode_string(text: str) -> bytes:
    """Length and UTF-8. Raises: UnicodeEncodeError for lone surrogates, TypeError for what is no str."""
    if text.__class__ is not str:
        raise TypeError(f"expected str, got {text.__class__.__name__}")
    raw = text.encode()
    size = len(raw)
    return (_ZIGZAG[size] if size < _SMALL else encode_long(size)) + raw


def encode_bytes(raw: bytes) -> bytes:
    """Length and bytes."""
    if raw.__class__ is not bytes:
        raise TypeError(f"expected bytes, got {raw.__class__.__name__}")
    return encode_long(len(raw)) + raw


def encode_double(number: float) -> bytes:
    """8 bytes, little endian; an int counts as the double next to it."""
    if number.__class__ is not float and number.__class__ is not int:
        raise TypeError(f"expected float, got {number.__class__.__name__}")
    return _DOUBLE.pack(number)


def encode_boolean(flag: bool) -> bytes:
    """One byte."""
    if flag is True:
        return b"\x01"
    if flag is False:
        return b"\x00"
    raise TypeError(f"expected bool, got {flag.__class__.__name__}")


def _encode_map(encode: Encode) -> Encode:
    def encode_map(items: Mapping[str, Any]) -> bytes:
        if not items:
            return b"\x00"
        out = [encode_long(len(items))]
        for key, value in items.items():
            out.append(encode_string(key))
            out.append(encode(value))
        out.append(b"\x00")
        return b"".join(out)

    return encode_map


def _encode_strings(items: Iterable[str]) -> bytes:
    if items.__class__ is str:
        raise TypeError("expected a list of str, got str")
    out = [encode_string(item) for item in items]
    return b"".join((encode_long(len(out)), *out, b"\x00")) if out else b"\x00"


_ENCODE: dict[FieldType, Encode] = {
    "string": encode_string,
    "long": encode_long,
    "int": encode_int,
    "double": encode_double,
    "boolean": encode_boolean,
    "bytes": encode_bytes,
    "timestamp": encode_long,
    "map_string": _encode_map(encode_string),
    "map_double": _encode_map(encode_double),
    "map_long": _encode_map(encode_long),
    "array_string": _encode_strings,
}


def _nullable(encode: Encode) -> Encode:
    def encode_nullable(value: Any) -> bytes:
        return b"\x00" if value is None else b"\x02" + encode(value)

    return encode_nullable


def _nullable_string(text: str | None) -> bytes:
    """The most frequent case by far, without a second call."""
    if text.__class__ is str:
        raw = text.encode()
        size = len(raw)
        return b"\x02" + (_ZIGZAG[size] if size < _SMALL else encode_long(size)) + raw
    return b"\x00" if text is None else b"\x02" + encode_string(text)


def field_encoder(field: Field) -> Encode:
    """What turns a value of this field into its bytes; its errors are TypeError, ValueError and struct.error."""
    if not field.nullable:
        return _ENCODE[field.type]
    return _nullable_string if field.type == "string" else _nullable(_ENCODE[field.type])


class Encoder:
    """Encodes records of one schema version.

    Args:    prefix: the frame before every body; none: that of a single object.
    """

    def __init__(self, record: Record, prefix: bytes | None = None) -> None:
        self._record = record
        self._slots = {f.name: (i, field_encoder(f)) for i, f in enumerate(record.fields, 1)}
        self._template: list[bytes | None] = [single_object_prefix(record.fingerprint) if prefix is None else prefix]
        for f in record.fields:
            self._template.append(None if f.required else field_encoder(f)(f.default))

    def base(self, values: Mapping[str, Any]) -> list[bytes | None]:
        """A template with `values` in place, to be shared by records that have them in common."""
        template = self._template.copy()
        self._fill(template, values)
        return template

    def encode(self, values: Mapping[str, Any], base: list[bytes | None] | None = None) -> bytes:
        """One record; a field that is neither in `values` nor in `base` has its default.

        Raises:  CodecError(unencodable_record): an unknown field, a value that does not fit, a required field missing.
        """
        out = (self._template if base is None else base).copy()
        self._fill(out, values)
        try:
            return b"".join(out)  # type: ignore[arg-type]  # None marks a missing field and raises
        except TypeError:
            missing = [f.name for i, f in enumerate(self._record.fields, 1) if out[i] is None]
            raise self._error(f"missing {', '.join(missing)}") from None

    def _fill(self, out: list[bytes | None], values: Mapping[str, Any]) -> None:
        slots = self._slots
        name = ""
        try:
            for name, value in values.items():
                index, encode = slots[name]
                out[index] = encode(value)
        except KeyError:
            raise self._error(f"no field {name!r}") from None
        except (TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
            raise self._error(f"{name}: {error}") from error

    def _error(self, message: str) -> CodecError:
        return CodecError(f"{self._record.name}: {message}", reason="unencodable_record", record=self._record.name)
