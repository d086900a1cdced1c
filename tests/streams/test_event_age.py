"""How far the stages are behind in the events' own time: Kafka's time does not show what came late to Kafka."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from millrace.kafka import Broker
from schemas import topics
from service.cluster import ensure_topics
from streams.sessions.state import DAY_US, HOUR_US
from tests.streams.test_expiry_on_kafka import Streams, a_day

pytestmark = [pytest.mark.broker, pytest.mark.slow]


async def test_the_age_of_the_newest_event_is_told_by_its_own_time(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """An older one that comes later does not change it, nor one from a clock that cannot be right."""
    await ensure_topics({"bootstrap_servers": kafka.bootstrap}, list(topics.CATALOGUE.values()), prefix, "local")
    streams = Streams(kafka, prefix, tmp_path)
    streams.worker.start()
    now = a_day("s", 502)
    early = now._replace(event_time=now.event_time - 5 * HOUR_US)
    earlier = a_day("s", 501, sequence=2)._replace(received_time=now.received_time)
    wrong = a_day("s", 502, sequence=3)._replace(event_time=now.event_time + 30 * DAY_US, clock_suspect=True)
    fresh = a_day("s", 502 - 1 / 24, sequence=4)
    try:
        await streams.folded([early], prompts=1)
        await streams.folded([earlier], prompts=2)
        await streams.folded([wrong], prompts=3)
        while (age := streams.worker.metric("streams_event_age_seconds")) == 0:
            await asyncio.sleep(0.2)
        assert 5 * 3600 <= age < 24 * 3600
        assert streams.worker.state()["details"]["event_age_s"] >= int(age)
        await streams.folded([fresh], prompts=4)
        while (age := streams.worker.metric("streams_event_age_seconds")) >= 5 * 3600:
            await asyncio.sleep(0.2)
        assert age >= 3600
    finally:
        streams.worker.terminate()
