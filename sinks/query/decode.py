"""From Kafka's bytes to columns, with what cannot be read set aside instead of stopping the sink for ever."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas import codec
from schemas.errors import CodecError
from schemas.topics import CATALOGUE
from sinks.protocol import Batch, SinkRecord

# Of an unreadable message so much is kept, as of every other refused original.
_KEPT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Unreadable:
    """A message that is no record of ours, and where it stood."""

    topic: str
    partition: int
    record: SinkRecord
    reason: str
    error: str

    def row(self, now_us: int) -> dict[str, Any]:
        """What is kept of it: a row of `rejected`.  now_us: the store's clock; Kafka's is not handed on."""
        original = self.record.value or b""
        return {
            "tenant": _header(self.record, "tenant"),
            "received_at": now_us,
            "stage": "query",
            "reason": self.reason,
            "error": self.error,
            "original": original[:_KEPT_BYTES],
            "length": len(original),
            "sha256": hashlib.sha256(original).hexdigest(),
            "content_type": "application/avro",
            "source_topic": self.topic,
            "source_partition": self.partition,
            "source_offset": self.record.offset,
        }


@dataclass
class Load:
    """The readable records of one topic.

    rows: in the order of the ranges.  keys: Kafka's key of each row.  deleted: keys whose last tombstone comes after
    every row of theirs that was there before it; rows of such a key that are still in `rows` came later.
    """

    topic: str
    rows: pa.Table
    keys: list[bytes | None]
    deleted: set[bytes] = field(default_factory=set)


def load(topic: str, batches: Sequence[Batch]) -> tuple[Load, list[Unreadable]]:
    """Read every record of some ranges of one topic."""
    compacted = "compact" in CATALOGUE[topic].config.get("cleanup.policy", "")
    at: list[tuple[int, SinkRecord]] = []
    deleted: set[bytes] = set()
    bad: list[Unreadable] = []
    for batch in batches:
        tombstones: dict[bytes, int] = {}
        for record in batch.records:
            if record.value is not None:
                at.append((batch.partition, record))
            elif compacted and record.key is not None:
                tombstones[record.key] = record.offset
            else:
                bad.append(Unreadable(topic, batch.partition, record, "empty_message", "a message without a value"))
        if tombstones:
            partition = batch.partition
            at = [(p, r) for p, r in at if p != partition or r.key is None or r.offset > tombstones.get(r.key, -1)]
            deleted |= tombstones.keys()
    pieces, keys = [], []
    name = CATALOGUE[topic].record
    start = 0
    messages = [record.value for _, record in at if record.value is not None]
    while start < len(messages):
        end = len(messages)
        try:
            pieces.append(codec.arrow(name, messages[start:end]))
        except CodecError as error:
            if error.index is None:
                raise
            end = start + error.index
            if end > start:  # what stands before the bad one is good, or it would have been found first
                pieces.append(codec.arrow(name, messages[start:end]))
            partition, record = at[end]
            bad.append(Unreadable(topic, partition, record, error.reason, str(error)))
        keys += [record.key for _, record in at[start:end]]
        start = end + 1 if end < len(messages) else end
    rows = pa.Table.from_batches(pieces, schema=codec.arrow_schema(name))
    return Load(topic, rows, keys, deleted), bad


def rejected_rows(unreadable: Sequence[Unreadable], now_us: int) -> pa.Table:
    """Unreadable messages as rows of `rejected`."""
    schema = codec.arrow_schema("rejected")
    rows: list[Mapping[str, Any]] = [item.row(now_us) for item in unreadable]
    return pa.Table.from_pylist(rows, schema=schema)


def _header(record: SinkRecord, name: str) -> str:
    return next((value.decode("utf-8", "replace") for key, value in record.headers if key == name), "")
