import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from millrace.kafka import Broker
from schemas import keys
from schemas.topics import CATALOGUE, full_name, make_key
from service.cluster import ensure_topics
from service.control import ControlView, publish
from service.errors import TopicMissing


def key_record(text: str, *, tenant: str | None = "acme", deleted: bool = False) -> dict[str, Any]:
    parsed = keys.parse_key(text)
    record = keys.KeyRecord(parsed.id, parsed.kind, tenant, keys.key_hash(text), "test", deleted)
    return keys.control_value(record, updated_at=1, updated_by="test")


@pytest.fixture
async def view(kafka: Broker, prefix: str) -> AsyncIterator[ControlView]:
    await ensure_topics(kafka.kwargs, [CATALOGUE["control"]], prefix, "local")
    view = ControlView()
    await view.start(kafka.kwargs, prefix)
    yield view
    await view.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_published_key_opens_and_a_revoked_one_does_not(view: ControlView) -> None:
    text, key_id = keys.new_key("ingest")
    assert view.authenticate(text) is None
    await view.publish(key_record(text))
    await until(lambda: view.keys())
    found = view.authenticate(text)
    assert found is not None
    assert (found.id, found.kind, found.tenant) == (key_id, "ingest", "acme")
    assert view.authenticate(text[:-1] + ("0" if text[-1] != "0" else "1")) is None
    assert view.authenticate("nonsense") is None
    await view.publish(key_record(text, deleted=True))
    await until(lambda: not view.keys())
    assert view.authenticate(text) is None
    assert view.record("key", key_id) is not None


async def test_a_late_starter_knows_everything_at_once(kafka: Broker, prefix: str, view: ControlView) -> None:
    texts = [keys.new_key("query")[0] for _ in range(500)]
    await publish(kafka.kwargs, prefix, [key_record(text) for text in texts[:20]])
    late = ControlView()
    await late.start(kafka.kwargs, prefix)
    assert all(late.authenticate(text) for text in texts[:20])
    await late.stop()


async def test_an_unreadable_record_closes_its_key_and_harms_nothing_else(
    kafka: Broker, prefix: str, view: ControlView
) -> None:
    good, bad = keys.new_key("ingest")[0], keys.new_key("ingest")[0]
    await publish(kafka.kwargs, prefix, [key_record(good), key_record(bad)])
    await until(lambda: len(view.keys()) == 2)
    producer = AIOKafkaProducer(**kafka.kwargs)
    await producer.start()
    topic = full_name(prefix, "control")
    await producer.send_and_wait(topic, b"\xc3\x01nonsense", key=make_key("key", keys.parse_key(bad).id), partition=0)
    await producer.send_and_wait(topic, b"\xc3\x01nonsense", key=make_key("policy", "acme"), partition=0)
    await producer.send_and_wait(topic, b"x", key=b"no-separator", partition=0)
    await producer.stop()
    await until(lambda: len(view.keys()) == 1)
    another = keys.new_key("admin")[0]
    await view.publish(key_record(another, tenant=None))
    await until(lambda: view.authenticate(another))
    assert view.authenticate(bad) is None
    assert view.authenticate(good) is not None
    # A policy that cannot be read is there, and makes no sense: it must not look like none, which keeps everything.
    assert view.records("policy")["acme"]["body"] == ""


async def test_no_control_topic_is_one_clear_error(kafka: Broker, prefix: str) -> None:
    with pytest.raises(TopicMissing, match=full_name(prefix, "control")):
        await ControlView().start(kafka.kwargs, prefix)
