"""Expiry in the running process: the published row, the stored rows and their copies in the changelog go together."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from millrace.kafka import Broker
from schemas import codec, topics
from service.cluster import ensure_topics
from streams.engine import rows
from streams.engine.marks import Mark
from streams.sessions.events import Event
from streams.sessions.state import DAY_US
from tests.chaos.load import RECORD
from tests.chaos.verify import published
from tests.chaos.workers import Worker
from tests.log import topics_of_the_past, whole_topic
from tests.streams.records import START
from tests.streams.test_expiry import a_cost, a_prompt

# The past that is told here: the last of it is now.
BACK_DAYS = 502 + (START - time.time_ns() // 1000) / DAY_US
GRAINS = ("hour", "day")


def a_day(session: str, day: float, sequence: int = 1) -> Event:
    """A prompt of this day."""
    return a_prompt(session, day - BACK_DAYS, sequence=sequence)


async def send(bootstrap: str, prefix: str, records: list[Any]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for one in records:
            topic, record = RECORD[type(one)]
            key = topics.make_key(one.tenant, one.session_id)
            value = codec.encode(record, {k: v for k, v in one._asdict().items() if v is not None})
            at_ms = min(one.received_time, time.time_ns() // 1000) // 1000
            await producer.send_and_wait(f"{prefix}.{topic}.v1", value, key=key, partition=0, timestamp_ms=at_ms)


async def last_of(bootstrap: str, topic: str) -> dict[bytes, bytes | None]:
    return {record.key: record.value for record in await whole_topic(bootstrap, topic)}


def deleted_too_early(changelog: list[Any]) -> list[bytes]:
    """Keys deleted before the mark says that the chunk which let them go is in.

    A worker that dies between the two folds that chunk again, without what it had to know.
    """
    marked, early = {}, []
    for record in changelog:
        if record.key == rows.MARK_KEY:
            marked[record.partition] = Mark.unpack(record.value).applied
        elif record.value is None:
            version = rows.unpack(rows.tombstone_version(record.headers) + bytes([rows.FORMAT])).offset
            if marked.get(record.partition, -1) < version:
                early.append(record.key)
    return early


class Streams:
    """The streams process, and what it publishes."""

    def __init__(self, kafka: Broker, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix = kafka.bootstrap, prefix
        settings = {"BOOTSTRAP": kafka.bootstrap, "PREFIX": prefix, "STREAMS_SESSION_TIMEOUT_S": "6"}
        self.worker = Worker(0, folder, {f"MILLRACE_{name}": value for name, value in settings.items()}, ["streams"])

    async def session(self, name: str) -> dict[str, Any]:
        rows = await published(self.bootstrap, f"{self.prefix}.sessions.v1", "session")
        return rows.get(topics.make_key("t", name), {})

    async def folded(self, events: list[Any], **wanted: float) -> None:
        """Sent, and what they make is published: a chunk of their own."""
        await send(self.bootstrap, self.prefix, events)
        wanted = wanted or {"prompts": events[-1].event_sequence or 0}
        for _ in range(300):
            row = await self.session(events[-1].session_id or "")
            if all(row.get(name) == value for name, value in wanted.items()):
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{row} instead of {wanted}\n{self.worker.tail()}")


async def test_what_is_published_goes_with_the_rows_and_stays_gone(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    await ensure_topics({"bootstrap_servers": kafka.bootstrap}, topics_of_the_past(), prefix, "local")
    streams = Streams(kafka, prefix, tmp_path)
    streams.worker.start()
    try:
        await streams.folded([a_day("old", 0), a_day("young", 300)])
        await streams.folded([a_day("last", 500)])
        await streams.folded([a_day("last", 501, sequence=2)])
        streams.worker.kill()
        streams.worker.wipe()
        streams.worker.start()
        await streams.folded([a_day("last", 502, sequence=3)])
    finally:
        streams.worker.terminate()
    sessions = await last_of(kafka.bootstrap, f"{prefix}.sessions.v1")
    assert {key for key, value in sessions.items() if value is None} == {topics.make_key("t", "old")}
    assert len(sessions) == 3
    changelog = await whole_topic(kafka.bootstrap, f"{prefix}-streams-session-events-changelog")
    kept = {record.key: record.value for record in changelog}
    assert {key for key in kept if key[:1] == b"s" and kept[key] is None} == {b"s" + topics.make_key("t", "old")}
    hours = [key for key in kept if key[:1] == b"h"]
    assert {kept[key] is None for key in hours if key.endswith((b"old", b"young"))} == {True}
    assert deleted_too_early(changelog) == []
    windows = await last_of(kafka.bootstrap, f"{prefix}.user-windows.v1")
    grains = {(key.split(b"\x1f")[4], value is not None) for key, value in windows.items()}
    assert grains == {(b"hour", False), (b"hour", True), (b"day", False), (b"day", True)}
    starts = {int(key.split(b"\x1f")[5]) for key, value in windows.items() if value is None}
    assert max(starts) < a_day("young", 301).event_time // DAY_US * DAY_US


async def test_a_gateway_whose_clock_is_years_off_takes_nothing(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """Its records count, at the moment at which Kafka had them; nobody else's row or id expires."""
    await ensure_topics({"bootstrap_servers": kafka.bootstrap}, list(topics.CATALOGUE.values()), prefix, "local")
    streams = Streams(kafka, prefix, tmp_path)
    streams.worker.start()
    first, other = a_day("one", 501.99), a_day("two", 501.99)
    ahead = a_day("three", 502)._replace(received_time=first.received_time + 3650 * DAY_US)
    behind = a_day("three", 502, sequence=2)._replace(received_time=1)
    try:
        await streams.folded([first, other])
        await streams.folded([ahead], prompts=1)
        await streams.folded([behind], prompts=2)
        await streams.folded([ahead, behind], prompts=2, resends=2)
        await streams.folded([first], prompts=1, resends=1)
    finally:
        streams.worker.terminate()
    for topic in ("sessions", "session-hours", "user-windows"):
        assert None not in (await last_of(kafka.bootstrap, f"{prefix}.{topic}.v1")).values()
    assert abs((await streams.session("three"))["received_time"] / 1e6 - time.time()) < 3600


@pytest.mark.parametrize("years", [-10, 10])
async def test_a_host_whose_clock_is_years_off_counts_when_kafka_had_it(
    kafka: Broker, prefix: str, tmp_path: Path, years: int
) -> None:
    """Gateway and client go by the same wrong clock, and bear each other out. Nothing of it goes when time passes."""
    await ensure_topics({"bootstrap_servers": kafka.bootstrap}, list(topics.CATALOGUE.values()), prefix, "local")
    streams = Streams(kafka, prefix, tmp_path)
    streams.worker.start()
    apart = years * 365 * DAY_US
    prompt, cost = a_day("wrong", 502), a_cost("wrong", 502 - BACK_DAYS)
    wrong = [
        record._replace(event_time=record.event_time + apart, received_time=record.received_time + apart)
        for record in (prompt, cost)
    ]
    try:
        await streams.folded(wrong[:1], prompts=1)
        await streams.folded(wrong[1:], prompts=1, metric_cost_usd=1.0)
        await streams.folded([a_day("right", 502)], prompts=1)
        await streams.folded([a_day("right", 502, sequence=2)], prompts=2)
        for _ in range(300):
            windows = await published(kafka.bootstrap, f"{prefix}.user-windows.v1", "user_window")
            used = [(row["grain"], row["prompts"], row["metric_cost_usd"]) for row in windows.values()]
            counted = {g: (sum(p for n, p, _ in used if n == g), sum(c for n, _, c in used if n == g)) for g in GRAINS}
            if counted == dict.fromkeys(GRAINS, (3, 1.0)):
                break
            await asyncio.sleep(0.2)
    finally:
        streams.worker.terminate()
    assert counted == dict.fromkeys(GRAINS, (3, 1.0))
    assert all(abs(row["start"] / 1e6 - time.time()) < 2 * 86_400 for row in windows.values())
    assert (await streams.session("wrong"))["flags"] == ["clock_suspect"]
    assert (await streams.session("right"))["flags"] == []
    for topic in ("sessions", "session-hours", "user-windows"):
        assert None not in (await last_of(kafka.bootstrap, f"{prefix}.{topic}.v1")).values()
