"""Frames, and the fingerprint against the Avro specification."""

import fastavro.schema
import pytest

from schemas import framing, records
from schemas.errors import CodecError

EMPTY_64 = 0xC15D213AA4D7A795


def crc_64_avro(text: bytes) -> int:
    """Avro 1.11 specification, "Schema Fingerprints", the slow and obvious way."""
    fingerprint = EMPTY_64
    for byte in text:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = (fingerprint >> 1) ^ (EMPTY_64 if fingerprint & 1 else 0)
    return fingerprint


@pytest.mark.parametrize(
    ("schema", "fingerprint"),
    [('"int"', 0x7275D51A3F395C8F), ('"string"', 0x8F014872634503C7), ('"boolean"', 0x9F42FC78A4D4F764)],
)
def test_the_reference_agrees_with_avros_own_test_vectors(schema: str, fingerprint: int) -> None:
    assert crc_64_avro(schema.encode()) == fingerprint


@pytest.mark.parametrize("name", records.NAMES)
def test_fingerprints_are_crc_64_avro_little_endian(name: str) -> None:
    record = records.record(name)
    canonical = fastavro.schema.to_parsing_canonical_form(record.schema)
    assert record.fingerprint == crc_64_avro(canonical.encode()).to_bytes(8, "little")


def test_fingerprints_differ() -> None:
    assert len({records.record(name).fingerprint for name in records.NAMES}) == len(records.NAMES)


def test_frames_are_split() -> None:
    assert framing.split(framing.single_object_prefix(b"12345678") + b"body") == (b"12345678", 10)
    assert framing.split(framing.confluent_prefix(4_000_000_000) + b"body") == (4_000_000_000, 5)


def test_other_bytes_are_named() -> None:
    with pytest.raises(CodecError, match="starts with 7b7d"):
        framing.split(b"{}")
