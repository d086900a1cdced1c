"""The Kafka that the sinks read: its address, its identity, its topics and their partitions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.topics import full_name
from service.cluster import describe
from service.errors import TopicMissing
from sinks.protocol import Identity


@dataclass(frozen=True)
class Source:
    """kafka: aiokafka's keyword arguments.  partitions: number of partitions by short topic name."""

    kafka: Mapping[str, Any]
    prefix: str
    identity: Identity
    partitions: Mapping[str, int]

    def full_name(self, topic: str) -> str:
        """Kafka's name of a topic."""
        return full_name(self.prefix, topic)


async def find(kafka: Mapping[str, Any], prefix: str, topics: Iterable[str]) -> Source:
    """Ask Kafka who it is and what it has.

    Args:   topics: short names.
    Raises: ClusterUnavailable; TopicMissing.
    """
    names = {topic: full_name(prefix, topic) for topic in topics}
    cluster_id, states = await describe(kafka, list(names.values()))
    for name in names.values():
        if name not in states:
            raise TopicMissing(name)
    return Source(
        kafka=kafka,
        prefix=prefix,
        identity=Identity(cluster_id, {topic: states[name].topic_id for topic, name in names.items()}),
        partitions={topic: states[name].partitions for topic, name in names.items()},
    )
