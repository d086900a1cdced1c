"""What a stage needs around its logic: where topics are, and what becomes of a message that no codec can read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas import codec, topics
from schemas.errors import CodecError
from streams.engine import Chunk, Engine, Output, Record, Source, Table
from streams.receipt import Receipt
from streams.rows import Read, Stored
from streams.sessions.fold import FoldSettings

logger = logging.getLogger(__name__)
REJECTED_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where the stages read and write.

    Args:    prefix: of all topic names.  partitions: of every topic, by its short name.  epoch: of the stages' logic.
    """

    prefix: str
    partitions: Mapping[str, int]
    epoch: int
    fold: FoldSettings = field(default_factory=FoldSettings)

    def topic(self, name: str) -> str:
        return topics.full_name(self.prefix, name)

    def hours_topic(self, engine: Engine) -> str:
        """Where the sessions stage sends hours, and the users stage reads them.

        Epoch 1 has one topic for that and for all others. A higher epoch has a topic of its own, since on the other one
        the epoch before still writes; the users stage passes on what comes there.
        """
        name = "session-hours"
        return self.topic(name) if self.epoch == 1 else engine.settings.internal_topic(name)

    def hours(self, engine: Engine) -> Source:
        """The topic above as a source."""
        return engine.source(self.hours_topic(engine), self.partitions["session-hours"], internal=self.epoch > 1)


def reading(table: Table, partition: int) -> Read:
    """How the rows of a table's partition are read by Rows."""

    def read(keys: Sequence[bytes]) -> list[Stored | None]:
        return [None if row is None else (row.offset, row.payload) for row in table.get_many(partition, keys)]

    return read


def output(record: str, row: Mapping[str, Any], key: bytes, partition_key: bytes) -> Output:
    """A message of a stage, with the headers that every message of ours has."""
    headers = (("tenant", row["tenant"].encode()), ("content-type", b"application/avro"))
    return Output(key, codec.encode(record, row), partition_key, headers)


async def take_back(engine: Engine, topic: str, partitions: int, keys: Sequence[tuple[bytes, bytes]]) -> None:
    """Send the tombstones of what was published under these (key, partition key); returns when Kafka has them.

    Before the rows behind them are deleted: without those nobody would know what is still to be taken back.
    """
    if keys:
        gone = [Output(key, None, owner, (("tenant", key.partition(b"\x1f")[0]),)) for key, owner in keys]
        await engine.emit(topic, partitions, gone)
        await engine.settle()


class Inlet:
    """Reads the few fields that a stage folds out of whole chunks of one topic."""

    def __init__(
        self, engine: Engine, stage: Stage, record: str, fields: Sequence[str], *, receipt: Receipt | None = None
    ) -> None:
        """receipt: of records that a gateway took in."""
        self._engine = engine
        self._stage = stage
        self._record = record
        self._read: Callable[[Sequence[bytes]], list[tuple[Any, ...]]] = codec.reader(record, fields)
        self._receipt = receipt
        # Partition -> up to where refusals were sent: a chunk that is folded in parts is read once a part.
        self._refused: dict[int, int] = {}

    async def read(self, chunk: Chunk) -> list[tuple[int, bytes, tuple[Any, ...]]]:
        """(offset, key, values) of every readable record; the others go to `rejected`, once while this process lives,
        and the partition goes on.

        Tombstones are left out: they take back what has expired, and what stands on it expires by itself.
        """
        records = [record for record in chunk.records if record.value]
        try:
            values = self._read([record.value for record in records])
            return [(r.offset, r.key, self._checked(v, r)) for r, v in zip(records, values, strict=True)]
        except CodecError:
            pass
        out, refused = [], []
        for record in records:
            try:
                out.append((record.offset, record.key, self._checked(self._read([record.value])[0], record)))
            except CodecError as error:
                if record.offset <= self._refused.get(chunk.partition, -1):
                    continue
                logger.warning(
                    "unreadable %s at %s[%d]@%d: %s", self._record, chunk.topic, chunk.partition, record.offset, error
                )
                refused.append(self._refusal(chunk, record.offset, record.timestamp_ms, record.value, error))
        if refused:
            await self._engine.emit(self._stage.topic("rejected"), self._stage.partitions["rejected"], refused)
            self._refused[chunk.partition] = chunk.last_offset
        return out

    def _checked(self, values: tuple[Any, ...], record: Record) -> tuple[Any, ...]:
        return values if self._receipt is None else self._receipt.borne_out(values, record.timestamp_ms)

    def _refusal(self, chunk: Chunk, offset: int, timestamp_ms: int, value: bytes, error: CodecError) -> Output:
        digest = hashlib.sha256(value)
        row = {
            "tenant": "",
            "received_at": timestamp_ms * 1000,
            "stage": "streams",
            "reason": error.reason,
            "error": str(error),
            "original": value[:REJECTED_BYTES],
            "length": len(value),
            "sha256": digest.hexdigest(),
            "source_topic": chunk.topic,
            "source_partition": chunk.partition,
            "source_offset": offset,
        }
        return output("rejected", row, b"", digest.digest())
