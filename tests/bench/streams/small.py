"""Candidate: the small aggregate of the Kafka Streams peer, on the engine, with a decoder that costs nothing.

A row holds nine sums (events, five amounts, errors, first and last time) and the events of each kind; it is emitted
whenever a chunk changed it.
"""

from __future__ import annotations

import asyncio
import struct

from schemas import topics
from streams.engine import Chunk, Engine
from tests.bench.streams import loads, meter

ERROR = loads.KINDS.index("api_error") if "api_error" in loads.KINDS else -1
ROW = struct.Struct(f">9q{len(loads.KINDS)}I")
FRESH = [0, 0, 0, 0, 0, 0, 0, 1 << 62, 0, *[0] * len(loads.KINDS)]


def main() -> None:
    options = meter.parser().parse_args()
    source, out = topics.full_name(options.prefix, "events"), topics.full_name(options.prefix, "sessions")
    # Loads follow each other on the topic; a name comes again in the next one, with the same amounts for all we care.
    decoded = {
        event.name: (event.time, event.template.kind, *event.template.sums)
        for load in meter.loads_of(options)
        for event in loads.events(load)
    }

    def build(engine: Engine) -> None:
        events = engine.source(source, options.partitions)
        sessions = engine.table("sessions", events)

        @engine.agent(events)
        async def fold(chunk: Chunk) -> None:
            name, unpack, pack = loads.NAME, ROW.unpack, ROW.pack
            keys = list({record.key: None for record in chunk.records})
            rows = {
                key: [-1, *FRESH] if row is None else [row.offset, *unpack(row.payload)]
                for key, row in zip(keys, sessions.get_many(chunk.partition, keys), strict=True)
            }
            for offset, _, key, value in chunk.records:
                row = rows[key]
                if offset <= row[0]:
                    continue
                time, kind, in_, out_, read, created, cost = decoded[value[name]]
                row[0] = offset
                row[1] += 1
                row[2] += in_
                row[3] += out_
                row[4] += read
                row[5] += created
                row[6] += cost
                row[7] += kind == ERROR
                if time < row[8]:
                    row[8] = time
                if time > row[9]:
                    row[9] = time
                row[10 + kind] += 1
            puts = {key: (row[0], pack(*row[1:])) for key, row in rows.items()}
            await sessions.apply(chunk, puts)
            await engine.emit(out, options.partitions, [(key, row, key) for key, (_, row) in puts.items()])

    asyncio.run(meter.run_engine(options, [source], build))


if __name__ == "__main__":
    main()
