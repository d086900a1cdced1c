"""A process that writes into a store until it is killed: `python -m tests.sinks.query.writer FOLDER`.

It goes on where the store ends, and prints every offset that a write acknowledged.
"""

import asyncio
import sys
from pathlib import Path

from sinks.query.database import Database
from sinks.query.store import QueryStore
from tests.sinks.query import samples
from tests.sinks.query.conftest import RESOURCES

EVENTS, SESSIONS = 200, 40


async def write(folder: Path) -> None:
    """Write number n: events n * EVENTS and on, each with its text, and version n of every session. For ever.

    In another partition the events of the write before come again.
    """
    store = QueryStore(Database(folder, RESOURCES))
    await store.open(samples.IDENTITY)
    covered = await store.covered("events", 0)
    number = 0 if covered is None else covered.next_offset // EVENTS
    while True:
        first = number * EVENTS
        numbers = range(first, first + EVENTS)
        batches = [
            samples.batch("events", [samples.event(i) for i in numbers], first_offset=first),
            samples.batch(
                "events",
                [samples.event(i - EVENTS) for i in numbers] if first else [],
                first_offset=first,
                partition=1,
                last=first + EVENTS - 1,
            ),
            samples.batch("content", [samples.content(i) for i in numbers], first_offset=first),
            samples.batch(
                "sessions",
                [samples.session(i, number + 1) for i in range(SESSIONS)],
                first_offset=number * SESSIONS,
            ),
        ]
        await store.write(batches)
        number += 1
        print(number * EVENTS, flush=True)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
