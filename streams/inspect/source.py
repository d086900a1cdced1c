"""Reading the records again that a row was made of: one source partition, from its beginning up to an offset."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from service.cluster import describe
from service.consumer import Consumer
from service.errors import ClusterUnavailable, TopicMissing
from streams.engine import marks
from streams.engine.chunk import Record, records_of
from streams.inspect.databases import Snapshot

_WAIT_MS = 1000
_SAY_EVERY_S = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stretch:
    """A partition from the first offset that Kafka still has to the one that was asked for.

    first: that offset, never beyond upto + 1.  read: records there are in between.  records: those that were wanted.
    """

    topic: str
    partition: int
    first: int
    upto: int
    read: int
    records: list[Record]

    @property
    def expired(self) -> int:
        """Offsets before the first one."""
        return self.first

    @property
    def compacted(self) -> int:
        """Offsets in between that have no record any more."""
        return self.upto + 1 - self.first - self.read


async def reread(
    kafka: Mapping[str, Any], snapshot: Snapshot, upto: int, wanted: Callable[[bytes], bool], say: Say
) -> Stretch | None:
    """The records of a table's source up to an offset whose keys are wanted; None where the table has read none.

    Raises: ClusterUnavailable.  TopicMissing.  StateMismatch: Kafka has another topic than the rows were made from.
    """
    mark = snapshot.mark
    if mark is None or upto < 0:
        return None
    cluster_id, topics = await describe(kafka, [mark.topic])
    if mark.topic not in topics:
        raise TopicMissing(mark.topic)
    found = topics[mark.topic]
    now = mark._replace(cluster_id=cluster_id, topic_id=found.topic_id, partitions=found.partitions)
    marks.check_source(snapshot.database.where, mark, now)
    consumer = Consumer(**kafka, enable_auto_commit=False, auto_offset_reset="earliest")
    tp = TopicPartition(mark.topic, snapshot.database.partition)
    try:
        await consumer.start()
        consumer.assign([tp])
        first = min((await consumer.beginning_offsets([tp]))[tp], upto + 1)
        end = (await consumer.end_offsets([tp]))[tp]
        marks.check_progress(snapshot.database.where, mark, epoch=mark.epoch, committed=None, end=end)
        consumer.seek(tp, first)
        records: list[Record] = []
        read, said = 0, time.monotonic()
        while (position := await consumer.position(tp)) <= upto:
            fetched = records_of((await consumer.getmany(tp, timeout_ms=_WAIT_MS)).get(tp, ()))
            within = [record for record in fetched if record.offset <= upto]
            read += len(within)
            records += [record for record in within if wanted(record.key)]
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                say(f"reading {mark.topic}[{tp.partition}]: at offset {position:,} of {upto:,}")
    except (KafkaError, OSError) as error:
        raise ClusterUnavailable(str(kafka["bootstrap_servers"]), str(error) or type(error).__name__) from error
    finally:
        await consumer.stop()
    return Stretch(tp.topic, tp.partition, first, upto, read, records)
