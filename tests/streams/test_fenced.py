"""`python -m streams` is paused past its session timeout, and wakes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from millrace.kafka import Broker
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from streams.errors import EXIT_TRY_AGAIN
from tests.chaos.workers import Worker

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SESSION_TIMEOUT_S = 6
PATIENCE_S = 60


async def test_a_fenced_worker_is_counted_by_its_next_start(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    await ensure_topics(kafka.kwargs, CATALOGUE.values(), prefix, "local")
    environment = {
        "MILLRACE_BOOTSTRAP": kafka.bootstrap,
        "MILLRACE_PREFIX": prefix,
        "MILLRACE_STREAMS_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
    }
    worker = Worker(0, tmp_path, environment, ["streams"])
    try:
        worker.start()
        await ready(worker)
        assert worker.metric("streams_fenced_total") == 0
        worker.pause()
        await asyncio.sleep(SESSION_TIMEOUT_S + 3)
        worker.resume()
        await asyncio.to_thread(worker.wait)
        assert worker.exit_code == EXIT_TRY_AGAIN, worker.tail()
        worker.start()
        await ready(worker)
        assert worker.metric("streams_fenced_total") == 1
    finally:
        worker.kill()


async def ready(worker: Worker) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not worker.state()["ready"]:
            assert worker.exit_code is None, worker.tail()
            await asyncio.sleep(0.1)
