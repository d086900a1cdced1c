"""Rounds, bounds and timeouts of the batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ingest_gateway.batcher import Batcher
from ingest_gateway.errors import Busy, Refused
from ingest_gateway.handler import Outcome, Request
from ingest_gateway.metrics import GatewayMetrics


class Rounds:
    """A handler that waits to be let go, and remembers its rounds."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, requests: Sequence[Request]) -> list[Outcome]:
        self.sizes.append(len(requests))
        await self.go.wait()
        return [Outcome(rejected=len(request.body)) for request in requests]


def a_batcher(handle: Rounds, *, bytes_max: int = 1000, timeout_s: float = 5.0) -> Batcher:
    return Batcher(
        handle,
        GatewayMetrics(),
        in_flight_bytes_max=bytes_max,
        ack_timeout_s=timeout_s,
        retry_after_s=1.0,
        rounds_max=1,
    )


def a_request(size: int) -> Request:
    return Request("logs", "application/json", b"x" * size, "t")


async def test_what_arrives_together_or_meanwhile_is_handled_in_one_round() -> None:
    rounds = Rounds()
    batcher = a_batcher(rounds)
    first = [asyncio.create_task(batcher.submit(a_request(size))) for size in (1, 2, 3)]
    await asyncio.sleep(0.01)
    later = [asyncio.create_task(batcher.submit(a_request(size))) for size in (4, 5)]
    await asyncio.sleep(0.01)
    rounds.go.set()
    outcomes = await asyncio.gather(*first, *later)
    assert rounds.sizes == [3, 2]
    assert [outcome.rejected for outcome in outcomes] == [1, 2, 3, 4, 5]


async def test_beyond_the_bound_requests_are_refused_as_retryable_until_there_is_room() -> None:
    rounds = Rounds()
    batcher = a_batcher(rounds, bytes_max=100)
    held = asyncio.create_task(batcher.submit(a_request(90)))
    await asyncio.sleep(0.01)
    refused = await batcher.submit(a_request(11))
    assert isinstance(refused.error, Busy)
    rounds.go.set()
    await held
    assert (await batcher.submit(a_request(100))).error is None


async def test_after_the_timeout_the_answer_is_retryable_but_the_bytes_count_until_kafka_has_answered() -> None:
    rounds = Rounds()
    batcher = a_batcher(rounds, bytes_max=100, timeout_s=0.02)
    assert isinstance((await batcher.submit(a_request(90))).error, Busy)
    assert not batcher.has_room(20)
    rounds.go.set()
    await asyncio.sleep(0.01)
    assert batcher.has_room(100)


async def test_a_round_that_fails_is_no_success_for_anybody() -> None:
    async def broken(requests: Sequence[Request]) -> list[Outcome]:
        raise KeyError("a bug")

    batcher = Batcher(broken, GatewayMetrics(), in_flight_bytes_max=99, ack_timeout_s=1, retry_after_s=1, rounds_max=1)
    assert isinstance((await batcher.submit(a_request(1))).error, KeyError)


async def test_closing_waits_for_what_is_in_flight_and_takes_nothing_more() -> None:
    rounds = Rounds()
    batcher = a_batcher(rounds)
    held = asyncio.create_task(batcher.submit(a_request(1)))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(batcher.close(5))
    await asyncio.sleep(0.01)
    assert isinstance((await batcher.submit(a_request(1))).error, Busy)
    rounds.go.set()
    await closing
    assert (await held).error is None


def test_every_reason_of_a_refusal_has_a_meaning() -> None:
    from ingest_gateway.errors import REASONS, meaning

    for reason, expected in REASONS.items():
        assert meaning(Refused("x", reason=reason)) is expected
    assert meaning(Refused("x", reason="malformed_json")).http == 400
    assert meaning(Busy("x")).http == 503
    assert meaning(KeyError()).http == 500
