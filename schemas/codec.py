"""The only way between bytes and records. Everything here is derived from the .avsc files.

Written is always the newest version, framed as a single object, or in Confluent's frame where a schema registry is in
use; read is every version in either frame. A field that the writer's version did not have gets its default. Times are
ints (microseconds since the epoch, UTC) in records, and timestamps in Arrow.
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

from schemas import decoder, framing, records, topics
from schemas.encoder import Encoder
from schemas.errors import CodecError, UnknownSchema
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
_written_ids: Mapping[str, int] = {}


def use_registry(resolver: ConfluentResolver | None, written_ids: Mapping[str, int] | None = None) -> None:
    """How this process finds the schema of a Confluent frame, and which frames it writes. Call it before all else.

    Args:    resolver: schema id → parsed .avsc. It raises KeyError for an id that is not there, ValueError for what is
             no Avro, and whatever else is to end the reading (a registry that does not answer). None: such frames are
             errors.
             written_ids: record → the id of its newest version; a record that it lacks is written as a single object.
    """
    global _resolver, _written_ids
    _resolver, _written_ids = resolver, dict(written_ids or {})
    for cached in (_confluent_schema, encoder, _whole):
        cached.cache_clear()


@functools.lru_cache(maxsize=1024)
def _confluent_schema(schema_id: int) -> tuple[Any, str, bytes]:
    """The registry's schema, parsed by fastavro, its full name and its fingerprint."""
    if _resolver is None:
        raise ValueError("no schema registry is set (MILLRACE_REGISTRY_URL)")
    plain = _without_logical_types(_resolver(schema_id))
    try:
        parsed = fastavro.parse_schema(plain)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError) as error:
        raise ValueError(f"it is no Avro schema: {error}") from error
    return parsed, str(parsed["name"] if isinstance(parsed, dict) else parsed), fingerprint(plain)


def fingerprint(schema: Any) -> bytes:
    """CRC-64-AVRO of a parsed .avsc, as in Record.fingerprint. Raises: ValueError: it is no Avro schema."""
    try:
        canonical = fastavro.schema.to_parsing_canonical_form(_without_logical_types(schema))
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, KeyError) as error:
        raise ValueError(f"it is no Avro schema: {error}") from error
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if isinstance(schema, dict):
        return {k: _without_logical_types(v) if k != "default" else v for k, v in schema.items() if k != "logicalType"}
    return schema


@functools.cache
def encoder(record: str) -> Encoder:
    """The plan behind `encode`; for who encodes many records that share values."""
    schema_id = _written_ids.get(record)
    return Encoder(records.record(record), None if schema_id is None else framing.confluent_prefix(schema_id))


def encode(record: str, value: Mapping[str, Any]) -> bytes:
    """A message of the newest version, in the frame that this process writes.

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
    names = tuple(fields)
    wanted = tuple(newest.field(name) for name in names)
    known = {records.record(record, version).fingerprint: version for version in records.versions(record)}

    @functools.lru_cache(maxsize=256)
    def plan(writer: bytes | int) -> decoder.Rows:
        """What reads the messages whose frame names this schema."""
        if isinstance(writer, bytes):
            if writer not in known:
                raise UnknownSchema(record, topics.of_record(record), writer, "this release does not have it")
            return _compiled(record, known[writer], framing.single_object_prefix(writer), names)
        schema, crc = _registered(newest, writer)
        if crc in known:
            return _compiled(record, known[crc], framing.confluent_prefix(writer), names)
        return _foreign(newest, wanted, schema)

    def other(data: bytes) -> Row:
        """A message that was framed otherwise than the first of its chunk."""
        out: list[Row] = []
        plan(framing.split(data)[0])((data,), out, other)
        return out[0]

    newest_plan = plan(newest.fingerprint)

    def read(messages: Sequence[bytes]) -> list[Row]:
        out: list[Row] = []
        try:
            confluent = bool(messages) and messages[0][:1] == framing.CONFLUENT_MARK
            first = plan(framing.split(messages[0])[0]) if confluent else newest_plan
            first(messages, out, other)
        except CodecError as error:
            error.record, error.index = record, len(out)
            raise
        except _BAD_BYTES as error:
            raise CodecError(f"{record}: message {len(out)}: {error}", record=record, index=len(out)) from error
        return out

    return read


@functools.lru_cache(maxsize=256)
def _compiled(record: str, version: int, prefix: bytes, fields: tuple[str, ...]) -> decoder.Rows:
    newest, writer = records.record(record), records.record(record, version)
    wanted = [newest.field(name) for name in fields]
    return decoder.rows(writer, prefix, wanted)


def _registered(newest: Record, schema_id: int) -> tuple[Any, bytes]:
    """The schema with this id, and its fingerprint. Raises: UnknownSchema: it is not there, or no version of ours."""
    topic, name = topics.of_record(newest.name), f"{newest.schema['namespace']}.{newest.schema['name']}"
    try:
        schema, found, crc = _confluent_schema(schema_id)
    except KeyError as error:
        raise UnknownSchema(newest.name, topic, schema_id, "the registry does not have it") from error
    except ValueError as error:
        raise UnknownSchema(newest.name, topic, schema_id, str(error)) from error
    if found != name:
        raise UnknownSchema(newest.name, topic, schema_id, f"the registry says that it is {found}, not {name}")
    return schema, crc


def _foreign(newest: Record, wanted: tuple[Field, ...], schema: Any) -> decoder.Rows:
    """Reads a version that this release does not have, a later one say, by fastavro's rules of schema resolution."""

    def read(messages: Sequence[bytes], out: list[Row], other: Callable[[bytes], Row]) -> None:
        writer = framing.split(messages[0])[0]
        for data in messages:
            if framing.split(data)[0] != writer:
                out.append(other(data))
                continue
            body = io.BytesIO(data[framing.CONFLUENT_SIZE :])
            try:
                value = cast(dict[str, Any], fastavro.schemaless_reader(body, schema, _reader_schema(newest.name)))
            except (EOFError, fastavro.read.SchemaResolutionError, TypeError) as error:
                raise CodecError(f"{newest.name}: {error or type(error).__name__}", record=newest.name) from error
            out.append(tuple(value[f.name] for f in wanted))

    return read


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
