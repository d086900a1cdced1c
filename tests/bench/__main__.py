"""What a million records cost: CPU seconds of whole processes, from a real Kafka to real files.

    python -m tests.bench [--events 60000] [--rounds 1] [--scale 1]
                          [--only gateway,streams,latency,engine,small,stage,flat,flat_stage,recovery,takeover]

Every figure is utime + stime of the process under test (all its threads), read from /proc before and after the work,
and divided by the records that it worked off: machines are shared and noisy, CPU time is what stays comparable. Loads
come from another process. Data: the synthetic fleet of millrace/fleet.py, in the shapes of the real client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import aiokafka
import grpc
import httpx

from millrace.fleet import NS_PER_S, Fleet, Request
from millrace.kafka import Broker
from millrace.sender import encode
from schemas import otlp, topics
from service.cluster import ensure_topics
from tests.bench.process import cpu_s, head, idle, row, running
from tests.bench.streams import tables
from tests.e2e import lake
from tests.e2e.requests import METHOD
from tests.e2e.stack import Stack
from tests.ingest_gateway.process import Gateway
from tests.kafka import jars
from tests.ports import free_port

IN_FLIGHT = 32


def fleet_requests(events: int, *, per_request: int = 1000, users: int = 500) -> list[Request]:
    """Requests with so many events, and the points and spans that come with them; all of the last hours."""
    fleet, found, out = Fleet(1, users=users, events_per_request=per_request), 0, []
    now = time.time_ns() - 6 * 3600 * NS_PER_S
    while found < events:
        now += NS_PER_S
        for request in fleet.turn(now):
            out.append(request)
            found += request.records if request.signal == "logs" else 0
    return out


def recut(requests: list[Request], per_request: int, count: int) -> list[Request]:
    """Log records in requests of exactly so many (a request has one resource: that of its first record)."""
    outer = requests[0].body["resourceLogs"][0]["resource"]
    records = [
        record
        for request in requests
        if request.signal == "logs"
        for resource in request.body["resourceLogs"]
        for record in resource["scopeLogs"][0]["logRecords"]
    ]
    out = []
    for start in range(0, min(len(records), per_request * count) - per_request + 1, per_request):
        scope = {"logRecords": records[start : start + per_request]}
        body = {"resourceLogs": [{"resource": outer, "scopeLogs": [scope]}]}
        out.append(Request("logs", body, per_request))
    return out


# -- gateway -----------------------------------------------------------------------------------------


async def bench_gateway(bootstrap: str, folder: Path, requests: list[Request]) -> None:
    gateway = Gateway(bootstrap, f"b{uuid.uuid4().hex[:8]}", folder / "gateway.log")
    await gateway.make_topics()
    gateway.start()
    assert gateway.process is not None
    key = await gateway.key("bench")
    try:
        for size, sends in ((1, 6000), (20, 2500), (100, 600)):
            cut = recut(requests, size, 400)
            for name, protocol in (("gRPC", "grpc"), ("HTTP protobuf", "http/protobuf"), ("HTTP JSON", "http/json")):
                bodies = [_wire(request, protocol) for request in cut]
                await _flood(gateway, protocol, key, bodies, sends // 10)
                before = cpu_s(gateway.process.pid)
                await _flood(gateway, protocol, key, bodies, sends)
                seconds = cpu_s(gateway.process.pid) - before
                row(
                    f"gateway, {name}, {size} a request",
                    sends * size,
                    seconds,
                    f"{seconds / sends * 1e6:.0f} µs a request",
                )
    finally:
        gateway.kill()


def _wire(request: Request, protocol: str) -> bytes:
    encoded = encode(request, protocol)  # type: ignore[arg-type]
    return encoded if isinstance(encoded, bytes) else encoded.SerializeToString()


async def _flood(gateway: Gateway, protocol: str, key: str, bodies: list[bytes], sends: int) -> None:
    left = iter(range(sends))

    async def over_grpc(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary(METHOD["logs"])
        for number in left:
            assert await call(bodies[number % len(bodies)], metadata=[("authorization", f"Bearer {key}")]) == b""

    async def over_http() -> None:
        # Plain sockets: a full HTTP client costs more than the gateway, and would leave it waiting.
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port)
        kind = otlp.JSON if protocol == "http/json" else otlp.PROTOBUF
        lines = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n"
        for number in left:
            body = bodies[number % len(bodies)]
            writer.write(f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    if protocol == "grpc":
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
            await asyncio.gather(*(over_grpc(channel) for _ in range(IN_FLIGHT)))
    else:
        await asyncio.gather(*(over_http() for _ in range(IN_FLIGHT)))


# -- streams and sinks -----------------------------------------------------------------------------------------


async def publish(bootstrap: str, prefix: str, requests: list[Request]) -> dict[str, int]:
    """Put what the gateway would have made of the requests on Kafka; returns messages by short topic name."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", compression_type="zstd", linger_ms=20, max_batch_size=512 * 1024
    )
    await producer.start()
    counts: dict[str, int] = {}
    for request in requests:
        context = otlp.Context("bench", time.time_ns() // 1000, b"k" * 32)
        for entry in otlp.transcode(request.signal, otlp.JSON, json.dumps(request.body).encode(), context).entries:
            for message in entry.messages:
                count = topics.CATALOGUE[message.topic].local.partitions
                await producer.send(
                    topics.full_name(prefix, message.topic),
                    message.value,
                    key=message.key or None,
                    headers=list(message.headers),
                    partition=topics.partition_for(message.partition_key, count),
                )
                counts[message.topic] = counts.get(message.topic, 0) + 1
    await producer.stop()
    return counts


async def bench_pipeline(bootstrap: str, folder: Path, requests: list[Request]) -> None:
    prefix, empty = f"b{uuid.uuid4().hex[:8]}", f"b{uuid.uuid4().hex[:8]}"
    for name in (prefix, empty):
        await ensure_topics({"bootstrap_servers": bootstrap}, topics.CATALOGUE.values(), name, "local")
    with running("streams", bootstrap, empty, folder / "s0", "MILLRACE_STREAMS_HEALTH_PORT") as process:
        start = await asyncio.to_thread(process.wait, idle)
    counts = await publish(bootstrap, prefix, requests)
    sources = counts["events"] + counts["metrics"]
    with running("streams", bootstrap, prefix, folder / "s1", "MILLRACE_STREAMS_HEALTH_PORT") as process:
        used = await asyncio.to_thread(process.wait, idle)
    row("streams: events and points into sessions, hours, windows", sources, used - start, "both stages, with RocksDB")

    health = "MILLRACE_SINKS_HEALTH_PORT"
    stored = sum(counts.values())
    with running("sinks", bootstrap, empty, folder / "k0", health) as process:
        start = await asyncio.to_thread(process.wait, idle)
    with running("sinks", bootstrap, prefix, folder / "k1", health, MILLRACE_LAKE="false") as process:
        query = await asyncio.to_thread(process.wait, idle) - start
    settings = {"MILLRACE_LAKE_COMMIT_INTERVAL_S": "5"}
    with running("sinks", bootstrap, prefix, folder / "k2", health, **settings) as process:
        both = await asyncio.to_thread(process.wait, idle) - start
    row("sinks: query tables", stored, query, "events, content, points, spans; with sessions, hours, windows")
    row("sinks: lake", stored, both - query, "the same, without hours and windows")


# -- latency -----------------------------------------------------------------------------------------


def bench_latency(bootstrap: str, folder: Path) -> None:
    """From the acknowledgement to SQL and to the lake, on a stack that does nothing else."""
    interval = {"MILLRACE_LAKE_COMMIT_INTERVAL_S": "60"}
    stack = Stack(bootstrap, f"b{uuid.uuid4().hex[:8]}", folder / "stack", **interval).start()
    try:
        ingest, sql = stack.key("bench"), stack.sql(stack.key("bench", "query"))
        waits = []
        first = time.monotonic()
        with httpx.Client(base_url=f"http://127.0.0.1:{stack.ports['GATEWAY_HTTP']}", timeout=30) as client:
            for number in range(20):
                session = str(uuid.uuid4())
                values = {"event.name": "user_prompt", "session.id": session, "event.sequence": str(number)}
                attributes = [{"key": k, "value": {"stringValue": v}} for k, v in values.items()]
                record = {"timeUnixNano": str(time.time_ns()), "attributes": attributes}
                body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
                answer = client.post("/v1/logs", json=body, headers={"authorization": f"Bearer {ingest}"})
                assert answer.status_code == 200, answer.text
                acknowledged = time.monotonic()
                while not sql(f"select session_id from sessions where session_id = '{session}'"):
                    time.sleep(0.02)
                waits.append(time.monotonic() - acknowledged)
                time.sleep(0.5)
        while not lake.rows(stack.data, "events", "bench", ("event_id",)).num_rows:
            time.sleep(0.2)
        stored = time.monotonic() - first
        stack.stop()
    finally:
        stack.kill_everything()
    print(f"\nack to `sessions`: median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s of {len(waits)}")
    print(f"first ack to the lake: {stored:.1f} s at a commit interval of 60 s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--only", default=",".join(("gateway", "streams", "latency", *tables.PARTS)))
    parser.add_argument("--rounds", type=int, default=1, help="of the streams candidates; medians are told")
    parser.add_argument("--scale", type=float, default=1.0, help="of the streams candidates' loads")
    options = parser.parse_args()
    parts = options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        with Broker(jars(), folder / "kafka", log=folder / "kafka.log", port=free_port()) as kafka:
            requests = fleet_requests(options.events) if {"gateway", "streams", "sinks"} & set(parts) else []
            print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
            head()
            if "gateway" in parts:
                asyncio.run(bench_gateway(kafka.bootstrap, folder, requests))
            if "streams" in parts or "sinks" in parts:
                asyncio.run(bench_pipeline(kafka.bootstrap, folder, requests))
            bench = tables.Bench(kafka.bootstrap, folder, options.rounds, options.scale)
            print("\n" + "\n".join(f"- {line}" for line in tables.run(bench, parts)), flush=True)
            if "latency" in parts:
                bench_latency(kafka.bootstrap, folder)


if __name__ == "__main__":
    main()
