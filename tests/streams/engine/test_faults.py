"""Workers that are killed, paused and moved about; the rows must equal the ledger in every reading."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.streams.engine.conftest import MakePipeline
from tests.streams.engine.harness import Pipeline, Worker

pytestmark = [pytest.mark.broker, pytest.mark.slow]


async def stop_all(pipeline: Pipeline) -> None:
    for worker in pipeline.workers:  # together, or partitions would move in between
        if worker.alive:
            worker.process.terminate()
    for worker in pipeline.workers:
        await worker.ended()


async def kill_again_and_again(pipeline: Pipeline, kills: int, *, wipe: float, seed: int) -> None:
    """kill -9 one worker under load; with other chunk borders after each."""
    randomly = random.Random(seed)
    worker = pipeline.worker(instance_id="one")
    worker.start()
    enough = asyncio.Event()
    load = asyncio.ensure_future(pipeline.produce_until(enough, rate=1_500, seed=seed))
    for _ in range(kills):
        await worker.working()
        await asyncio.sleep(randomly.uniform(0, 1.2))
        worker.kill()
        if randomly.random() < wipe:
            worker.wipe()
        worker.start(chunk_records=randomly.choice([7, 50, 400, 2000]))
    enough.set()
    await load
    await pipeline.drain()
    await worker.ready()
    await worker.stop()


async def test_kill_9_loses_and_doubles_nothing(pipeline: MakePipeline) -> None:
    """kill   kill wiped   kill ...
    records ──▶ rows ──▶ rows ──▶ rows == ledger"""
    counting = pipeline("count")
    await counting.create_topics()
    await kill_again_and_again(counting, 7, wipe=0.5, seed=3)
    await counting.check()


async def test_without_the_version_check_the_ledger_is_missed(pipeline: MakePipeline) -> None:
    """Control: the same faults on a stage that adds whatever it is given. If this is exact, the test above is blind."""
    counting = pipeline("count", check_versions=False)
    await counting.create_topics()
    await kill_again_and_again(counting, 3, wipe=0.0, seed=3)
    with pytest.raises(AssertionError, match="changelog by version"):
        await counting.check()


async def test_a_changelog_cut_anywhere_loses_nothing(pipeline: MakePipeline) -> None:
    """A chunk's rows reach the changelog in part; the folder is kept or lost, and chunks are cut elsewhere each time.

    log      0 ........ 90 | 91 ... 100        the rows of 91-100 in part
    again                  | 91 .. 95 | 96 ..   in part again, from kept rows
    again                  | 91 . 93 | ..       from the changelog alone
    """
    counting = pipeline("count")
    await counting.create_topics()
    await counting.produce(4_000, keys=40)
    worker = counting.worker(instance_id="one")
    for number, (size, wipe) in enumerate([(200, False), (130, False), (90, True), (310, False), (60, True)]):
        worker.start(chunk_records=size, cut_after=2 + number % 3)
        assert await worker.ended() == 9
        if wipe:
            worker.wipe()
    del worker.options["cut_after"]
    worker.start()
    await counting.drain()
    await worker.stop()
    await counting.check()


async def test_joined_rows_are_exact_after_kill_9(pipeline: MakePipeline) -> None:
    """Two sources, two tables, one row: its halves and its version (both offsets) are those of the last records.

    Chunks are folded in parts.
    """
    joining = pipeline("join", part=300)
    await joining.create_topics()
    await kill_again_and_again(joining, 7, wipe=0.5, seed=5)
    await joining.check()


async def test_two_workers_stay_exact_while_partitions_move(pipeline: MakePipeline) -> None:
    """With a lease and standbys, and with neither, chunks in parts. At once: most of it waits for session timeouts."""
    cases = ({"fencing": True, "standbys": 1}, {"fencing": False, "standbys": 0, "part": 30})
    await asyncio.gather(*(partitions_move(pipeline("join", slow=0.02, chunk_records=200, **case)) for case in cases))


async def partitions_move(joining: Pipeline) -> None:
    await joining.create_topics()
    randomly = random.Random(11)
    workers = [joining.worker(), joining.worker()]
    for worker in workers:
        worker.start()
    enough = asyncio.Event()
    load = asyncio.ensure_future(joining.produce_until(enough, rate=600, seed=7))
    await asyncio.gather(*(worker.working() for worker in workers))
    for action in ["zombie", "kill", "term", "zombie", "kill wiped"]:
        worker = randomly.choice(workers)
        joining.revive()
        await asyncio.sleep(randomly.uniform(1, 2.5))
        if action == "zombie":  # paused longer than the session timeout of 6 s
            worker.pause()
            await asyncio.sleep(7.5)
            worker.resume()
        elif action == "term":
            assert await worker.stop() == 0
            worker.start()
        else:
            worker.kill()
            if action == "kill wiped":
                worker.wipe()
            worker.start()
    enough.set()
    await load
    await joining.drain()
    await joining.repaired()
    await stop_all(joining)
    await joining.check()


async def test_rebalances_in_quick_succession_recover_every_row(pipeline: MakePipeline) -> None:
    """Workers die and come while others still recover: a recovery that ends too early would lack the last rows."""
    joining = pipeline("join", slow=0.01, chunk_records=200)
    await joining.create_topics()
    randomly = random.Random(13)
    workers = [joining.worker() for _ in range(3)]
    for worker in workers:
        worker.start()
    enough = asyncio.Event()
    load = asyncio.ensure_future(joining.produce_until(enough, rate=600, seed=9))
    await asyncio.gather(*(worker.ready() for worker in workers))
    for _ in range(5):
        await asyncio.sleep(randomly.uniform(0, 3))
        for worker in randomly.sample(workers, 2):
            worker.kill()
            if randomly.random() < 0.5:
                worker.wipe()
            await asyncio.sleep(randomly.uniform(0, 1))
            worker.start()
    enough.set()
    await load
    await joining.drain()
    await joining.repaired()
    await stop_all(joining)
    assert not any("higher epoch" in worker.log() for worker in workers)
    await joining.check()


async def a_zombie_wakes(pipeline: Pipeline) -> tuple[Worker, Worker]:
    """A worker is paused in the middle of a chunk; the other one does its work; then it wakes and writes its rows.

    zombie  fold 0-99 ... paused ................... writes rows of 0-99
    other                        takes over, 0-3999 ^               repairs
    """
    await pipeline.create_topics()
    zombie, other = pipeline.worker(slow=4.0, chunk_records=100), pipeline.worker()
    await pipeline.produce(4_000, keys=40)
    zombie.start()
    await zombie.ready()
    await asyncio.sleep(1.0)
    zombie.pause()
    other.start()
    await pipeline.drain(revive=False)
    zombie.resume()
    await asyncio.sleep(7)  # its fold ends, the other one's audit (every 3 s) comes round
    return zombie, other


async def test_what_is_fetched_while_the_sources_positions_are_set_is_read_and_leaves_no_hole_in_a_standby(
    pipeline: MakePipeline,
) -> None:
    """After a rebalance partitions flow again before it is known from where on they are to be read.

    Hardly a key comes twice: nothing covers a hole.
    """
    counting = pipeline("count", standbys=1, slow_seeks=1.0)
    await counting.create_topics()
    first, second = counting.worker(), counting.worker()
    first.start()
    await counting.produce(2_000, keys=1 << 40)
    await counting.drain(revive=False)
    second.start()  # its standbys begin with what the first has written
    await second.until(lambda: len(second.state.get("tables", {}).get("a", {}).get("standbys", {})) == 2)
    await counting.produce(2_000, keys=1 << 40, seed=2)
    await counting.drain(revive=False)
    await second.until(lambda: all(one["ready"] for one in second.state["tables"]["a"]["standbys"].values()))
    first.kill()
    first.wipe()
    counting.workers.remove(first)
    await counting.produce(2_000, keys=1 << 40, seed=3)
    await counting.drain(revive=False)
    await stop_all(counting)
    await counting.check()


async def test_rows_of_a_zombie_do_no_harm(pipeline: MakePipeline) -> None:
    """Three zombies at once, for they take their time: one before each protection, and one before none."""
    await asyncio.gather(
        fenced_by_its_lease(pipeline("count")),
        repaired_by_their_versions(pipeline("count", fencing=False)),
        without_versions_they_spoil_the_rows(pipeline("count", fencing=False, versions=False)),
    )


async def fenced_by_its_lease(counting: Pipeline) -> None:
    zombie, other = await a_zombie_wakes(counting)
    assert await zombie.ended() == 70
    assert "fenced" in zombie.tail()
    await other.stop()
    counting.workers.remove(zombie)
    assert (await counting.changelog("a")).stale == 0
    await counting.check()


async def repaired_by_their_versions(counting: Pipeline) -> None:
    """The lease off: the versions tell which copies are old, and the owner writes its rows again behind them."""
    zombie, other = await a_zombie_wakes(counting)
    await other.until(lambda: sum(one.total("repaired_rows", "tables") for one in (zombie, other)) > 0)
    await counting.repaired()
    await stop_all(counting)
    assert (await counting.changelog("a")).stale > 0
    await counting.check()


async def without_versions_they_spoil_the_rows(counting: Pipeline) -> None:
    """Control: last copy wins, nobody looks for foreign rows. If this is exact, the one above is blind."""
    await a_zombie_wakes(counting)
    await stop_all(counting)
    assert (await counting.changelog("a")).last != counting.wanted("a")
