"""Gathers requests into rounds for the handler.

A round holds whatever arrived while the rounds before it were busy: one request when it is quiet, hundreds under load.
So latency is low when there is little to do, and the cost of a request falls when there is much.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence

from ingest_gateway.errors import Busy
from ingest_gateway.handler import Outcome, Request
from ingest_gateway.room import Room

logger = logging.getLogger(__name__)

# Gives the outcomes of the first requests, at least one; the others are offered again.
Handle = Callable[[Sequence[Request]], Awaitable[list[Outcome]]]
ROUND_BYTES = 2 << 20
"""Bodies of one round (a larger one has its own): enough to fill a batch for each partition."""


class Batcher:
    """Args:    room: gets each body's bytes back.  ack_timeout_s, retry_after_s, rounds_max: see GatewaySettings."""

    def __init__(
        self, handle: Handle, room: Room, *, ack_timeout_s: float, retry_after_s: float, rounds_max: int
    ) -> None:
        self._handle = handle
        self._room = room
        self._ack_timeout_s = ack_timeout_s
        self._retry_after_s = retry_after_s
        self._rounds_max = rounds_max
        self._waiting: dict[asyncio.Future[Outcome], Request] = {}
        self._rounds: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._closed = False

    async def submit(self, request: Request) -> Outcome:
        """The outcome of one request; after ack_timeout_s a retryable error, whatever Kafka may still do with it.

        The caller has taken the body's bytes from the room. They are given back here: when Kafka has answered, which
        may be long after the client got its answer, or when a request is given up before its round began.
        """
        size = len(request.body)
        if self._closed:
            self._room.give(size)
            return Outcome(error=self._busy("the gateway is stopping; send it again"))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        self._waiting[answer] = request
        if not self._scheduled and len(self._rounds) < self._rounds_max:
            self._scheduled = True
            loop.call_soon(self._start_round)
        timer = loop.call_later(self._ack_timeout_s, self._give_up, answer)
        try:
            return await answer
        finally:
            timer.cancel()
            if self._waiting.pop(answer, None) is not None:
                self._room.give(size)

    async def close(self, timeout_s: float) -> None:
        """Take nothing more; wait for what is in flight."""
        self._closed = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._rounds or self._waiting:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                logger.warning("stopped with %d bytes in flight; their senders were not answered", self._room.taken)
                return
            if self._rounds:
                await asyncio.wait(self._rounds, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0)

    def _busy(self, why: str) -> Busy:
        return Busy(why, retry_after_s=self._retry_after_s)

    def _give_up(self, answer: asyncio.Future[Outcome]) -> None:
        if not answer.done():
            answer.set_result(Outcome(error=self._busy("Kafka is slow; send it again")))

    def _start_round(self) -> None:
        self._scheduled = False
        if not self._waiting or len(self._rounds) >= self._rounds_max:
            return
        taken: dict[asyncio.Future[Outcome], Request] = {}
        size = 0
        for answer, request in self._waiting.items():
            if taken and size + len(request.body) > ROUND_BYTES:
                break
            taken[answer] = request
            size += len(request.body)
        if len(taken) == len(self._waiting):
            self._waiting = {}
        else:
            for answer in taken:
                del self._waiting[answer]
        task = asyncio.create_task(self._round(taken))
        self._rounds.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        self._start_round()

    async def _round(self, taken: dict[asyncio.Future[Outcome], Request]) -> None:
        try:
            outcomes = await self._handle(list(taken.values()))
        except Exception as error:
            # A bug must not leave the clients of a whole round waiting, and must not look like success.
            logger.exception("a round of %d requests failed", len(taken))
            outcomes = [Outcome(error=error.with_traceback(None))] * len(taken)
        left: dict[asyncio.Future[Outcome], Request] = {}
        for (answer, request), outcome in itertools.zip_longest(taken.items(), outcomes):
            if outcome is None and not answer.done():
                left[answer] = request
                continue
            self._room.give(len(request.body))
            if not answer.done():
                answer.set_result(outcome)
        if left:
            self._waiting = left | self._waiting
