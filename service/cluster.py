"""Kafka's identity and its topics: who the cluster is, what a topic's id is, and making what the catalogue says."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas.topics import Profile, Topic, full_name
from service.errors import ClusterUnavailable, TopicMismatch, TopicMissing, TopicRefused
from service.topic_ids import TopicIdRequest

logger = logging.getLogger(__name__)

_RETRY_S = 0.2
_YOUNG_S = 10.0


@dataclass(frozen=True)
class TopicState:
    """One topic as Kafka has it.  topic_id: UUID text; a topic deleted and made again has another one."""

    name: str
    topic_id: str
    partitions: int
    replication: int


async def cluster_identity(kafka: Mapping[str, Any], topics: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The cluster's id and the id (UUID text) of each topic, by full name.

    Args:    kafka: aiokafka's keyword arguments (service.settings.kafka_kwargs).  topics: full names.
    Raises:  ClusterUnavailable; TopicMissing for a topic that is not there.
    """
    cluster_id, states = await describe(kafka, topics)
    for topic in topics:
        if topic not in states:
            raise TopicMissing(topic)
    return cluster_id, {name: state.topic_id for name, state in states.items()}


async def describe(kafka: Mapping[str, Any], topics: Sequence[str] | None) -> tuple[str, dict[str, TopicState]]:
    """The cluster's id and the state of those of the topics that exist (None: of all).

    Raises: ClusterUnavailable.
    """
    async with _client(kafka) as client:
        return await _describe(client, kafka, topics)


async def ensure_topics(
    kafka: Mapping[str, Any], catalogue: Iterable[Topic], prefix: str, profile: Profile, *, timeout_s: float = 30.0
) -> list[str]:
    """Create what is missing of the catalogue and check what is there.

    Args:    profile: which sizing of the catalogue to use.  timeout_s: how long a young cluster may refuse.
    Returns: the full names that were created now.
    Raises:  ClusterUnavailable; TopicMismatch when a topic has another number of partitions; TopicRefused.
    """
    wanted = {full_name(prefix, topic.name): topic for topic in catalogue}
    created: list[str] = []
    deadline = asyncio.get_running_loop().time() + timeout_s
    async with _admin(kafka) as admin:
        _, present = await _describe(admin._client, kafka, list(wanted))
        missing = [name for name in wanted if name not in present]
        while missing:
            response = await _asked(kafka, admin.create_topics([_new_topic(n, wanted[n], profile) for n in missing]))
            again = []
            for name, code, *rest in response.topic_errors:
                error = for_code(code)
                if error is NoError:
                    created.append(name)
                elif error is InvalidReplicationFactorError and asyncio.get_running_loop().time() < deadline:
                    again.append(name)  # brokers still joining
                elif error is not TopicAlreadyExistsError:
                    raise TopicRefused(name, str(rest[0]) if rest and rest[0] else error.__name__)
            missing = again
            await asyncio.sleep(_RETRY_S if missing else 0)
        while True:  # what was created is known to this broker a moment later
            _, present = await _describe(admin._client, kafka, list(wanted))
            if len(present) == len(wanted):
                break
            if asyncio.get_running_loop().time() >= deadline:
                raise TopicMissing(next(name for name in wanted if name not in present))
            await asyncio.sleep(_RETRY_S)
    for name, topic in wanted.items():
        expected = topic.sizing(profile).partitions
        if present[name].partitions != expected:
            raise TopicMismatch(name, expected=expected, found=present[name].partitions)
    if created:
        logger.info("created %s", ", ".join(created))
    return created


def _new_topic(name: str, topic: Topic, profile: Profile) -> NewTopic:
    sizing = topic.sizing(profile)
    return NewTopic(name, sizing.partitions, sizing.replication, topic_configs=topic.kafka_config(profile))


async def _describe(
    client: AIOKafkaClient, kafka: Mapping[str, Any], topics: Sequence[str] | None
) -> tuple[str, dict[str, TopicState]]:
    response = await _asked(kafka, client.send(client.get_random_node(), TopicIdRequest(topics)))
    states = {}
    for code, name, topic_id, _internal, partitions, *_rest in response.topics:
        error = for_code(code)
        if error is UnknownTopicOrPartitionError:
            continue
        if error is not NoError:
            raise ClusterUnavailable(str(kafka["bootstrap_servers"]), f"{name}: {error.__name__}")
        replication = len(partitions[0][4]) if partitions else 0
        states[name] = TopicState(name, str(topic_id), len(partitions), replication)
    return response.cluster_id, states


async def _asked(kafka: Mapping[str, Any], question: Any) -> Any:
    try:
        return await question
    except (KafkaError, OSError, TimeoutError) as error:
        raise ClusterUnavailable(str(kafka["bootstrap_servers"]), _words(error, kafka)) from error


@asynccontextmanager
async def _client(kafka: Mapping[str, Any]) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**kafka)
    try:
        await _asked(kafka, client.bootstrap())
        await _wait_for_brokers(client)
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _admin(kafka: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka)
    try:
        await _asked(kafka, admin.start())
        await _wait_for_brokers(admin._client)
        yield admin
    finally:
        await admin.close()


async def _wait_for_brokers(client: AIOKafkaClient) -> None:
    """A broker that has just started answers before it names itself; asking it then would find no node to ask."""
    deadline = asyncio.get_running_loop().time() + _YOUNG_S
    while client.get_random_node() is None and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_RETRY_S)
        await client.force_metadata_update()


def _words(error: BaseException, kafka: Mapping[str, Any]) -> str:
    if isinstance(error, KafkaConnectionError):
        # The client does not tell one from the other.
        secured = kafka.get("security_protocol", "PLAINTEXT") != "PLAINTEXT"
        return "no connection, or it refuses our TLS or SASL settings" if secured else "no connection"
    return str(error) or type(error).__name__
