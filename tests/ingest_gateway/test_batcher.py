"""Rounds, bounds and timeouts of the batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ingest_gateway.batcher import ROUND_BYTES, Batcher, Handle
from ingest_gateway.credentials import Sender
from ingest_gateway.errors import Busy, retry_after_s
from ingest_gateway.handler import Outcome, Request
from ingest_gateway.metrics import GatewayMetrics
from ingest_gateway.room import Room


class Rounds:
    """A handler that waits to be let go, and remembers its rounds."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, requests: Sequence[Request]) -> list[Outcome]:
        self.sizes.append(len(requests))
        await self.go.wait()
        return [Outcome(rejected=len(request.body)) for request in requests]


class Way:
    """A batcher and its room, used as the fronts use them."""

    def __init__(self, handle: Handle, *, bytes_max: int = 1000, timeout_s: float = 5.0) -> None:
        self.room = Room(bytes_max, 1.0, GatewayMetrics())
        self.batcher = Batcher(handle, self.room, ack_timeout_s=timeout_s, retry_after_s=1.0, rounds_max=1)

    async def submit(self, size: int) -> Outcome:
        self.room.take(size)
        return await self.batcher.submit(Request("logs", "application/json", b"x" * size, Sender("t")))


async def test_what_arrives_together_or_meanwhile_is_handled_in_one_round() -> None:
    rounds = Rounds()
    way = Way(rounds)
    first = [asyncio.create_task(way.submit(size)) for size in (1, 2, 3)]
    await asyncio.sleep(0.01)
    later = [asyncio.create_task(way.submit(size)) for size in (4, 5)]
    await asyncio.sleep(0.01)
    rounds.go.set()
    outcomes = await asyncio.gather(*first, *later)
    assert rounds.sizes == [3, 2]
    assert [outcome.rejected for outcome in outcomes] == [1, 2, 3, 4, 5]
    assert way.room.taken == 0


async def test_a_round_holds_so_many_bytes_or_one_request() -> None:
    rounds = Rounds()
    rounds.go.set()
    way = Way(rounds, bytes_max=10 * ROUND_BYTES)
    await asyncio.gather(*(way.submit(ROUND_BYTES * tenths // 10) for tenths in (4, 4, 4, 15, 1)))
    assert rounds.sizes == [2, 1, 1, 1]


async def test_beyond_the_bound_requests_are_refused_as_retryable_until_there_is_room() -> None:
    rounds = Rounds()
    way = Way(rounds, bytes_max=100)
    held = asyncio.create_task(way.submit(90))
    await asyncio.sleep(0.01)
    with pytest.raises(Busy) as refused:
        await way.submit(11)
    assert retry_after_s(refused.value) == 1.0
    rounds.go.set()
    await held
    assert (await way.submit(100)).error is None


async def test_after_the_timeout_the_answer_is_retryable_but_the_bytes_count_until_kafka_has_answered() -> None:
    rounds = Rounds()
    way = Way(rounds, timeout_s=0.02)
    assert isinstance((await way.submit(90)).error, Busy)
    assert way.room.taken == 90
    rounds.go.set()
    await asyncio.sleep(0.01)
    assert way.room.taken == 0


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_is_given_up_before_its_round_began_is_dropped(cancelled: bool) -> None:
    rounds = Rounds()
    way = Way(rounds, timeout_s=5 if cancelled else 0.05)
    held = asyncio.create_task(way.submit(7))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(way.submit(90))
    await asyncio.sleep(0.01)
    if cancelled:
        waiting.cancel()
    await asyncio.wait({waiting})
    assert way.room.taken == 7
    rounds.go.set()
    await held
    await way.submit(1)
    assert rounds.sizes == [1, 1]


async def test_what_the_handler_leaves_is_offered_again_unless_it_was_given_up() -> None:
    offered: list[list[int]] = []

    async def two_at_most(requests: Sequence[Request]) -> list[Outcome]:
        offered.append([len(request.body) for request in requests])
        await asyncio.sleep(0.03)
        return [Outcome(rejected=len(request.body)) for request in requests[:2]]

    way = Way(two_at_most)
    waiting = [asyncio.create_task(way.submit(size)) for size in (1, 2, 3, 4, 5)]
    await asyncio.sleep(0.01)
    waiting[3].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert offered == [[1, 2, 3, 4, 5], [3, 5]]
    assert [outcome.rejected for outcome in outcomes if isinstance(outcome, Outcome)] == [1, 2, 3, 5]
    assert way.room.taken == 0


async def test_a_round_that_fails_is_no_success_for_anybody() -> None:
    async def broken(requests: Sequence[Request]) -> list[Outcome]:
        raise KeyError("a bug")

    way = Way(broken)
    assert isinstance((await way.submit(1)).error, KeyError)
    assert way.room.taken == 0


async def test_closing_waits_for_what_is_in_flight_and_takes_nothing_more() -> None:
    rounds = Rounds()
    way = Way(rounds)
    held = asyncio.create_task(way.submit(1))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(way.batcher.close(5))
    await asyncio.sleep(0.01)
    assert isinstance((await way.submit(1)).error, Busy)
    rounds.go.set()
    await closing
    assert (await held).error is None
    assert way.room.taken == 0
