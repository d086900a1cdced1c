"""What one client can make the streams process hold: a session of a million prompts, and a million users.

    python -m tests.bench.hostile [--records 1000000]

A Kafka and a streams process of their own. First all prompts are of one session, of the last twenty hours; then each is
of another user. Told are the CPU time, the most memory (of the process since its start), the largest row of the
changelogs and the largest message that is published. The last line is EXACT, or WRONG with what was counted instead
(exit code 1).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from millrace.kafka import Broker
from schemas import codec, topics
from schemas.topics import CATALOGUE
from service.cluster import ensure_topics
from tests.bench.process import Process, cpu_s, idle, peak_mib, running
from tests.bench.streams.loads import publish
from tests.chaos.verify import TABLES
from tests.kafka import jars
from tests.ports import free_port

_BACK_US = 20 * 3600 * 1_000_000
# Short name of a topic that is published -> the record whose prompts are counted.
_PUBLISHED = {"sessions": "session", "session-hours": None, "user-windows": "user_window"}


def prompts(count: int, kind: str) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of so many prompts.  kind: "session": of one session; "users": of as many users, each in its own."""
    now = time.time_ns() // 1000
    for number in range(count):
        who = number if kind == "users" else 0
        session, user = f"{kind}-{who}", f"{who:032x}"
        record = {
            "tenant": kind,
            "event_id": str(uuid.uuid4()),
            "event_name": "user_prompt",
            "event_time": now - _BACK_US + _BACK_US * number // count,
            "received_time": now,
            "session_id": session,
            "event_sequence": number,
            "user_key": user,
            "user_account_uuid": user,
            "prompt_id": str(uuid.uuid4()),
        }
        yield topics.make_key(kind, session), codec.encode("claude_event", record)


async def look(bootstrap: str, prefix: str, kind: str) -> tuple[int, int, int, int]:
    """(largest row of a changelog, largest message, prompts of sessions, prompts of days), of one kind."""
    largest = [0, 0]
    counted: dict[str, dict[bytes, int]] = {"session": {}, "user_window": {}}
    of = {topics.full_name(prefix, name): record for name, record in _PUBLISHED.items()}
    changelogs = [f"{prefix}-streams-{name}-changelog" for name in TABLES]
    consumer = AIOKafkaConsumer(*of, *changelogs, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, found in (await consumer.getmany(timeout_ms=500)).items():
                is_row = tp.topic in changelogs
                largest[not is_row] = max([largest[not is_row], *(len(m.key) + len(m.value or b"") for m in found)])
                if record := of.get(tp.topic):
                    for message in found:
                        if message.value and message.key.startswith(kind.encode()):
                            row = codec.decode(record, message.value)
                            if row.get("grain") != "hour":
                                counted[record][message.key] = row["prompts"]
    return largest[0], largest[1], *(sum(rows.values()) for rows in counted.values())


async def measure(streams: Process, bootstrap: str, prefix: str, count: int) -> bool:
    """Print the table; returns whether all was counted."""
    exact = True
    print("| what | CPU s | memory at most | largest row | largest message |\n|---|---|---|---|---|")
    for kind in ("session", "users"):
        before = cpu_s(streams.process.pid)
        partitions = CATALOGUE["events"].local.partitions
        await publish(bootstrap, topics.full_name(prefix, "events"), prompts(count, kind), partitions)
        after = await asyncio.to_thread(streams.wait, idle, 3600)
        memory = peak_mib(streams.process.pid)
        row, message, of_sessions, of_days = await look(bootstrap, prefix, kind)
        what = f"a session of {count:,} prompts" if kind == "session" else f"{count:,} users"
        print(f"| {what} | {after - before:.0f} | {memory} MiB | {row:,} bytes | {message:,} bytes |", flush=True)
        if (of_sessions, of_days) != (count, count):
            exact = False
            print(f"WRONG: {of_sessions:,} prompts in sessions, {of_days:,} in days of users, {count:,} were sent")
    return exact


async def run(bootstrap: str, folder: Path, count: int) -> bool:
    prefix = f"h{uuid.uuid4().hex[:8]}"
    await ensure_topics({"bootstrap_servers": bootstrap}, CATALOGUE.values(), prefix, "local")
    with running("streams", bootstrap, prefix, folder, "MILLRACE_STREAMS_HEALTH_PORT") as streams:
        await asyncio.to_thread(streams.wait, idle)
        return await measure(streams, bootstrap, prefix, count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile")
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory(prefix="millrace-hostile-") as name:
        folder = Path(name)
        with Broker(jars(), folder / "kafka", log=folder / "kafka.log", port=free_port()) as kafka:
            exact = asyncio.run(run(kafka.bootstrap, folder / "data", count))
    if exact:
        print("EXACT")
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
