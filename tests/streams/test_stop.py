"""`python -m streams` is asked to stop in the middle of its work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from millrace.kafka import Broker
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from tests.chaos.load import Load
from tests.chaos.verify import differences
from tests.chaos.workers import Worker

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PARTITIONS = CATALOGUE["events"].local.partitions
PATIENCE_S = 90


async def drained(worker: Worker) -> None:
    """Until nothing waits, five looks in a row: the ends of the topics are asked for once a second."""
    often = 0
    while often < 5:
        assert worker.exit_code is None, worker.tail()
        await asyncio.sleep(0.5)
        state = worker.state()
        often = often + 1 if state["ready"] and state.get("lag_total") == 0 else 0


async def test_a_worker_under_load_ends_by_itself_when_asked_and_the_next_one_goes_on(
    kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    """Its own deadline would end it with another code, and with work that is not committed: the next would redo it."""
    await ensure_topics(kafka.kwargs, CATALOGUE.values(), prefix, "local")
    load, enough = Load(kafka.bootstrap, prefix, PARTITIONS, seed=5, rate=1_000, sessions=100), asyncio.Event()
    environment = {
        "MILLRACE_BOOTSTRAP": kafka.bootstrap,
        "MILLRACE_PREFIX": prefix,
        "MILLRACE_STREAMS_INSTANCE_ID": "one",
    }
    worker = Worker(0, tmp_path, environment, ["streams"])
    sending = asyncio.ensure_future(load.run(enough, most=10**9))
    worker.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while worker.metric("streams_records_total") == 0:
                assert worker.exit_code is None, worker.tail()
                await asyncio.sleep(0.05)
        await asyncio.to_thread(worker.terminate)
        assert worker.exit_code == 0, worker.tail()
        enough.set()
        await sending
        worker.start()
        async with asyncio.timeout(PATIENCE_S):
            await drained(worker)
        assert worker.metric("streams_duplicates_total") == 0
        await asyncio.to_thread(worker.terminate)
        assert worker.exit_code == 0, worker.tail()
    finally:
        worker.kill()
    found, _ = await differences(kafka.bootstrap, prefix, load.records.values(), [worker])
    assert not any(found.values()), found
