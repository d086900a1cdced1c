"""Avro bytes to values, by Python code generated once per writer's version and wanted fields. Only codec.py uses it.

Why generate: a stage wants 30 of 200 fields, nearly all of the others are null, and a loop over a plan costs more than
the fields do. The generated code knows every type, so it
  * passes over a run of 8 empty fields with one comparison: null, an empty map or array, "", 0 and false are all 0x00;
  * builds no value that nobody wants, and stops after the last wanted field.
tests/schemas/test_codec.py holds it equal to fastavro, which stays the reader for schemas that are not ours.

Every length and count is checked, and a message that ends early is found at its end: a slice past the end is short, the
position then lies beyond len(data).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from schemas.records import Field, Record

_RUN = 8
_ZERO = {
    "string": '""',
    "bytes": 'b""',
    "boolean": "False",
    "long": "0",
    "int": "0",
    "timestamp": "0",
    "array_string": "[]",
}

Row = tuple[Any, ...]
Rows = Callable[[Sequence[bytes], list[Row], Callable[[bytes], Row]], None]


class Malformed(ValueError):
    """Bytes that cannot be of this schema."""


def read_long(data: bytes, p: int) -> tuple[int, int]:
    """A zigzag varint of at most 64 bits, and the position after it. Raises: IndexError, Malformed."""
    byte = data[p]
    p += 1
    n = byte & 0x7F
    shift = 7
    while byte > 0x7F:
        byte = data[p]
        p += 1
        n |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise Malformed("integer too long")
    if n >> 64:
        raise Malformed("integer out of 64 bits")
    return (n >> 1) ^ -(n & 1), p


def read_time(data: bytes, p: int) -> tuple[int, int]:
    """The same as read_long, quicker for the 8 bytes that times in microseconds have between 1978 and 3111."""
    n = int.from_bytes(data[p : p + 8], "little")
    if n & 0x8080808080808080 != 0x0080808080808080:
        return read_long(data, p)
    # Close the gaps that the continuation bits leave: pairs of 7 bits, then of 14, then of 28.
    n = n & 0x007F007F007F007F | (n & 0x7F007F007F007F00) >> 1
    n = n & 0x00003FFF00003FFF | (n & 0x3FFF00003FFF0000) >> 2
    n = n & 0x000000000FFFFFFF | (n & 0x0FFFFFFF00000000) >> 4
    return (n >> 1) ^ -(n & 1), p + 8


def read_string(data: bytes, p: int) -> tuple[str, int]:
    """A string, and the position after it. Raises: IndexError, Malformed, UnicodeDecodeError."""
    size, p = read_long(data, p)
    end = p + size
    if size < 0 or end > len(data):
        raise Malformed("string length out of range")
    return data[p:end].decode(), end


def _read_double(data: bytes, p: int) -> tuple[float, int]:
    return struct.unpack_from("<d", data, p)[0], p + 8


def _block(data: bytes, p: int) -> tuple[int, int]:
    """Items in the next block of a map or array; 0 at the end. The byte size before a negative count is not needed."""
    count, p = read_long(data, p)
    if count < 0:
        _, p = read_long(data, p)
        count = -count
    return count, p


def _read_map(read: Callable[[bytes, int], tuple[Any, int]]) -> Callable[[bytes, int], tuple[dict[str, Any], int]]:
    def read_map(data: bytes, p: int) -> tuple[dict[str, Any], int]:
        out: dict[str, Any] = {}
        count, p = _block(data, p)
        while count:
            for _ in range(count):
                key, p = read_string(data, p)
                out[key], p = read(data, p)
            count, p = _block(data, p)
        return out, p

    return read_map


def _read_strings(data: bytes, p: int, of_each: int = 1) -> tuple[list[str], int]:
    """The strings of an array, or with `of_each` = 2 those of a map, key and value in turn."""
    out: list[str] = []
    limit = len(data)
    count, p = _block(data, p)
    while count:
        for _ in range(count * of_each):
            size = data[p]
            if size < 128 and not size & 1:
                p += 1
                end = p + (size >> 1)
                if end > limit:
                    raise Malformed("string length out of range")
                out.append(data[p:end].decode())
                p = end
            else:
                item, p = read_string(data, p)
                out.append(item)
        count, p = _block(data, p)
    return out, p


def _read_map_string(data: bytes, p: int) -> tuple[dict[str, str], int]:
    """Every record has one (the resource's attributes), so it is worth its own lines."""
    flat, p = _read_strings(data, p, 2)
    return dict(zip(flat[::2], flat[1::2], strict=True)), p


_HELPERS: dict[str, Any] = {
    "read_long": read_long,
    "read_time": read_time,
    "read_map_string": _read_map_string,
    "read_map_double": _read_map(_read_double),
    "read_map_long": _read_map(read_long),
    "read_array_string": _read_strings,
    "unpack_double": struct.Struct("<d").unpack_from,
    "Malformed": Malformed,
    "ZEROS": bytes(_RUN),
}


def _value_code(kind: str, target: str) -> list[str]:
    """Statements that read a value of type `kind` at p into `target`, or pass over it where that is "".

    A `target` of a map or array holds an empty one already.
    """
    if kind in ("string", "bytes"):
        take = [f"{target} = d[p:p + n]" + (".decode()" if kind == "string" else "")] if target else []
        return [
            "n = d[p]",
            "if n < 128 and not n & 1:",
            "    p += 1",
            "    n >>= 1",
            "else:",
            "    n, p = read_long(d, p)",
            "    if n < 0: raise Malformed('negative length')",
            *take,
            "p += n",
        ]
    if kind in ("long", "int", "timestamp"):
        read = "read_time" if kind == "timestamp" else "read_long"
        take = [f"    {target} = (n >> 1) ^ -(n & 1)"] if target else []
        return ["n = d[p]", "if n < 128:", "    p += 1", *take, "else:", f"    {target or '_'}, p = {read}(d, p)"]
    if kind == "boolean":
        take = [f"{target} = n == 1"] if target else []
        return ["n = d[p]", "p += 1", "if n > 1: raise Malformed('boolean')", *take]
    if kind == "double":
        return ([f"{target} = unpack_double(d, p)[0]"] if target else []) + ["p += 8"]
    return ["if d[p]:", f"    {target or '_'}, p = read_{kind}(d, p)", "else:", "    p += 1"]


def _field_code(field: Field, target: str) -> list[str]:
    """The same for a field, whose `target` holds the field's zero value already."""
    value = _value_code(field.type, target)
    if not field.nullable:
        return value
    return [
        "n = d[p]",
        "p += 1",
        "if n:",
        "    if n != 2: raise Malformed('union branch')",
        *("    " + line for line in value),
    ]


def _zero(field: Field) -> str | None:
    """The value that a single 0x00 stands for in this field, as code; None where it is no whole value."""
    if field.nullable:
        return "None"
    if field.type == "double":
        return None
    return _ZERO.get(field.type, "{}")


def _body_code(record: Record, targets: dict[str, str]) -> list[str]:
    """Statements that read one message of `record` from p on, up to the last field of `targets`."""
    last = max((i for i, f in enumerate(record.fields) if f.name in targets), default=-1)
    fields = record.fields[: last + 1]
    lines: list[str] = []
    at = 0
    while at < len(fields):
        run = fields[at : at + _RUN]
        if len(run) == _RUN and all(not f.required and _zero(f) for f in run):
            lines += [f"if d[p:p + {_RUN}] == ZEROS:", f"    p += {_RUN}", "else:"]
            lines += ["    " + line for f in run for line in _field_code(f, targets.get(f.name, ""))]
            at += _RUN
        else:
            lines += _field_code(fields[at], targets.get(fields[at].name, ""))
            at += 1
    whole = len(fields) == len(record.fields)
    return [*lines, f"if p {'!=' if whole else '>'} len(d): raise Malformed('wrong length')"]


def source(record: Record, wanted: Sequence[Field], start_at: int) -> str:
    """Source of the function that `rows` compiles.  start_at: size of the frame's prefix, bytes."""
    targets = {f.name: f"v{i}" for i, f in enumerate(wanted)}
    start: dict[str, list[str]] = {}
    for f in wanted:
        value = _zero(record.by_name[f.name]) if f.name in record.by_name else repr(f.default)
        start.setdefault(value or "0.0", []).append(targets[f.name])
    lines = [
        "def read(messages, out, other):",
        "    append = out.append",
        "    for d in messages:",
        f"        if d[:{start_at}] != PREFIX:",
        "            append(other(d))",
        "            continue",
        f"        p = {start_at}",
    ]
    for value, names in start.items():
        if value in ("{}", "[]"):  # Each needs an object of its own.
            lines += [f"        {name} = {value}" for name in names]
        else:
            lines.append(f"        {' = '.join(names)} = {value}")
    own = {name: target for name, target in targets.items() if name in record.by_name}
    lines += ["        " + line for line in _body_code(record, own)]
    lines.append(f"        append(({', '.join(targets.values())},))" if targets else "        append(())")
    return "\n".join(lines) + "\n"


def rows(record: Record, prefix: bytes, wanted: Sequence[Field]) -> Rows:
    """A function (messages, out, other) that appends one tuple per message to `out`: the `wanted` fields, in order.

    A message that does not start with `prefix`, this version's in one of the frames, goes through `other`. A wanted
    field that this version does not have gets its default. Bytes that do not fit raise IndexError, struct.error or
    ValueError; `out` then ends with the row before them.
    """
    scope = {**_HELPERS, "PREFIX": prefix}
    code = compile(source(record, wanted, len(prefix)), f"<reader of {record.name} v{record.version}>", "exec")
    exec(code, scope)
    return scope["read"]  # type: ignore[no-any-return]
