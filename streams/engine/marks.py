"""The mark of a table's partition: what its rows were made from, and how far.

It is a row like any other (rows.MARK_KEY), written after the rows of its chunk, in RocksDB and in the changelog. With
it a worker refuses rows of another cluster, of a topic that was made again, or rows of which some are gone.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from streams.engine import rows
from streams.engine.errors import StateLost, StateMismatch, WrongRow


class Mark(NamedTuple):
    """cluster_id, topic_id: as Kafka names them.  applied: the last source offset applied, -1 for none."""

    cluster_id: str
    topic: str
    topic_id: str
    partitions: int
    epoch: int
    applied: int

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
            raise WrongRow("the mark of a table cannot be read; it was written by a newer release") from error


def check_source(where: str, mark: Mark, expected: Mark) -> None:
    """Whether the rows behind a mark were made from the source we are given.

    Args:   where: table and partition, for the message.  expected: of our source; `applied` plays no part.
    Raises: StateMismatch.
    """
    if mark.epoch > expected.epoch:
        raise StateMismatch(where, f"rows are of epoch {mark.epoch}, this worker has epoch {expected.epoch}")
    if mark.cluster_id != expected.cluster_id:
        raise StateMismatch(
            where, f"rows were made in Kafka cluster {mark.cluster_id}, this cluster is {expected.cluster_id}"
        )
    if mark.topic != expected.topic:
        raise StateMismatch(where, f"rows were made from topic {mark.topic}, now fed by {expected.topic}")
    if mark.topic_id != expected.topic_id:
        raise StateMismatch(
            where,
            f"topic {mark.topic} was deleted and made again since (its id was {mark.topic_id}, is {expected.topic_id})",
        )
    if mark.partitions != expected.partitions:
        raise StateMismatch(
            where, f"rows were made from {mark.partitions} partitions of {mark.topic}, it has {expected.partitions}"
        )


def check_progress(where: str, mark: Mark | None, *, committed: int | None, end: int) -> None:
    """Whether the recovered rows hold everything that was committed, and nothing that the source does not have.

    Args:   committed: the group's next offset to read, None for none.  end: the source partition's next offset.
    Raises: StateLost, StateMismatch.
    """
    if mark is None:
        if committed is not None:
            raise StateLost(where, f"the changelog is empty, but the source was read up to offset {committed}")
        return
    if committed is not None and committed > mark.applied + 1:
        raise StateLost(
            where, f"the changelog holds rows up to source offset {mark.applied}, but it was read up to {committed}"
        )
    if mark.applied >= end:
        raise StateMismatch(
            where,
            f"rows are made of records up to offset {mark.applied}, but {mark.topic} ends at {end}: records were lost",
        )
