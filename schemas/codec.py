"""The only way between bytes and records. Everything here is derived from the .avsc files.

Written is always the newest version, framed as a single object; read is every version, in that frame or in Confluent's.
A field that the writer's version did not have gets its default. Times are ints (microseconds since the epoch, UTC) in
records, and timestamps in Arrow.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import fastavro
import fastavro.schema
import pyarrow as pa

from schemas import decoder, framing, records
from schemas.encoder import Encoder
from schemas.errors import CodecError
from schemas.records import Field, FieldType, Record

Row = tuple[Any, ...]
Reader = Callable[[Sequence[bytes]], list[Row]]
ConfluentResolver = Callable[[int], dict[str, Any]]

_BAD_BYTES = (decoder.Malformed, IndexError, ValueError, struct.error)
_ARROW: dict[FieldType, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "map_string": pa.map_(pa.string(), pa.string()),
    "map_double": pa.map_(pa.string(), pa.float64()),
    "map_long": pa.map_(pa.string(), pa.int64()),
    "array_string": pa.list_(pa.string()),
}

_resolver: ConfluentResolver | None = None


def set_confluent_resolver(resolver: ConfluentResolver | None) -> None:
    """How to find the schema of a Confluent frame: schema id → parsed .avsc. Without one such frames are errors."""
    global _resolver
    _resolver = resolver
    _confluent_schema.cache_clear()


@functools.lru_cache(maxsize=1024)
def _confluent_schema(schema_id: int) -> tuple[Any, bytes]:
    """The registry's schema, parsed by fastavro, and its fingerprint."""
    if _resolver is None:
        raise CodecError(f"Confluent frame with schema id {schema_id}, but no schema registry is set")
    plain = _without_logical_types(_resolver(schema_id))
    canonical = fastavro.schema.to_parsing_canonical_form(plain)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    return fastavro.parse_schema(plain), fingerprint


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) if k != "default" else v for k, v in schema.items() if k != "logicalType"}
    return schema


@functools.cache
def encoder(record: str) -> Encoder:
    """The plan behind `encode`; for who encodes many records that share values."""
    return Encoder(records.record(record))


def encode(record: str, value: Mapping[str, Any]) -> bytes:
    """A single object of the newest version.

    Args:    record: name of the record.  value: field → value; a field left out has its default.
    Raises:  CodecError(unencodable_record): a field unknown, missing or of the wrong type.
    """
    return encoder(record).encode(value)


def decode(record: str, data: bytes) -> dict[str, Any]:
    """Every field of one message, of whatever version.

    Raises:  CodecError(malformed_record): no frame, an unknown schema, or bytes that do not fit it.
    """
    names, read = _whole(record)
    return dict(zip(names, read((data,))[0], strict=True))


@functools.cache
def _whole(record: str) -> tuple[tuple[str, ...], Reader]:
    names = tuple(f.name for f in records.record(record).fields)
    return names, reader(record, names)


def reader(record: str, fields: Sequence[str]) -> Reader:
    """A function that reads those fields, in that order, of every message of a chunk. Build it once and keep it.

    Fields that stand early in the schema are cheap, since nothing after the last one is looked at.
    The function raises CodecError(malformed_record) with the message's `index`, and then returns nothing. A tombstone
    has no bytes to read: its None is the caller's business.
    Raises:  KeyError: a field that the newest version does not have.
    """
    newest = records.record(record)
    wanted = tuple(newest.field(name) for name in fields)
    reads = {version: _compiled(record, version, tuple(fields)) for version in records.versions(record)}
    known = {records.record(record, version).fingerprint: read for version, read in reads.items()}
    first = reads[newest.version]

    def other(data: bytes) -> Row:
        """A message of an older version or in Confluent's frame."""
        writer, start = framing.split(data)
        if isinstance(writer, int):
            schema, fingerprint = _confluent_schema(writer)
            if fingerprint not in known:
                return _foreign(newest, wanted, schema, data, start)
            writer, data = fingerprint, framing.single_object_prefix(fingerprint) + data[start:]
        if writer not in known:
            raise CodecError(f"{record}: unknown schema fingerprint {writer.hex()}", record=record)
        out: list[Row] = []
        known[writer]((data,), out, other)
        return out[0]

    def read(messages: Sequence[bytes]) -> list[Row]:
        out: list[Row] = []
        try:
            first(messages, out, other)
        except CodecError as error:
            raise CodecError(str(error), record=record, index=len(out)) from error
        except _BAD_BYTES as error:
            raise CodecError(f"{record}: message {len(out)}: {error}", record=record, index=len(out)) from error
        return out

    return read


@functools.lru_cache(maxsize=256)
def _compiled(record: str, version: int, fields: tuple[str, ...]) -> decoder.Rows:
    newest, writer = records.record(record), records.record(record, version)
    wanted = [newest.field(name) for name in fields]
    return decoder.rows(writer, framing.single_object_prefix(writer.fingerprint), wanted)


def _foreign(newest: Record, wanted: tuple[Field, ...], schema: Any, data: bytes, start: int) -> Row:
    """A message of a schema that is not ours, by fastavro's rules of schema resolution."""
    try:
        value = cast(
            dict[str, Any], fastavro.schemaless_reader(io.BytesIO(data[start:]), schema, _reader_schema(newest.name))
        )
    except (EOFError, fastavro.read.SchemaResolutionError, TypeError) as error:
        raise CodecError(f"{newest.name}: {error or type(error).__name__}", record=newest.name) from error
    return tuple(value[f.name] for f in wanted)


@functools.cache
def _reader_schema(record: str) -> Any:
    return fastavro.parse_schema(records.record(record).plain)


@functools.cache
def arrow_schema(record: str) -> pa.Schema:
    """The newest version as Arrow: times as timestamp[us, UTC], maps as map; docs, classes and units as metadata."""
    return pa.schema([_arrow_field(f) for f in records.record(record).fields])


def _arrow_field(field: Field) -> pa.Field:
    metadata = {"doc": field.doc, "class": field.cls} | ({"unit": field.unit} if field.unit else {})
    return pa.field(field.name, _ARROW[field.type], nullable=field.nullable, metadata=metadata)


def arrow(record: str, messages: Sequence[bytes]) -> pa.RecordBatch:
    """The messages as one batch in `arrow_schema`, in their order. Raises: CodecError as `reader`."""
    schema = arrow_schema(record)
    _, read = _whole(record)
    found = read(messages)
    columns = zip(*found, strict=True) if found else ((),) * len(schema)
    arrays = [
        pa.array([list(v.items()) for v in column] if pa.types.is_map(f.type) else column, f.type)
        for f, column in zip(schema, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
