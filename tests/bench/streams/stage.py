"""Candidate: the session stage as it is, on the engine; with the real codec, or fed with what was decoded before.

`--decoded` puts another reader into the codec's seam: it finds each message's fields by the message's name. What the
stage costs then is what it costs beside its decoder.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from schemas import codec, topics
from streams.engine import Engine
from streams.sessions import agent
from streams.stage import Stage
from tests.bench.streams import loads, meter


def put_decoded_into_the_seam(options: argparse.Namespace) -> None:
    real = codec.reader

    def reader(record: str, fields: Sequence[str]) -> codec.Reader:
        read = real(record, fields)
        if record != "claude_event":
            return read
        name = loads.NAME
        decoded = {v[name]: read((v,))[0] for load in meter.loads_of(options) for _, v in loads.messages(load)}
        return lambda messages: [decoded[message[name]] for message in messages]

    codec.reader = reader


def main() -> None:
    parser = meter.parser()
    parser.add_argument("--decoded", type=int, default=0)
    options = parser.parse_args()
    if options.decoded:
        put_decoded_into_the_seam(options)
    sources = [topics.full_name(options.prefix, name) for name in ("events", "metrics")]

    def build(engine: Engine) -> None:
        partitions = dict.fromkeys(loads.TOPICS, options.partitions)
        agent.register(engine, Stage(prefix=options.prefix, partitions=partitions, epoch=1))

    asyncio.run(meter.run_engine(options, sources, build))


if __name__ == "__main__":
    main()
