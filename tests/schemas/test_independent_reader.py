"""A single object as somebody reads it who has only our .avsc files, the Avro specification and Avro's own library."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import pytest

from schemas import codec, records

EXAMPLES = sorted(records.FOLDER.glob("*/examples/*.json"))


def known() -> dict[bytes, avro.schema.Schema]:
    """The schemas by fingerprint, as the specification tells a reader to keep them."""
    schemas = [
        avro.schema.parse(json.dumps(plain(json.loads(p.read_text())))) for p in records.FOLDER.glob("*/v*.avsc")
    ]
    return {schema.fingerprint("CRC-64-AVRO"): schema for schema in schemas}


def plain(schema: Any) -> Any:
    """Without logical types. The specification turns {"type": "long"} into "long" before a fingerprint is taken, and
    Java does; the Python library (1.12.2) leaves it, and its fingerprint is another one."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict) and "logicalType" in schema:
        return schema["type"]
    return {key: plain(value) for key, value in schema.items()} if isinstance(schema, dict) else schema


def by_avro(message: bytes) -> tuple[str, Any]:
    """Avro 1.11, "Single-object encoding", step by step. Returns the record's name and its fields."""
    assert message[:2] == b"\xc3\x01"
    schema = known()[message[2:10]]
    body = io.BytesIO(message[10:])
    value = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(body))
    assert body.read() == b""
    return schema.name, value


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_avros_own_library_reads_what_we_write(path: Path) -> None:
    record = path.parent.parent.name
    row = codec.decode(record, codec.encode(record, example(path, record)))
    name, value = by_avro(codec.encode(record, row))
    assert name == records.record(record).schema["name"]
    assert value == row


def example(path: Path, record: str) -> dict[str, Any]:
    """The example with its bytes as bytes."""
    row: dict[str, Any] = json.loads(path.read_text())
    binary = {f.name for f in records.record(record).fields if f.type == "bytes"}
    return {k: v.encode("latin-1") if k in binary else v for k, v in row.items()}
