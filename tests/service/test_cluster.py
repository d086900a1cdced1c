import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from millrace.kafka import Broker
from schemas.topics import CATALOGUE, full_name
from service.cluster import cluster_identity, describe, ensure_topics
from service.errors import ClusterUnavailable, TopicMismatch, TopicMissing
from tests.ports import free_port


async def test_the_catalogue_is_made_once(kafka: Broker, prefix: str) -> None:
    created = await ensure_topics(kafka.kwargs, CATALOGUE.values(), prefix, "local")
    assert sorted(created) == sorted(full_name(prefix, name) for name in CATALOGUE)
    assert await ensure_topics(kafka.kwargs, CATALOGUE.values(), prefix, "local") == []
    _, states = await describe(kafka.kwargs, created)
    assert {name: state.partitions for name, state in states.items()} == {
        full_name(prefix, topic.name): topic.local.partitions for topic in CATALOGUE.values()
    }


async def test_a_topic_made_again_has_another_id(kafka: Broker, prefix: str) -> None:
    events = full_name(prefix, "events")
    await ensure_topics(kafka.kwargs, [CATALOGUE["events"]], prefix, "local")
    cluster, before = await cluster_identity(kafka.kwargs, [events])
    admin = AIOKafkaAdminClient(**kafka.kwargs)
    await admin.start()
    await admin.delete_topics([events])
    await admin.close()
    while (await describe(kafka.kwargs, [events]))[1]:
        await asyncio.sleep(0.05)
    await ensure_topics(kafka.kwargs, [CATALOGUE["events"]], prefix, "local")
    same_cluster, after = await cluster_identity(kafka.kwargs, [events])
    assert same_cluster == cluster
    assert len(before[events]) == 36
    assert before[events] != after[events]


async def test_a_missing_topic_is_named(kafka: Broker, prefix: str) -> None:
    with pytest.raises(TopicMissing, match=full_name(prefix, "events")):
        await cluster_identity(kafka.kwargs, [full_name(prefix, "events")])


async def test_another_partition_count_is_refused(kafka: Broker, prefix: str) -> None:
    audit = CATALOGUE["audit"]
    await ensure_topics(kafka.kwargs, [audit], prefix, "local")
    wider = type(audit)(
        audit.name, audit.record, audit.key_parts, audit.partition_parts, audit.config, CATALOGUE["events"].local
    )
    with pytest.raises(TopicMismatch, match="1 partitions, the catalogue says 4"):
        await ensure_topics(kafka.kwargs, [wider], prefix, "local")


async def test_no_kafka_is_one_clear_error() -> None:
    port = free_port()
    with pytest.raises(ClusterUnavailable, match=f"127.0.0.1:{port}"):
        await describe({"bootstrap_servers": f"127.0.0.1:{port}"}, None)
