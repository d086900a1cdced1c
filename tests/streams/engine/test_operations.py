"""Workers that come, leave and are restarted by their operator under load: who moves partitions, and nothing is lost.

The session timeout is far beyond any test's patience: whatever moves, moves because somebody joined or left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.streams.engine.conftest import MakePipeline
from tests.streams.engine.harness import Pipeline, Worker
from tests.streams.engine.test_faults import stop_all

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NEVER_S = 600.0
NAMES = ("first", "second")


@asynccontextmanager
async def load(pipeline: Pipeline) -> AsyncIterator[None]:
    """Records as long as it lasts; then until all of them are committed."""
    enough = asyncio.Event()
    sending = asyncio.ensure_future(pipeline.produce_until(enough, rate=600, seed=7))
    yield
    enough.set()
    await sending
    await pipeline.drain(revive=False)


def owned(worker: Worker) -> list[int]:
    return [number for source in worker.state.get("sources", {}).values() for number in source["partitions"]]


async def test_a_rolling_restart_moves_no_partition(pipeline: MakePipeline) -> None:
    counting = pipeline("count", session_timeout_s=NEVER_S)
    await counting.create_topics()
    first, second = (counting.worker(instance_id=name) for name in NAMES)
    first.start()
    second.start()
    await second.until(lambda: len(owned(first)) == len(owned(second)) == 2)
    async with load(counting):
        for worker, other in ((first, second), (second, first)):
            await worker.working()
            before = owned(worker), owned(other), other.state["rebalances"]
            await worker.restart()
            await worker.working()
            assert (owned(worker), owned(other), other.state["rebalances"]) == before
    await stop_all(counting)
    await counting.check()


async def test_a_worker_that_comes_takes_partitions_and_one_that_leaves_gives_them_up_at_once(
    pipeline: MakePipeline,
) -> None:
    joining = pipeline("join", session_timeout_s=NEVER_S)
    await joining.create_topics()
    first, second = (joining.worker(instance_id=name) for name in NAMES)
    first.start()
    await first.until(lambda: len(owned(first)) == 8)  # of both sources
    async with load(joining):
        await first.working()
        second.start()
        await first.until(lambda: len(owned(first)) == len(owned(second)) == 4)
        await second.working()
        assert await second.stop() == 0
        await first.until(lambda: len(owned(first)) == 8)
    joining.workers.remove(second)
    await stop_all(joining)
    await joining.check()


async def test_what_waits_has_an_age_and_what_is_done_has_none(pipeline: MakePipeline) -> None:
    """300 keys in 4,000 records; a slow fold. Sizes are looked at every five seconds."""
    counting = pipeline("count", slow=0.2, chunk_records=100)
    await counting.create_topics()
    await counting.produce(4_000, keys=300)
    worker = counting.worker()
    worker.start()
    source = f"{counting.app}-a"
    await worker.until(lambda: bool(worker.state.get("sources") and worker.state["sources"][source]["lag_s"]))
    waiting = worker.state
    assert waiting["sources"][source]["lag"] > 0
    await worker.until(lambda: worker.state["commit_age_s"] > 0)
    await counting.drain(revive=False)
    await worker.until(lambda: worker.state["sources"][source]["lag_s"] == worker.state["commit_age_s"] == 0)
    await worker.until(lambda: worker.total("rows", "tables") >= 300)
    assert worker.total("bytes", "tables") > 300 * 28  # a row's version and its two numbers
    await stop_all(counting)


async def test_a_standby_is_ready_when_it_has_what_its_changelog_held(pipeline: MakePipeline) -> None:
    counting = pipeline("count", standbys=1)
    await counting.create_topics()
    await counting.produce(4_000)
    first, second = (counting.worker(instance_id=name) for name in NAMES)
    first.start()
    await counting.drain(revive=False)
    second.start()

    def standbys(worker: Worker) -> dict[str, dict[str, int | bool]]:
        return worker.state.get("tables", {}).get("a", {}).get("standbys", {})

    def ready() -> bool:
        return all(
            len(owned(worker)) == 2
            and len(kept := standbys(worker)) == 2
            and all(one["ready"] for one in kept.values())
            for worker in (first, second)
        )

    await first.until(ready)
    assert {int(partition) for partition in standbys(second)} == set(owned(first))
    assert [one["unread"] for one in standbys(second).values()] == [0, 0]
    second.kill()
    partitions = {int(partition) for partition in standbys(second)}
    wanted = {key: row for key, row in counting.wanted("a").items() if counting.ledger.partition[key] in partitions}
    assert wanted
    assert counting.kept(second, "a", partitions) == wanted
