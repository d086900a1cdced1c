"""Expiry in the running process: the published row, the stored rows and their copies in the changelog go together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from millrace.kafka import Broker
from schemas import codec, topics
from service.cluster import ensure_topics
from streams.sessions.state import DAY_US
from tests.chaos.verify import published
from tests.chaos.workers import Worker
from tests.log import whole_topic
from tests.streams.test_expiry import a_prompt


async def send(bootstrap: str, prefix: str, events: list[Any]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for event in events:
            key = topics.make_key(event.tenant, event.session_id)
            value = codec.encode("claude_event", {k: v for k, v in event._asdict().items() if v is not None})
            await producer.send_and_wait(f"{prefix}.events.v1", value, key=key, partition=0)


async def last_of(bootstrap: str, topic: str) -> dict[bytes, bytes | None]:
    return {record.key: record.value for record in await whole_topic(bootstrap, topic)}


async def test_what_is_published_goes_with_the_rows_and_stays_gone(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    await ensure_topics({"bootstrap_servers": kafka.bootstrap}, list(topics.CATALOGUE.values()), prefix, "local")
    settings = {"BOOTSTRAP": kafka.bootstrap, "PREFIX": prefix, "STREAMS_SESSION_TIMEOUT_S": "6"}
    worker = Worker(0, tmp_path, {f"MILLRACE_{name}": value for name, value in settings.items()}, ["streams"])

    async def folded(events: list[Any]) -> None:
        """Sent, and what they make is published: a chunk of their own."""
        await send(kafka.bootstrap, prefix, events)
        last = events[-1]
        for _ in range(300):
            rows = await published(kafka.bootstrap, f"{prefix}.sessions.v1", "session")
            row = rows.get(topics.make_key("t", last.session_id))
            if row is not None and row["prompts"] == last.event_sequence:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(worker.tail())

    worker.start()
    try:
        await folded([a_prompt("old", 0), a_prompt("young", 300)])
        await folded([a_prompt("last", 500)])
        await folded([a_prompt("last", 501, sequence=2)])
        worker.kill()
        worker.wipe()
        worker.start()
        await folded([a_prompt("last", 502, sequence=3)])
    finally:
        worker.terminate()
    sessions = await last_of(kafka.bootstrap, f"{prefix}.sessions.v1")
    assert {key for key, value in sessions.items() if value is None} == {topics.make_key("t", "old")}
    assert len(sessions) == 3
    rows = await last_of(kafka.bootstrap, f"{prefix}-streams-session-events-changelog")
    assert {key for key in rows if key[:1] == b"s" and rows[key] is None} == {b"s" + topics.make_key("t", "old")}
    hours = [key for key in rows if key[:1] == b"h"]
    assert {rows[key] is None for key in hours if key.endswith((b"old", b"young"))} == {True}
    windows = await last_of(kafka.bootstrap, f"{prefix}.user-windows.v1")
    kept = {(key.split(b"\x1f")[4], value is not None) for key, value in windows.items()}
    assert kept == {(b"hour", False), (b"hour", True), (b"day", False), (b"day", True)}
    starts = {int(key.split(b"\x1f")[5]) for key, value in windows.items() if value is None}
    assert max(starts) < a_prompt("young", 301).event_time // DAY_US * DAY_US
