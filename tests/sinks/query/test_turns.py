"""Places at work are shared by who asks, not by who asks most."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sinks.query.errors import QueryError
from sinks.query.turns import Turns


class Crowd:
    """Askers, and what became of their queries, in order."""

    def __init__(self, places: int, waiting: int = 100) -> None:
        self.turns = Turns(places, waiting, self._changed)
        self.running: list[str] = []
        self.refused: list[str] = []
        self.busy = (0, 0)
        self._tasks: list[asyncio.Task[None]] = []

    def _changed(self, running: int, waiting: int) -> None:
        self.busy = (running, waiting)

    async def ask(self, names: str) -> list[asyncio.Task[None]]:
        """A letter is a query of somebody."""
        made = [asyncio.create_task(self._one(name)) for name in names]
        self._tasks += made
        await settle()
        return made

    async def end(self, name: str) -> None:
        """One of their running queries ends."""
        self.running.remove(name)
        self.turns.give(name)
        await settle()

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, name: str) -> None:
        try:
            await self.turns.take(name)
        except QueryError:
            self.refused.append(name)
        else:
            self.running.append(name)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_asker_leaves_a_place_to_the_others() -> None:
    crowd = Crowd(4)
    await crowd.ask("aaaaaaaa")
    assert crowd.running == ["a", "a", "a"]
    await crowd.ask("b")
    assert crowd.running == ["a", "a", "a", "b"]
    await crowd.leave()


async def test_a_single_place_is_for_everybody() -> None:
    crowd = Crowd(1)
    await crowd.ask("a")
    assert crowd.running == ["a"]


async def test_the_next_place_is_for_who_has_fewest_and_then_for_who_had_none_for_longest() -> None:
    crowd = Crowd(3)
    await crowd.ask("aaaaabbbc")
    assert crowd.running == ["a", "a", "b"]
    await crowd.end("a")
    assert crowd.running == ["a", "b", "c"]
    await crowd.end("c")
    assert crowd.running == ["a", "b", "a"]
    await crowd.end("b")
    assert crowd.running == ["a", "a", "b"]
    await crowd.leave()


async def test_in_a_full_queue_whoever_has_most_in_it_loses() -> None:
    crowd = Crowd(1, waiting=3)
    await crowd.ask("aaaa")
    assert (crowd.running, crowd.refused, crowd.busy) == (["a"], [], (1, 3))
    await crowd.ask("a")
    assert crowd.refused == ["a"]
    await crowd.ask("b")
    assert (crowd.refused, crowd.busy) == (["a", "a"], (1, 3))
    await crowd.ask("b")
    assert crowd.refused == ["a", "a", "b"], "both would have as much in it"
    await crowd.leave()


async def test_who_gives_up_leaves_nothing_behind() -> None:
    crowd = Crowd(1)
    _, waiting = await crowd.ask("ab")
    waiting.cancel()  # and before it notices, a place is free
    await crowd.end("a")
    assert crowd.busy == (0, 0)
    await crowd.ask("c")
    assert crowd.running == ["c"]


async def test_who_gives_up_with_a_place_gives_it_back() -> None:
    crowd = Crowd(1)
    _, waiting = await crowd.ask("ab")
    crowd.turns.give("a")
    waiting.cancel()
    await settle()
    assert crowd.busy == (0, 0)


@given(st.lists(st.sampled_from(["a", "b", "c", "end", "give up"]), max_size=60), st.integers(1, 4), st.integers(0, 5))
async def test_places_are_never_lost_or_given_twice(steps: list[str], places: int, waiting: int) -> None:
    crowd = Crowd(places, waiting)
    pending: list[asyncio.Task[None]] = []
    for step in steps:
        pending = [task for task in pending if not task.done()]
        if step == "end" and crowd.running:
            await crowd.end(crowd.running[0])
        elif step == "give up" and pending:
            pending[0].cancel()
            await settle()
        elif len(step) == 1:
            pending += await crowd.ask(step)
        running, queued = crowd.busy
        assert running == len(crowd.running) <= places
        assert queued == sum(not task.done() for task in pending) <= waiting
        assert max(Counter(crowd.running).values(), default=0) <= max(1, places - 1)
        idle = places - running
        assert not queued or idle <= 1, "a place is free though somebody waits"
    await crowd.leave()
