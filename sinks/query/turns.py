"""Whose query runs next: everybody has a fair turn, however many queries one of them sends."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable

from sinks.query.errors import QueryError


class Turns:
    """Places for queries at work, and a bounded queue of each asker before them. Use it from one event loop.

    The next place is for the asker who has the fewest, in the order in which they had their last turn. Nobody has all
    of the places, as a query may hold its place for long. When the queue is full, whoever has most in it loses.
    """

    def __init__(self, places: int, waiting_max: int, changed: Callable[[int, int], None] = lambda *_: None) -> None:
        """changed: told of how many run and wait."""
        self._places = places
        self._places_of_one = max(1, places - 1)
        self._waiting_max = waiting_max
        self._changed = changed
        self._running: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def take(self, who: Hashable) -> None:
        """Wait for a place; `give` it back. Raises: QueryError(busy): there are too many before it."""
        if not self._has_place_for(who):
            await self._wait(who)
            return
        self._running[who] += 1
        self._tell()

    def give(self, who: Hashable) -> None:
        """Give a place back."""
        self._running -= Counter([who])
        while ready := [one for one in self._waiting if self._has_place_for(one)]:
            following = min(ready, key=lambda one: self._running[one])
            turns = self._waiting.pop(following)
            turn = turns.popleft()
            if turns:
                self._waiting[following] = turns  # behind the others
            if not turn.done():  # who gave up waiting has not said so yet
                turn.set_result(None)
                self._running[following] += 1
        self._tell()

    async def _wait(self, who: Hashable) -> None:
        if sum(map(len, self._waiting.values())) >= self._waiting_max:
            self._make_room(who)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        self._tell()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(who, turn)
            elif turn.exception() is None:
                self.give(who)
            raise

    def _make_room(self, who: Hashable) -> None:
        """Raises: QueryError(busy): the asker has most in the queue, or there is none."""
        busy = QueryError("too many queries at once; try again in a moment", reason="busy")
        most = max(self._waiting, key=lambda one: len(self._waiting[one]), default=who)
        if len(self._waiting.get(most, ())) <= len(self._waiting.get(who, ())) + 1:
            raise busy
        last = self._waiting[most][-1]
        self._remove(most, last)
        if not last.done():
            last.set_exception(busy)

    def _remove(self, who: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(who, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(who, None)
        self._tell()

    def _has_place_for(self, who: Hashable) -> bool:
        return self._running.total() < self._places and self._running[who] < self._places_of_one

    def _tell(self) -> None:
        self._changed(self._running.total(), sum(map(len, self._waiting.values())))
