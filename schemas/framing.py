"""Frames around an Avro body: how a reader knows the writer's schema.

single object  C3 01, 8 bytes CRC-64-AVRO fingerprint (little endian), body     Avro 1.11, "Single-object encoding"
Confluent      00, 4 bytes schema id (big endian), body                         with a schema registry
"""

from __future__ import annotations

import struct

from schemas.errors import CodecError

SINGLE_OBJECT_MARK = b"\xc3\x01"
SINGLE_OBJECT_SIZE = 10
CONFLUENT_MARK = b"\x00"
CONFLUENT_SIZE = 5
CONTENT_TYPE = b"application/avro"


def single_object_prefix(fingerprint: bytes) -> bytes:
    """The 10 bytes before every body of the schema with this fingerprint."""
    return SINGLE_OBJECT_MARK + fingerprint


def confluent_prefix(schema_id: int) -> bytes:
    """The 5 bytes before every body of the registry's schema `schema_id`, 0 <= schema_id < 2**32."""
    return CONFLUENT_MARK + struct.pack(">I", schema_id)


def split(data: bytes) -> tuple[bytes | int, int]:
    """What names the writer's schema, and where the body starts.

    Returns: (fingerprint, 10) of a single object or (schema id, 5) of a Confluent frame.
    Raises:  CodecError: neither.
    """
    if data[:2] == SINGLE_OBJECT_MARK and len(data) >= SINGLE_OBJECT_SIZE:
        return data[2:SINGLE_OBJECT_SIZE], SINGLE_OBJECT_SIZE
    if data[:1] == CONFLUENT_MARK and len(data) >= CONFLUENT_SIZE:
        return int(struct.unpack_from(">I", data, 1)[0]), CONFLUENT_SIZE
    raise CodecError(f"neither a single-object nor a Confluent frame: starts with {data[:10].hex() or 'nothing'}")
