"""`millrace demo`: a synthetic fleet that works now, sent to a gateway at a chosen rate."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import cast

from millrace.fleet import Fleet, Request
from millrace.sender import Outcome, Protocol, Sender

_REPORT_EVERY_S = 10.0
_IN_FLIGHT_MAX = 32

Say = Callable[[str], None]


@dataclass(frozen=True)
class Feed:
    """rate: requests a second, 0 as fast as they are taken.  requests: how many, 0 without end."""

    endpoint: str
    protocol: str
    key: str
    rate: float
    requests: int
    users: int
    seed: int


@dataclass
class Summary:
    """What was sent and what became of it. requests = acknowledged + refused."""

    requests: int = 0
    acknowledged: int = 0
    refused: int = 0
    sent_again: int = 0
    events: int = 0
    points: int = 0
    spans: int = 0
    rejected_records: int = 0
    last_refusal: str = ""

    def add(self, request: Request, outcome: Outcome) -> None:
        """Count one request."""
        self.requests += 1
        self.sent_again += outcome.attempts - 1
        if outcome.refused:
            self.refused += 1
            self.last_refusal = outcome.refused
            return
        self.acknowledged += 1
        self.rejected_records += outcome.rejected
        kind = {"logs": "events", "metrics": "points", "traces": "spans"}[request.signal]
        setattr(self, kind, getattr(self, kind) + request.records)


async def run(feed: Feed, *, say: Say) -> dict[str, int | str]:
    """Feed until the count is reached, or SIGINT or SIGTERM asks to end; then wait for what is in flight."""
    summary = Summary()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    room = asyncio.Semaphore(_IN_FLIGHT_MAX)
    async with Sender(feed.endpoint, feed.key, cast(Protocol, feed.protocol)) as sender:
        reporter = asyncio.create_task(_report(summary, say))
        async with asyncio.TaskGroup() as tasks:
            sent = 0
            began = loop.time()
            fleet = Fleet(feed.seed, users=feed.users)
            while not ended.is_set() and (sent < feed.requests or not feed.requests):
                for request in fleet.turn(time.time_ns()):
                    if ended.is_set() or (feed.requests and sent >= feed.requests):
                        break
                    await room.acquire()
                    tasks.create_task(_send(sender, request, summary, room, ended))
                    sent += 1
                    if feed.rate:
                        await _until(began + sent / feed.rate, ended)
        reporter.cancel()
    return asdict(summary)


async def _send(
    sender: Sender, request: Request, summary: Summary, room: asyncio.Semaphore, ended: asyncio.Event
) -> None:
    try:
        sending = asyncio.ensure_future(sender.send(request))
        waiting = asyncio.ensure_future(ended.wait())
        await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():  # asked to end: what is on its way may still arrive, what retries in vain may not
            await asyncio.wait({sending}, timeout=2.0)
        waiting.cancel()
        if sending.done():
            summary.add(request, sending.result())
        else:
            sending.cancel()
            summary.add(request, Outcome("ended before it was acknowledged", 0, 1))
    finally:
        room.release()


async def _until(when: float, ended: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), max(0.0, when - asyncio.get_running_loop().time()))


async def _report(summary: Summary, say: Say) -> None:
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        trouble = f", {summary.refused} refused ({summary.last_refusal})" if summary.refused else ""
        say(
            f"{summary.acknowledged} requests acknowledged: {summary.events} events, {summary.points} points, "
            f"{summary.spans} spans; {summary.sent_again} sent again{trouble}"
        )
