"""Whether a log is still the one that was read: Kafka's leader epochs.

Every leader of a partition has an epoch of its own, each one higher, and every batch carries that of the leader that
took it. So (epoch, offset) names one record for ever, and whoever has it has all before it. A log that an unclean
election has cut, and that was written on since, says so: the epoch of the record we read last ends at or below it.

    read      epoch 3 ─────────────┬─ epoch 4 ──────X         the log, asked where epoch 4 ends, says C: X and all
    the log   epoch 3 ─────────────┬─ epoch 4 ─C─ epoch 5 ──  between C and X are gone, others stand in their place

Source: KIP-101, KIP-320; OffsetForLeaderEpochRequest.json / …Response.json (version 2) of Apache Kafka. aiokafka 0.14
does not know this request.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from streams.engine.settings import EngineSettings

logger = logging.getLogger(__name__)

UNKNOWN = -1
"""The epoch of a record of which nobody noted it, or Kafka's word for none."""
_API_KEY = 23
_API_VERSION = 2
_POLL_S = 0.2
_FIRST_MAGIC_WITH_EPOCH = 2
_HEADER = struct.Struct(">qiib")  # offset of the first record, length of what follows it, epoch, magic
_LENGTH_FROM = 12

Runs = tuple[tuple[int, int], ...]
"""(first offset, leader epoch of the records from there to the next run), offsets ascending."""


def runs_of(batches: bytes) -> Runs:
    """The epochs of fetched batches. A look at each header: a quarter of a microsecond a batch."""
    runs: list[tuple[int, int]] = []
    at, size, last = 0, len(batches), None
    while at + _HEADER.size <= size:
        offset, length, epoch, magic = _HEADER.unpack_from(batches, at)
        if magic < _FIRST_MAGIC_WITH_EPOCH:
            epoch = UNKNOWN  # a checksum stands in its place
        if epoch != last:
            runs.append((offset, epoch))
            last = epoch
        at += _LENGTH_FROM + length
    return tuple(runs)


def epoch_at(runs: Runs, offset: int) -> int:
    """The epoch of the record at this offset; UNKNOWN where it is before all runs."""
    number = bisect_right(runs, (offset, 1 << 31))
    return runs[number - 1][1] if number else UNKNOWN


@dataclass
class Followed:
    """How far a partition was read.  offset, epoch: of the farthest record, UNKNOWN for none.

    seen: epochs of records that were read since the partition came; a cut log always brings another one.
    """

    offset: int = UNKNOWN
    epoch: int = UNKNOWN
    seen: set[int] = field(default_factory=set)

    def news(self, runs: Runs, first: int, last: int) -> set[int]:
        """The epochs that are new among records from `first` to `last`: is the log that brings them still ours?"""
        found = {epoch_at(runs, first), *(epoch for start, epoch in runs if first < start <= last)}
        return found - self.seen - {self.epoch, UNKNOWN}

    def read_to(self, runs: Runs, last: int) -> None:
        """The records up to `last` are of the log that we follow."""
        if last > self.offset:
            self.offset, self.epoch = last, epoch_at(runs, last)


class _Answer(Response):  # type: ignore[misc]
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader_epoch", Int32),
                        ("end_offset", Int64),
                    ),
                ),
            ),
        ),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32)),
                ),
            ),
        ),
    )


class _EpochEnds(Request[_Question]):  # type: ignore[misc]
    """Asks a leader where epochs end.  epochs: partition -> epoch."""

    API_KEY = _API_KEY

    def __init__(self, topic: str, epochs: Mapping[int, int]) -> None:
        self._topic, self._epochs = topic, epochs

    def build(self, request_struct_class: type[_Question]) -> _Question:
        asked = [(partition, UNKNOWN, epoch) for partition, epoch in self._epochs.items()]
        return request_struct_class([(self._topic, asked)])


async def ends_of(
    settings: EngineSettings, topic: str, epochs: Mapping[int, int], brokers: Sequence[str] = ()
) -> dict[int, int]:
    """Where the logs of a topic's partitions leave these leader epochs.

    Whoever has read a record of the epoch at or beyond that offset has read what the log does not hold any more. An
    epoch whose records were all deleted, by age or by compaction, ends where the next one begins: above them still.

    Args:    epochs: partition -> epoch.  brokers: host:port of some that may be asked beside those of the settings.
    Returns: partition -> offset of the first record of a higher epoch, or the log's end. Without those of which Kafka
             knows nothing: brokers that do not keep epochs.
    Raises:  KafkaError: no leader answered within the request timeout.
    """
    ends: dict[int, int] = {}
    left = dict(epochs)
    if not left:
        return ends
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.request_timeout_s
    known = False
    async with _client(settings, brokers) as client:
        while left:
            try:
                if not known:
                    await client.bootstrap()
                    await client.set_topics([topic])
                    known = True
                for partition, end in await _ask(client, topic, left):
                    del left[partition]
                    if end == UNKNOWN:
                        logger.warning("%s[%s]: Kafka does not know where leader epochs end", topic, partition)
                    else:
                        ends[partition] = end
            except (IncompatibleBrokerVersion, NotImplementedError):
                logger.warning("Kafka cannot be asked for leader epochs: whether %s was cut is not known", topic)
                return {}
            except (KafkaError, OSError, TimeoutError) as error:
                if loop.time() > deadline:
                    raise KafkaError(f"nobody answers for {topic}, partitions {sorted(left)}: {error!r}") from error
                logger.info("asking for the leader epochs of %s again: %r", topic, error)
            if left:
                if loop.time() > deadline:
                    raise KafkaError(f"nobody leads {topic}, partitions {sorted(left)}")
                await asyncio.sleep(_POLL_S)
                if known:
                    await client.force_metadata_update()
    return ends


async def _ask(client: Any, topic: str, epochs: Mapping[int, int]) -> list[tuple[int, int]]:
    """(partition, end) from the leaders that are known and answer; UNKNOWN where they do not know the epoch."""
    by_leader: dict[int, dict[int, int]] = {}
    for partition, epoch in epochs.items():
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is not None and leader != -1:
            by_leader.setdefault(leader, {})[partition] = epoch
    ends: list[tuple[int, int]] = []
    for leader, asked in by_leader.items():
        answer = await client.send(leader, _EpochEnds(topic, asked))
        for _, partitions in answer.topics:
            # Another error is a leader that is one no more, or not yet.
            ends += [(number, end) for code, number, _, end in partitions if for_code(code) is NoError]
    return ends


@asynccontextmanager
async def _client(settings: EngineSettings, brokers: Sequence[str]) -> Any:
    client = AIOKafkaClient(
        bootstrap_servers=[*settings.bootstrap.split(","), *brokers],
        request_timeout_ms=int(settings.request_timeout_s * 1000),
        **settings.kafka,
    )
    try:
        yield client
    finally:
        await client.close()
