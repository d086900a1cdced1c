"""Candidate: the engine alone. Nine sums per key over records of ten numbers, nothing is emitted.

    --publish 1 puts the records (80 bytes, lz4) on the topic, and does nothing else

400,000 records of 5,000 keys in turn on 4 partitions, as the proof of the engine was measured.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import random
import struct
import sys
from collections.abc import Iterator

from schemas import topics
from streams.engine import Chunk, Engine
from tests.bench.streams import loads, meter

RECORD = struct.Struct(">10q")
ROW = struct.Struct(">9q")


def records(count: int, keys: int) -> Iterator[tuple[bytes, bytes]]:
    randomly = random.Random(7)
    for number in range(count):
        key = b"3f1c2a9e-0000-4000-8000-%012d" % (number % keys)
        yield key, RECORD.pack(number, *(randomly.randrange(5000) for _ in range(9)))


def main() -> None:
    parser = meter.parser()
    parser.add_argument("--keys", type=int, default=5000)
    parser.add_argument("--publish", type=int, default=0, help="1: only put the records on the topic")
    parser.add_argument("--profile", type=int, default=0, help="1: say on stderr where the time goes")
    options = parser.parse_args()
    topic = topics.full_name(options.prefix, "events")
    if options.publish:
        made = records(options.events, options.keys)
        asyncio.run(loads.publish(options.bootstrap, topic, made, options.partitions, compression="lz4"))
        return

    def build(engine: Engine) -> None:
        source = engine.source(topic, options.partitions)
        table = engine.table("rows", source)

        @engine.agent(source)
        async def fold(chunk: Chunk) -> None:
            keys = list(dict.fromkeys(record.key for record in chunk.records))
            acc: dict[bytes, list[int]] = {}
            for key, row in zip(keys, table.get_many(chunk.partition, keys), strict=True):
                acc[key] = (
                    [-1, 0, 1 << 62, 0, 0, 0, 0, 0, 0, 0] if row is None else [row.offset, *ROW.unpack(row.payload)]
                )
            unpack = RECORD.unpack
            for record in chunk.records:
                state = acc[record.key]
                if record.offset <= state[0]:
                    continue
                when, a, b, c, d, e, f, _, _, _ = unpack(record.value)
                state[0] = record.offset
                state[1] += 1
                if when < state[2]:
                    state[2] = when
                if when > state[3]:
                    state[3] = when
                state[4] += a
                state[5] += b
                state[6] += c
                state[7] += d
                state[8] += e
                state[9] += f
            pack = ROW.pack
            await table.apply(chunk, {key: (state[0], pack(*state[1:])) for key, state in acc.items()})

    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    asyncio.run(meter.run_engine(options, [topic], build))
    if options.profile:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
