"""Gathers requests into rounds for the handler, and bounds what is in flight.

A round holds whatever arrived while the rounds before it were busy: one request when it is quiet, hundreds under load.
So latency is low when there is little to do, and the cost of a request falls when there is much.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ingest_gateway.errors import Busy
from ingest_gateway.handler import Outcome, Request
from ingest_gateway.metrics import GatewayMetrics

logger = logging.getLogger(__name__)

Handle = Callable[[Sequence[Request]], Awaitable[list[Outcome]]]
ROUND_BYTES = 8 << 20
"""Bodies of one round: decoding it must not hold up the loop for long."""


class Batcher:
    """Args:    in_flight_bytes_max, ack_timeout_s, retry_after_s, rounds_max: see GatewaySettings."""

    def __init__(
        self,
        handle: Handle,
        metrics: GatewayMetrics,
        *,
        in_flight_bytes_max: int,
        ack_timeout_s: float,
        retry_after_s: float,
        rounds_max: int,
    ) -> None:
        self._handle = handle
        self._metrics = metrics
        self._bytes_max = in_flight_bytes_max
        self._ack_timeout_s = ack_timeout_s
        self._retry_after_s = retry_after_s
        self._rounds_max = rounds_max
        self._waiting: list[tuple[Request, asyncio.Future[Outcome]]] = []
        self._rounds: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._bytes = 0
        self._closed = False

    def has_room(self, size: int) -> bool:
        """May a body of so many bytes be taken in? Asked before it is read."""
        return not self._closed and self._bytes + size <= self._bytes_max

    def busy(self) -> Busy:
        return Busy(
            "the gateway is full, stopping or waits for Kafka; send it again", retry_after_s=self._retry_after_s
        )

    async def submit(self, request: Request) -> Outcome:
        """The outcome of one request; after ack_timeout_s a retryable error, whatever Kafka may still do with it."""
        size = len(request.body)
        if not self.has_room(size):
            return Outcome(error=self.busy())
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._count(size)
        # The bytes stay in memory until Kafka has answered, so they count that long, not as long as the client waits.
        done.add_done_callback(lambda _: self._count(-size))
        self._waiting.append((request, done))
        if not self._scheduled and len(self._rounds) < self._rounds_max:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start_round)
        try:
            return await asyncio.wait_for(asyncio.shield(done), self._ack_timeout_s)
        except TimeoutError:
            return Outcome(error=Busy("Kafka is slow; send it again", retry_after_s=self._retry_after_s))

    async def close(self, timeout_s: float) -> None:
        """Take nothing more; wait for what is in flight."""
        self._closed = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._rounds or self._waiting:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                logger.warning("stopped with %d bytes in flight; their senders were not answered", self._bytes)
                return
            if self._rounds:
                await asyncio.wait(self._rounds, timeout=left)
            else:
                await asyncio.sleep(0)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._metrics.in_flight(self._bytes)

    def _start_round(self) -> None:
        self._scheduled = False
        if not self._waiting or len(self._rounds) >= self._rounds_max:
            return
        size = count = 0
        for request, _ in self._waiting:
            size += len(request.body)
            count += 1
            if size >= ROUND_BYTES:
                break
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        task = asyncio.create_task(self._round(taken))
        self._rounds.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        self._start_round()

    async def _round(self, taken: list[tuple[Request, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._handle([request for request, _ in taken])
        except Exception as error:
            # A bug must not leave the clients of a whole round waiting, and must not look like success.
            logger.exception("a round of %d requests failed", len(taken))
            outcomes = [Outcome(error=error)] * len(taken)
        for (_, done), outcome in zip(taken, outcomes, strict=True):
            if not done.done():
                done.set_result(outcome)
