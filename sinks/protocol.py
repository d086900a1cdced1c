"""What a sink is: one small protocol; `sinks/worker.py` drives whatever follows it.

Who does what:
- The worker reads the topics, cuts ranges of offsets, retries, backs off and reports.  It starts each partition at
  `covered` and hands on ranges without holes between them: a range begins where the one before it ended.
- A sink does one attempt.  `write` makes the rows and the offsets behind them durable as ONE transaction, then returns.
  So whatever is killed in between, `covered` and the rows never disagree, and a range that comes again is recognised.
- Clients' re-sends (a new offset, an old id) are the sink's to drop: only it can ask its own store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from sinks.errors import IdentityMismatch, RangeGap


class SinkRecord(NamedTuple):
    """One Kafka record.  value: None is a tombstone of a compacted topic.  headers: as Kafka has them, in order."""

    # A named tuple and not a dataclass: one is made per record, and it costs half.
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Batch:
    """A range of offsets of one partition, with every record that the log still has in it, in order of offset.

    topic: the short name ("events").  first_offset, last_offset: the range, both included.  Records may be fewer than
    the range is wide: compaction leaves holes, and so do transaction markers; a range can even have no records at all.
    """

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: Sequence[SinkRecord]

    @property
    def next_offset(self) -> int:
        """The first offset after this range: what is stored once it is written."""
        return self.last_offset + 1


@dataclass(frozen=True)
class Offset:
    """How far a partition is stored, and of which topic this is true.

    next_offset: the first offset that is not stored yet.  cluster_id, topic_id: Kafka's own ids (topic_id as UUID
    text); a topic that was deleted and made again has another id, and its offsets mean other records.
    """

    cluster_id: str
    topic_id: str
    next_offset: int


@dataclass(frozen=True)
class Identity:
    """The Kafka we read from.  topic_ids: short topic name → topic id."""

    cluster_id: str
    topic_ids: Mapping[str, str]

    def offset(self, topic: str, next_offset: int) -> Offset:
        """The stored form of a position in this cluster's topic."""
        return Offset(self.cluster_id, self.topic_ids[topic], next_offset)

    def check(self, sink: str, topic: str, partition: int, stored: Offset) -> None:
        """Refuse offsets that were stored for another cluster or for an earlier topic of the same name.

        Raises: IdentityMismatch.
        """
        expected = (self.cluster_id, self.topic_ids[topic])
        if (stored.cluster_id, stored.topic_id) != expected:
            raise IdentityMismatch(sink, topic, partition, stored=(stored.cluster_id, stored.topic_id), found=expected)


class Sink(Protocol):
    """A store that keeps its own offsets.  Its methods are called by one task, one at a time.

    name: a short fixed word, used as a metric label.  topics: short names of the topics it takes.
    Blocking work belongs in a thread of the sink's own: several sinks share one event loop, and a slow one must not
    hold up another.
    """

    name: str
    topics: tuple[str, ...]

    async def open(self, identity: Identity) -> None:
        """Make the store ready.  Called again after a failed attempt, never after success.

        Raises: IdentityMismatch when what is stored belongs to another cluster or topic; RetryableError;
        PermanentError.
        """
        ...

    async def covered(self, topic: str, partition: int) -> Offset | None:
        """The first offset of this partition that is not yet stored; None when nothing of it was ever stored."""
        ...

    async def write(self, batches: Sequence[Batch]) -> None:
        """Store ranges of one or more partitions; at most one range per partition.  One attempt.

        Returns only when rows AND offsets are durable, as one.  What is already covered is dropped, wholly or from
        the front of a range.
        Raises: RetryableError: nothing, or whole ranges, were stored: the same call may come again.  PermanentError:
        no attempt can succeed; the process stops.
        """
        ...

    async def close(self) -> None:
        """Give back what `open` took.  May come without a successful `open`, and twice."""
        ...


def uncovered(sink: str, batch: Batch, next_offset: int | None) -> Batch | None:
    """The part of a range that is not stored yet; None when all of it is.

    Args:    next_offset: the store's first missing offset; None: nothing is stored, the range may begin anywhere.
    Raises:  RangeGap when the range begins after next_offset: storing it would skip records for ever.
    """
    if next_offset is None or batch.first_offset == next_offset:
        return batch
    if batch.first_offset > next_offset:
        raise RangeGap(sink, batch.topic, batch.partition, expected=next_offset, found=batch.first_offset)
    if batch.last_offset < next_offset:
        return None
    records = [record for record in batch.records if record.offset >= next_offset]
    return replace(batch, first_offset=next_offset, records=records)
