"""The topic catalogue: what stands in which topic, how it is keyed, kept and sized.

A key is UTF-8 parts joined by 0x1F, tenant first. Its leading parts, as many as `partition_parts`, pick the partition
by Kafka's murmur2, so that Java and Python put a session or a user into the same partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from aiokafka.partitioner import murmur2

Profile = Literal["local", "cluster"]

SEPARATOR = "\x1f"
MADE_UP = "~"
"""What the names of pseudo-sessions begin with, under which records without a session count. No session is named so."""
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Sizing:
    """Partitions and replicas of a topic. A change of `partitions` is a new epoch, not an edit."""

    partitions: int
    replication: int
    min_insync: int


LOCAL = Sizing(partitions=4, replication=1, min_insync=1)
CLUSTER = Sizing(partitions=32, replication=3, min_insync=2)

# The control plane is small, and its readers need one order over all of it: a policy that was set after a key was
# revoked must be seen after it. Only one partition gives that.
LOCAL_SINGLE = Sizing(partitions=1, replication=1, min_insync=1)
CLUSTER_SINGLE = Sizing(partitions=1, replication=3, min_insync=2)


@dataclass(frozen=True)
class Topic:
    """One topic.

    Args:    record: name of the record in it.  key_parts: what the key consists of, in order; empty for no key.
             partition_parts: how many leading key parts pick the partition; 0: the producer spreads the records.
             config: Kafka's topic configuration, but for the replicas of `local` and `cluster`.
    """

    name: str
    record: str
    key_parts: tuple[str, ...]
    partition_parts: int
    config: Mapping[str, str]
    local: Sizing = LOCAL
    cluster: Sizing = CLUSTER

    def sizing(self, profile: Profile) -> Sizing:
        """Partitions and replicas on one machine or in a cluster."""
        return self.local if profile == "local" else self.cluster

    def kafka_config(self, profile: Profile) -> dict[str, str]:
        """What to create the topic with."""
        return {**self.config, "min.insync.replicas": str(self.sizing(profile).min_insync)}


# Largest message that a topic takes, with its key and headers; the broker's own default is 1 MiB.
MAX_MESSAGE_BYTES = 1_048_576


def _delete(days: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(days * _DAY_MS),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


def _compact(*, keep_days: int | None = None) -> dict[str, str]:
    """Compacted. A reader at most `min.compaction.lag.ms` behind sees every version; a tombstone stays a day."""
    return {
        "cleanup.policy": "compact" if keep_days is None else "compact,delete",
        "retention.ms": "-1" if keep_days is None else str(keep_days * _DAY_MS),
        "min.compaction.lag.ms": str(3_600_000),
        "max.compaction.lag.ms": str(7 * _DAY_MS),
        "delete.retention.ms": str(_DAY_MS),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }


_SESSION = ("tenant", "session_id")  # else tenant, user_key; else tenant, hash of the resource
_ALL = (
    Topic("events", "claude_event", _SESSION, 2, _delete(30)),
    Topic("content", "claude_content", _SESSION, 2, _delete(7)),
    Topic("metrics", "metric_point", _SESSION, 2, _delete(30)),
    Topic("spans", "claude_span", _SESSION, 2, _delete(7)),
    Topic("rejected", "rejected", (), 0, _delete(7)),
    Topic("sessions", "session", _SESSION, 2, _compact()),
    Topic("session-hours", "session_hour", ("tenant", "user_key", "session_id", "start"), 2, _compact(keep_days=60)),
    Topic(
        "user-windows", "user_window", ("tenant", "user_key", "team", "cost_center", "grain", "start"), 2, _compact()
    ),
    Topic("control", "control", ("kind", "id"), 2, _compact(), LOCAL_SINGLE, CLUSTER_SINGLE),
    Topic("audit", "audit", (), 0, _delete(400), LOCAL_SINGLE, CLUSTER_SINGLE),
)

CATALOGUE: Mapping[str, Topic] = MappingProxyType({topic.name: topic for topic in _ALL})
_OF_RECORD = {topic.record: topic.name for topic in _ALL}


def full_name(prefix: str, name: str) -> str:
    """Kafka's name of a topic of the catalogue. Raises: KeyError."""
    return f"{prefix}.{CATALOGUE[name].name}.v1"


def of_record(record: str) -> str:
    """Short name of the one topic in which a record stands. Raises: KeyError."""
    return _OF_RECORD[record]


def make_key(*parts: str) -> bytes:
    """The key of these parts. A 0x1F inside of a part would forge a boundary and is replaced."""
    key = SEPARATOR.join(parts)
    if key.count(SEPARATOR) != len(parts) - 1:
        key = SEPARATOR.join(part.replace(SEPARATOR, "\ufffd") for part in parts)
    return key.encode()


def split_key(key: bytes) -> list[str]:
    """The parts of a key. Raises: UnicodeDecodeError."""
    return key.decode().split(SEPARATOR)


def partition_for(partition_key: bytes, count: int) -> int:
    """Where Kafka's default partitioner puts a record with this key; count: partitions of the topic, > 0."""
    return int((murmur2(partition_key) & 0x7FFFFFFF) % count)
