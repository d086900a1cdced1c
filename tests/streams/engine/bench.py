"""Throughput of the engine alone: 9 aggregates per key over struct records, decoding left out.

    python -m tests.streams.engine.bench BOOTSTRAP [--records 400000] [--keys 5000] [--chunk 2000] [--profile]

Prints one line of JSON: records per second of process CPU time, all threads, changelog acknowledged. The first chunk is
not counted. The records (80 bytes, lz4) are produced first, and not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.cluster import cluster_identity
from streams.engine import Chunk, Cluster, Engine, EngineSettings, collector
from streams.engine.outbox import partition_of

PARTITIONS = 4
RECORD = struct.Struct(">10q")
ROW = struct.Struct(">9q")


async def load(bootstrap: str, topic: str, count: int, keys: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="lz4", max_batch_size=256 * 1024)
    await producer.start()
    randomly = random.Random(7)
    batches = [producer.create_batch() for _ in range(PARTITIONS)]
    for number in range(count):
        key = b"3f1c2a9e-0000-4000-8000-%012d" % (number % keys)
        value = RECORD.pack(number, *(randomly.randrange(5000) for _ in range(9)))
        partition = partition_of(key, PARTITIONS)
        if batches[partition].append(key=key, value=value, timestamp=None) is None:
            await producer.send_batch(batches[partition], topic, partition=partition)
            batches[partition] = producer.create_batch()
            batches[partition].append(key=key, value=value, timestamp=None)
    for partition, batch in enumerate(batches):
        await producer.send_batch(batch, topic, partition=partition)
    await producer.flush()
    await producer.stop()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--chunk", type=int, default=2_000)
    parser.add_argument("--compression", default="snappy")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--load", metavar="TOPIC", help="only make the topic and its records")
    arguments = parser.parse_args()
    if arguments.load:
        await load(arguments.bootstrap, arguments.load, arguments.records, arguments.keys)
        return
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    # In a process of its own, so that its memory is not taken for ours.
    subprocess.run([sys.executable, "-m", "tests.streams.engine.bench", *sys.argv[1:], "--load", topic], check=True)
    cluster_id, ids = await cluster_identity({"bootstrap_servers": arguments.bootstrap}, [topic])
    done = asyncio.Event()
    start: tuple[float, float, float, int] | None = None
    seen = 0

    with tempfile.TemporaryDirectory() as folder:
        settings = EngineSettings(
            app_id=topic,
            bootstrap=arguments.bootstrap,
            datadir=Path(folder),
            partitions=PARTITIONS,
            chunk_records=arguments.chunk,
            compression=None if arguments.compression == "none" else arguments.compression,
        )
        engine = Engine(settings, Cluster(cluster_id, ids))
        source = engine.source(topic, PARTITIONS)
        table = engine.table("rows", source)

        @engine.agent(source)
        async def fold(chunk: Chunk) -> None:
            nonlocal start, seen
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
            seen += len(chunk)
            if start is None:
                start = (time.perf_counter(), time.process_time(), time.thread_time(), seen)
            if seen >= arguments.records:
                done.set()

        collector.calm()
        profile = cProfile.Profile()
        if arguments.profile:
            profile.enable()
        await engine.start()
        await done.wait()
        await engine.settle()
        assert start is not None
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        main_cpu = time.thread_time() - start[2]
        count = seen - start[3]
        if arguments.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        await engine.stop()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result = {"records": count, "per_cpu_s": int(count / cpu), "per_wall_s": int(count / wall), "max_rss_mib": memory}
    result |= {"cpu_s": round(cpu, 2), "main_thread_cpu_s": round(main_cpu, 2), "chunks": source.chunks}
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
