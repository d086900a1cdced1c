"""A changelog that loses its end, as after an unclean election or with a lost disk: noticed, and never counted over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.kafka import Broker
from tests.kafka import jars
from tests.streams.engine.harness import Pipeline

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test's own."""
    folder = tmp_path / "kafka"
    with Broker(jars(), folder, log=folder / "log", port=0, heap_mb=320) as broker:
        yield broker


def forget(broker: Broker, pattern: str) -> None:
    """The broker dies and comes back without the last third of these partitions."""
    broker.kill()
    for log in broker.folder.glob(f"data/{pattern}/*.log"):
        os.truncate(log, log.stat().st_size * 2 // 3)
    broker.start()


CASES = {
    "kept": "local rows go up to changelog offset",
    "wiped": "the changelog holds rows up to source offset",
    "in-use": "changelog",
}


async def test_a_truncated_changelog_is_refused(forgetful: Broker, tmp_path: Path) -> None:
    pipelines = {case: Pipeline(forgetful.bootstrap, tmp_path / case, case) for case in CASES}
    try:
        for pipeline in pipelines.values():
            await pipeline.create_topics()
            await pipeline.produce(2_000)
            pipeline.worker(instance_id="one").start()
        for case, pipeline in pipelines.items():
            await pipeline.drain(revive=False)
            if case != "in-use":
                pipeline.workers[0].kill()
        pipelines["wiped"].workers[0].wipe()
        forget(forgetful, "*-changelog-*")
        await pipelines["in-use"].produce(500, seed=2)
        for case, words in CASES.items():
            worker = pipelines[case].workers[0]
            refusal = "start with a higher epoch (MILLRACE_STREAMS_EPOCH=2 MILLRACE_STREAMS_SHADOW=true)"
            for _ in range(3):  # one in use may first end because its broker is away, or does not know its producer
                if not worker.alive:
                    worker.start()
                assert await worker.ended() == 70
                if refusal in worker.tail():
                    break
            last = worker.tail().splitlines()[-1]
            assert words in last
            assert refusal in last
            assert (await pipelines[case].committed())["a"] == 2_000
    finally:
        for pipeline in pipelines.values():
            pipeline.close()
