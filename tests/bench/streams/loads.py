"""The topics that candidates read: whole ClaudeEvents of so many sessions, in bursts.

    python -m tests.bench.streams.loads BOOTSTRAP PREFIX EVENTS SESSIONS BURST SEED PARTITIONS

A burst of b is 1 to 2b-1 events of one session in a row. With bursts of 1 every session comes once before any comes
again. Each message ends with a name of four characters (the value of a resource attribute), so that a candidate can
find what it has decoded before: a decoder that costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from millrace.fleet import NS_PER_S, Fleet
from schemas import codec, otlp, topics

START_US = 1_795_178_530_595_000
"""The time of the first event; each is a millisecond later than the one before."""
TEMPLATES = 200
TOPICS = ("events", "metrics", "sessions", "session-hours", "rejected")
SUMS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "cost_usd_micros")
NAME = slice(-5, -1)
"""Where the name stands in a message: before the end of the last map."""

_ID, _SESSION = "00000000-0000-4000-8000-0000000000aa", "00000000-0000-4000-8000-0000000000bb"
_TIME, _RECEIVED, _SEQUENCE = START_US + 0x5A5A5A, START_US + 0x3C3C3C, 0x5A5A5A5A5A
_NAME = "~~~~"


class Load(NamedTuple):
    """So many events of so many sessions, in bursts.  seed: another one gives other events of the same sessions."""

    events: int
    sessions: int
    burst: int
    seed: int = 1

    def __str__(self) -> str:
        return f"{self.sessions:,} sessions, bursts of {self.burst}"


class Template(NamedTuple):
    """An encoded event, cut where id, time, received time, session, sequence and name stand."""

    kind: int
    sums: tuple[int, ...]
    parts: tuple[bytes, ...]


def _varint(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fleet_events() -> list[dict[str, Any]]:
    """Events of one user, in the mix of the synthetic fleet."""
    fleet, now, found = Fleet(1, users=1, events_per_request=100), START_US * 1000, list[dict[str, Any]]()
    context = otlp.Context("bench", START_US, b"k" * 32)
    while len(found) < TEMPLATES:
        now += NS_PER_S
        for request in fleet.turn(now):
            if request.signal == "logs":
                body = json.dumps(request.body).encode()
                entries = otlp.transcode("logs", otlp.JSON, body, context).entries
                messages = [message for entry in entries for message in entry.messages if message.topic == "events"]
                found += [codec.decode("claude_event", message.value) for message in messages]
    return found[:TEMPLATES]


_EVENTS = _fleet_events()
KINDS = sorted({event["event_name"] for event in _EVENTS})


def _template(event: dict[str, Any]) -> Template:
    marked = {"event_id": _ID, "event_time": _TIME, "received_time": _RECEIVED, "session_id": _SESSION}
    marked |= {"event_sequence": _SEQUENCE, "resource_attributes_json": {"n": _NAME}}
    encoded = codec.encode("claude_event", event | marked)
    marks = (_ID.encode(), _varint(_TIME), _varint(_RECEIVED), _SESSION.encode(), _varint(_SEQUENCE), _NAME.encode())
    parts = []
    for mark in marks:
        before, _, encoded = encoded.partition(mark)
        parts.append(before)
    return Template(KINDS.index(event["event_name"]), tuple(event[name] or 0 for name in SUMS), (*parts, encoded))


_TEMPLATES = [_template(event) for event in _EVENTS]


def session_id(number: int) -> str:
    return f"5e551011-0000-4000-8000-{number:012d}"


def _order(load: Load) -> Iterator[tuple[int, int]]:
    """(session, its sequence) of every event."""
    randomly, number, sequences = random.Random(load.seed), 0, [0] * load.sessions
    while number < load.events:
        once = load.burst == 1 and number < load.sessions
        session = number if once else randomly.randrange(load.sessions)
        for _ in range(min(randomly.randrange(1, 2 * load.burst), load.events - number) if load.burst > 1 else 1):
            yield session, sequences[session]
            sequences[session] += 1
            number += 1


class Event(NamedTuple):
    """One event of a load.  name: as at the end of its message.  time: µs."""

    name: bytes
    session: int
    sequence: int
    time: int
    template: Template


def events(load: Load) -> Iterator[Event]:
    """Every event of the load, in order."""
    randomly = random.Random(-load.seed)
    for number, (session, sequence) in enumerate(_order(load)):
        name = bytes((number >> 21 & 127, number >> 14 & 127, number >> 7 & 127, number & 127))
        time = START_US + (load.seed * 100_000_000 + number) * 1000
        yield Event(name, session, sequence, time, _TEMPLATES[randomly.randrange(TEMPLATES)])


def messages(load: Load) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of every event of the load."""
    randomly = random.Random(load.seed)
    for name, session, sequence, time, (_, _, (p0, p1, p2, p3, p4, p5, p6)) in events(load):
        who = session_id(session)
        # The first half of an id is all that is looked at; it differs between any two events.
        id_ = b"%08x-%02x%02x-%02x%02x-8000-000000000000" % (randomly.getrandbits(32), *name)
        received = _varint(time + 1_000_000)
        value = (p0, id_, p1, _varint(time), p2, received, p3, who.encode(), p4, _varint(sequence), p5, name, p6)
        yield topics.make_key("bench", who), b"".join(value)


async def publish(
    bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]], partitions: int, *, compression: str = "zstd"
) -> None:
    """Put records on a topic, packed as the gateway packs them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=compression, max_batch_size=256 * 1024)
    await producer.start()
    batches: list[Any] = [producer.create_batch() for _ in range(partitions)]
    for key, value in records:
        partition = topics.partition_for(key, partitions)
        if batches[partition].append(key=key, value=value, timestamp=None) is None:
            await producer.send_batch(batches[partition], topic, partition=partition)
            batches[partition] = producer.create_batch()
            batches[partition].append(key=key, value=value, timestamp=None)
    for partition, batch in enumerate(batches):
        if batch.record_count():
            await producer.send_batch(batch, topic, partition=partition)
    await producer.flush()
    await producer.stop()


async def make_topics(bootstrap: str, prefix: str, partitions: int) -> None:
    """The topics of the session stage, empty."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topics.full_name(prefix, name), partitions, 1) for name in TOPICS])
    finally:
        await admin.close()


async def main() -> None:
    bootstrap, prefix, events_, sessions, burst, seed, partitions = sys.argv[1:]
    load = Load(int(events_), int(sessions), int(burst), int(seed))
    await publish(bootstrap, topics.full_name(prefix, "events"), messages(load), int(partitions))


if __name__ == "__main__":
    asyncio.run(main())
