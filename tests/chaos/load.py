"""What is sent while everything breaks: seeded events and points, and the truth about what was acknowledged.

The sender is a hostile world: re-sends of a few seconds ago, records out of order, clients' and gateways' clocks that
jump, identities that become known late, cumulative series beside deltas. The truth is kept as plain records;
tests/streams/model.py computes the rows from them the slow and obvious way.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import codec, topics
from streams.sessions.events import Event
from streams.sessions.points import Point
from tests.streams.records import a_point, a_series, an_event, with_clocks

RECORD = {Event: ("events", "claude_event"), Point: ("metrics", "metric_point")}
_TICK_S = 0.1
_RESENT_SHARE = 0.1
_LATE_SHARE = 0.02
_POINT_SHARE = 0.15
_CLOCK_SHARE = 0.01
_GATEWAY_SHARE = 0.02
_REMEMBERED = 2_000
_US = 1_000_000


class Load:
    """Sends until it is told to stop.

    Args:    prefix: of the topics.  partitions: of both sources.  rate: records a second.  sessions: that run at once;
             one in a hundred records ends one and begins another.
    """

    def __init__(self, bootstrap: str, prefix: str, partitions: int, *, seed: int, rate: int, sessions: int) -> None:
        self._bootstrap, self._prefix, self._partitions = bootstrap, prefix, partitions
        self._random = random.Random(seed)
        self._rate = rate
        self._running = [self._new_session(number) for number in range(sessions)]
        self._sessions = sessions
        self._recent: list[Event | Point] = []
        #: Acknowledged at least once: what must be counted.
        self.records: dict[str, Event | Point] = {}
        #: Sent without an answer and never again: may be counted or not. Empties as they are sent again.
        self.unsure: list[Event | Point] = []
        self.sent = 0
        self.resent = 0

    async def run(self, stop: asyncio.Event, *, most: int) -> None:
        """Until `stop`, or until so many records are acknowledged; then until nothing is unsure."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, compression_type="zstd"
        )
        await producer.start()
        try:
            loop = asyncio.get_running_loop()
            due, began = 0.0, loop.time()
            while not stop.is_set() and self.sent < most:
                due = (loop.time() - began) * self._rate - self.sent
                await self._send(producer, self._records(max(1, min(int(due), self._rate))))
                await asyncio.sleep(_TICK_S)
            while self.unsure:
                await self._send(producer, [])
                await asyncio.sleep(_TICK_S)
        finally:
            await producer.stop()

    async def _send(self, producer: AIOKafkaProducer, records: list[Event | Point]) -> None:
        # As a client does: what was not acknowledged is sent again, and may stand there twice.
        batch, self.unsure = [*self.unsure, *records], []
        waiting = []
        for record in batch:
            topic, name = RECORD[type(record)]
            key = topics.make_key(record.tenant, record.session_id or record.user_key or "")
            waiting.append((record, await self._one(producer, topic, name, key, record)))
        for record, future in waiting:
            try:
                if future is None:
                    raise KafkaError
                await future
            except KafkaError:
                self.unsure.append(record)
            else:
                self.sent += 1
                self.records.setdefault(_id(record), record)

    async def _one(self, producer: AIOKafkaProducer, topic: str, name: str, key: bytes, record: Event | Point) -> Any:
        try:
            return await producer.send(
                topics.full_name(self._prefix, topic),
                codec.encode(name, {k: v for k, v in record._asdict().items() if v is not None}),
                key=key,
                partition=topics.partition_for(key, self._partitions),
            )
        except KafkaError:  # no answer for so long that not even the batch could be placed
            return None

    def _records(self, count: int) -> list[Event | Point]:
        rnd, now = self._random, time.time_ns() // 1000
        out: list[Event | Point] = []
        for _ in range(count):
            if self._recent and rnd.random() < _RESENT_SHARE:
                again = rnd.choice(self._recent)
                # Which copy is stored first is not known when an answer is lost, and its hour of receipt may count.
                out.append(again if again.clock_suspect else again._replace(received_time=now))
                self.resent += 1
                continue
            at = rnd.randrange(self._sessions)
            session = self._running[at]
            session["clock"] += rnd.choice([0, 1000, _US, 20 * _US, 400 * _US])
            moment = session["clock"]
            if rnd.random() < _LATE_SHARE:  # written long ago, sent now
                moment -= rnd.randrange(48 * 3600) * _US
            fresh: Iterable[Event | Point]
            if rnd.random() >= _POINT_SHARE:
                session["sequence"] += rnd.choice([1, 1, 1, 1, 3])
                fresh = [an_event(rnd, session["id"], session["sequence"], moment)]
            elif rnd.random() < 0.2:
                fresh = a_series(rnd, session["id"], moment)
            else:
                fresh = [a_point(rnd, session["id"], moment)]
            received = now + (rnd.randrange(-200, 200) * _US if rnd.random() < _GATEWAY_SHARE else 0)
            out += [record._replace(received_time=received) for record in with_clocks(rnd, list(fresh), _CLOCK_SHARE)]
            if rnd.random() < 0.01:
                self._running[at] = self._new_session(rnd.getrandbits(48))
        if rnd.random() < 0.3:
            rnd.shuffle(out)
        self._recent = (self._recent + out)[-_REMEMBERED:]
        return out

    def _new_session(self, number: int) -> dict[str, Any]:
        # A client's clock can be off by hours, either way.
        clock = time.time_ns() // 1000 + self._random.randrange(-6 * 3600, 300) * _US
        return {"id": f"s{number}", "clock": clock, "sequence": 0}


def _id(record: Event | Point) -> str:
    return record.event_id if isinstance(record, Event) else record.point_id
