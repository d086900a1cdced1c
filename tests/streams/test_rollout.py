"""A release that mends the logic, rolled out under load: rebuilt in shadow, then switched to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from millrace.kafka import Broker
from schemas import codec, topics
from service.cluster import ensure_topics
from tests.chaos.load import Load
from tests.chaos.verify import differences, published
from tests.chaos.workers import Worker
from tests.log import whole_topic

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PUBLIC = {"sessions": "session", "session-hours": "session_hour", "user-windows": "user_window"}
OLD = ["tests.chaos.unprotected", "ids"]
"""The release before: it counts what clients send again."""


async def until(worker: Worker, done: Callable[[dict[str, object]], bool]) -> None:
    for _ in range(300):
        if done(worker.state()):
            return
        assert worker.alive, worker.tail()
        await asyncio.sleep(0.2)
    raise AssertionError(f"{worker.state()}\n{worker.tail()}")


def drained(state: dict[str, object]) -> bool:
    return bool(state["ready"]) and state.get("lag_total") == 0 and "publishing" not in str(state["why"])


async def test_a_mended_logic_is_rolled_out_beside_the_old_one(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    bootstrap = kafka.bootstrap
    catalogue = list(topics.CATALOGUE.values())
    await ensure_topics({"bootstrap_servers": bootstrap}, catalogue, prefix, "local")
    settings = {"BOOTSTRAP": bootstrap, "PREFIX": prefix, "STREAMS_INSTANCE_ID": "one"}
    environment = {f"MILLRACE_{name}": value for name, value in settings.items()}
    second = {**environment, "MILLRACE_STREAMS_EPOCH": "2"}
    # All in one data folder, as on one machine.
    old = Worker(0, tmp_path, environment, OLD)
    shadow = Worker(0, tmp_path, {**second, "MILLRACE_STREAMS_SHADOW": "true"}, ["streams"])
    dying = Worker(0, tmp_path, second, ["tests.streams.dying"])
    new = Worker(0, tmp_path, second, ["streams"])
    load = Load(bootstrap, prefix, topics.LOCAL.partitions, seed=3, rate=300, sessions=40)

    async def epochs() -> set[int]:
        rows = [await published(bootstrap, f"{prefix}.{topic}.v1", record) for topic, record in PUBLIC.items()]
        assert all(rows)
        return {row["epoch"] for found in rows for row in found.values()}

    async def known_to_the_old_logic_alone() -> None:
        """A session that no record of ours makes."""
        rows = await published(bootstrap, f"{prefix}.sessions.v1", "session")
        key, row = topics.make_key("t", "a session of the old logic"), next(iter(rows.values()))
        value = codec.encode("session", {**row, "tenant": "t", "session_id": "a session of the old logic"})
        partition = topics.partition_for(key, topics.CATALOGUE["sessions"].local.partitions)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(f"{prefix}.sessions.v1", value, key=key, partition=partition)

    async def loaded(condition: Callable[[dict[str, object]], bool], worker: Worker) -> None:
        """Load until the worker says so, then until it has done all of it."""
        enough = asyncio.Event()
        loading = asyncio.create_task(load.run(enough, most=10**9))
        try:
            await until(worker, condition)
            await asyncio.sleep(1)
        finally:
            enough.set()
            await loading
        await asyncio.sleep(
            2
        )  # a worker asks for the ends once a second: until then it knows nothing of the last records
        await until(worker, drained)

    try:
        old.start()
        await until(old, lambda state: bool(state["ready"]))
        shadow.start()
        await loaded(lambda state: bool(state["ready"]), shadow)
        await until(old, drained)
        for worker in (shadow, old):
            worker.terminate()
        assert await epochs() == {1}
        assert await whole_topic(bootstrap, f"{prefix}.rejected.v1") == []
        found, _ = await differences(bootstrap, prefix, load.records.values(), [old])
        assert found["sessions"], "the old logic must be wrong"

        old.start()  # the way back, as long as nothing is published
        await loaded(lambda state: bool(state["ready"]), old)
        old.terminate()
        assert await epochs() == {1}

        await known_to_the_old_logic_alone()
        assert await epochs() == {1}

        dying.start()
        for _ in range(300):
            if not dying.alive:
                break
            await asyncio.sleep(0.1)
        assert dying.exit_code == -signal.SIGKILL, dying.tail()
        assert await epochs() == {1, 2}, "killed in the middle"

        new.start()
        await loaded(lambda state: "publishing" not in str(state.get("why")) and bool(state["ready"]), new)
        new.terminate()
        assert await epochs() == {2}
        found, _ = await differences(bootstrap, prefix, load.records.values(), [new], epoch=2)
        assert {what: wrong for what, wrong in found.items() if wrong} == {}

        old.start()  # no way back any more
        old.wait()
        assert old.exit_code == 2
        assert "epoch 2 is published, and its rows win over those of epoch 1" in old.tail()
    finally:
        for worker in (old, shadow, dying, new):
            worker.kill()
