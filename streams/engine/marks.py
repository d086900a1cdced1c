"""The mark of a table's partition: what its rows were made from, and how far.

It is a row like any other (rows.MARK_KEY), written after the rows of its chunk, in RocksDB and in the changelog. With
it a worker refuses rows of another cluster, of a topic that was made again, of another logic, or rows of which some
are gone; and it knows whether what they say was ever published.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from streams.engine import rows
from streams.engine.errors import AlreadyPublished, LogicChanged, SourceCut, StateLost, StateMismatch, WrongRow


class Mark(NamedTuple):
    """cluster_id, topic_id: as Kafka names them.  applied: the last source offset applied, -1 for none.

    logic: version of the stage's logic.  published: False while the rows stand in the shadow of a lower epoch's. Marks
    that are older than these two fields have neither; they are of the first logic, and published.
    leader_epoch: Kafka's, of the record at `applied`; -1 in a mark of before it was kept.
    """

    cluster_id: str
    topic: str
    topic_id: str
    partitions: int
    epoch: int
    applied: int
    logic: int = 1
    published: bool = True
    leader_epoch: int = -1

    def pack(self) -> bytes:
        """The stored row. Its version is (epoch, applied), so the farthest mark wins as rows do."""
        payload = json.dumps(list(self), separators=(",", ":")).encode()
        return rows.pack(self.epoch, max(self.applied, 0), payload)

    @classmethod
    def unpack(cls, stored: bytes) -> Mark:
        """Raises: WrongRow."""
        try:
            return cls(*json.loads(rows.unpack(stored).payload))
        except (TypeError, ValueError) as error:
            raise WrongRow(f"the mark of a table cannot be read; {rows.NEWER}") from error


def check_source(where: str, mark: Mark, expected: Mark) -> None:
    """Whether the rows behind a mark are ours to go on with.

    Args:   where: table and partition, for the message.
            expected: of our source and logic; published: whether we publish.  `applied` plays no part.
    Raises: StateMismatch, LogicChanged, AlreadyPublished.
    """
    what = None
    if mark.epoch > expected.epoch:
        what = f"rows are of epoch {mark.epoch}, this worker has epoch {expected.epoch}"
    elif mark.cluster_id != expected.cluster_id:
        what = f"rows were made in Kafka cluster {mark.cluster_id}, this cluster is {expected.cluster_id}"
    elif mark.topic != expected.topic:
        what = f"rows were made from topic {mark.topic}, now fed by {expected.topic}"
    elif mark.topic_id != expected.topic_id:
        ids = f"(its id was {mark.topic_id}, is {expected.topic_id})"
        what = f"topic {mark.topic} was deleted and made again since {ids}"
    elif mark.partitions != expected.partitions:
        what = f"rows were made from {mark.partitions} partitions of {mark.topic}, it has {expected.partitions}"
    if what is not None:
        raise StateMismatch(where, what, max(mark.epoch, expected.epoch))
    if mark.logic != expected.logic:
        raise LogicChanged(where, mark.logic, expected.logic, expected.epoch)
    if mark.published and not expected.published:
        raise AlreadyPublished(where, expected.epoch)


def check_progress(
    where: str, mark: Mark | None, *, epoch: int, committed: int | None, end: int, kept: int | None = None
) -> None:
    """Whether the recovered rows hold everything that was committed, and nothing that the source does not have.

    Args:   epoch: ours.  committed: the group's next offset to read, None for none.
            end: the source partition's next offset.
            kept: where the source leaves the leader epoch of the last record applied, None where nobody knows.
    Raises: StateLost, StateMismatch, SourceCut.
    """
    if mark is None:
        if committed is not None:
            raise StateLost(where, f"the changelog is empty, but the source was read up to offset {committed}", epoch)
        return
    if committed is not None and committed > mark.applied + 1:
        what = f"the changelog holds rows up to source offset {mark.applied}, but it was read up to {committed}"
        raise StateLost(where, what, epoch)
    if mark.applied >= end:
        what = (
            f"rows are made of records up to offset {mark.applied}, but {mark.topic} ends at {end}: records were lost"
        )
        raise StateMismatch(where, what, epoch)
    if kept is not None and mark.applied >= kept:
        raise SourceCut(where, mark.topic, applied=mark.applied, kept=kept, epoch=epoch)
