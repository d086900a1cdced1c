"""The unit of work: consecutive records of one partition, as fetched; and what a stage sends on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple


class Record(NamedTuple):
    """One record. timestamp_ms: Kafka's, since epoch. key, value: b"" where it has none (a tombstone's value)."""

    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


_new_record: Callable[[tuple[int, int, bytes, bytes]], Record] = partial(tuple.__new__, Record)
_fields = attrgetter("offset", "timestamp", "key", "value")


def records_of(fetched: Sequence[Any]) -> list[Record]:
    """Records of aiokafka's, which has None for an absent key or value. In C but for those, which are rare."""
    records = list(map(_new_record, map(_fields, fetched)))
    return [_absent_as_empty(record) if None in record else record for record in records]


def _absent_as_empty(record: Record) -> Record:
    return Record(record.offset, record.timestamp_ms, record.key or b"", record.value or b"")


class Chunk:
    """Records of one partition in offset order, at least one; offsets may have holes (compaction, transactions).

    Chunk borders mean nothing: after a crash the same records come in other chunks.
    """

    __slots__ = ("follows", "leader_epoch", "partition", "records", "seek", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        records: Sequence[Record],
        *,
        follows: int,
        seek: int,
        leader_epoch: int = -1,
    ) -> None:
        """follows: all records before this offset were applied before.  seek: number of the seek before the fetch.
        leader_epoch: Kafka's, of the last record; -1 where it is not known."""
        self.topic = topic
        self.partition = partition
        self.records = records
        self.follows = follows
        self.seek = seek
        self.leader_epoch = leader_epoch

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        return self.records[-1].offset

    def split(self, offset: int | None) -> tuple[Chunk, Chunk | None]:
        """The records before this offset, and the others; None: all of them, and no others.

        Raises: ValueError: there are none on one side of an offset.
        """
        if offset is None:
            return self, None
        at = bisect_left(self.records, offset, key=attrgetter("offset"))
        if not 0 < at < len(self.records):
            raise ValueError(f"{self!r} has no records on both sides of offset {offset}")
        first, others = self.records[:at], self.records[at:]
        return (
            Chunk(self.topic, self.partition, first, follows=self.follows, seek=self.seek),
            Chunk(
                self.topic,
                self.partition,
                others,
                follows=first[-1].offset + 1,
                seek=self.seek,
                leader_epoch=self.leader_epoch,
            ),
        )

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<Chunk {self.topic}[{self.partition}] {self.first_offset}-{self.last_offset}, {len(self)} records>"


class Output(NamedTuple):
    """One message to emit.  partition_key: picks the partition, by Kafka's murmur2.  value: None is a tombstone."""

    key: bytes
    value: bytes | None
    partition_key: bytes
    headers: Sequence[tuple[str, bytes]] = ()
