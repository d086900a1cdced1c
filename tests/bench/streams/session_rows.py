"""Candidate: a table of full session rows and nothing else, as the session stage wrote them (see recovery.py)."""

from __future__ import annotations

import asyncio

from schemas import topics
from streams.engine import Chunk, Engine
from streams.engine.rows import PREFIX_BYTES
from tests.bench.streams import meter


def main() -> None:
    options = meter.parser().parse_args()
    topic = topics.full_name(options.prefix, "events")

    def build(engine: Engine) -> None:
        source = engine.source(topic, options.partitions)
        table = engine.table("rows", source)

        @engine.agent(source)
        async def keep(chunk: Chunk) -> None:
            rows = {record.key: (record.offset, record.value[PREFIX_BYTES:]) for record in chunk.records}
            await table.apply(chunk, rows)

    asyncio.run(meter.run_engine(options, [topic], build))


if __name__ == "__main__":
    main()
