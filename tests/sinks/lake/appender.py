"""`python -m tests.sinks.lake.appender FOLDER`: appends to the lake until it is killed, for the crash test.

What stands at an offset is a function of the offset, as in a real log: every seventh record is a re-send.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.sinks.lake.stores import lake_sink
from tests.sinks.records import IDENTITY, batch, event

PARTITIONS = 2
RECORDS = 200


def number(offset: int) -> int:
    """The event at an offset."""
    return offset - 3 if offset % 7 == 6 else offset


def at(offset: int, partition: int) -> dict[str, Any]:
    """The record at an offset of a partition."""
    return event(number(offset), event_id=f"event-{partition}-{number(offset)}")


async def main(folder: Path) -> None:
    sink = lake_sink(folder)
    await sink.open(IDENTITY)
    print("open", flush=True)
    position = [0] * PARTITIONS
    for partition in range(PARTITIONS):
        covered = await sink.covered("events", partition)
        position[partition] = 0 if covered is None else covered.next_offset
    while True:
        await sink.write(
            [
                batch("events", [at(first + i, partition) for i in range(RECORDS)], first, partition)
                for partition, first in enumerate(position)
            ]
        )
        position = [first + RECORDS for first in position]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
