"""The gateway as a process, its keys, and what it put on Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiokafka
import httpx

from millrace.supervisor import ask_health
from schemas import codec, keys, topics
from service.cluster import ensure_topics
from service.control import publish
from tests.ingest_gateway.otlp import bearer
from tests.ports import free_ports

RECORDS = {name: topics.CATALOGUE[name].record for name in ("events", "content", "metrics", "spans", "rejected")}


class Gateway:
    """`python -m ingest_gateway` on free ports, with topics of its own prefix."""

    def __init__(self, bootstrap: str, prefix: str, log: Path, **settings: str) -> None:
        self.kafka = {"bootstrap_servers": bootstrap}
        self.prefix = prefix
        self.grpc_port, self.http_port, self.health_port = free_ports(3)
        self.log = log
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")},
            "MILLRACE_BOOTSTRAP": bootstrap,
            "MILLRACE_PREFIX": prefix,
            "MILLRACE_IDENTITY_SECRET": "of the tests, and longer than 32 characters",
            "MILLRACE_GATEWAY_GRPC_PORT": str(self.grpc_port),
            "MILLRACE_GATEWAY_HTTP_PORT": str(self.http_port),
            "MILLRACE_GATEWAY_HEALTH_PORT": str(self.health_port),
            **{f"MILLRACE_GATEWAY_{name}": value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Gateway:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingest_gateway"], env=self.environment, stdout=log, stderr=log
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def ready(self) -> bool:
        return bool(ask_health(f"http://127.0.0.1:{self.health_port}/readyz")["ready"])

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def resident_mb(self) -> float:
        """Its memory now."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    async def make_topics(self) -> None:
        await ensure_topics(self.kafka, topics.CATALOGUE.values(), self.prefix, "local")

    async def key(self, tenant: str | None, kind: keys.Kind = "ingest") -> str:
        """A new key, in force when this returns."""
        text, key_id = keys.new_key(kind)
        await self.publish_key(text, keys.KeyRecord(key_id, kind, tenant, keys.key_hash(text), "test"))
        return text

    async def publish_key(self, text: str, record: keys.KeyRecord) -> None:
        """Returns when the gateway, if it runs, has read of it. One that speaks TLS cannot be asked."""
        value = keys.control_value(record, updated_at=time.time_ns() // 1000, updated_by="tests")
        await publish(self.kafka, self.prefix, [value])
        async with asyncio.timeout(20):
            while self.process is not None and await self.knows(text) == record.deleted:
                await asyncio.sleep(0.02)

    async def knows(self, key: str) -> bool:
        """Whether a key opens anything, be it this or not."""
        async with httpx.AsyncClient(timeout=10) as client:
            url = f"http://127.0.0.1:{self.http_port}/v1/logs"
            return (await client.post(url, content=b"{}", headers=bearer(key))).status_code != 401

    async def stored(self, topic: str, tenant: str) -> list[dict[str, Any]]:
        """Everything of a tenant that stands in a topic now, partition by partition."""
        return [codec.decode(RECORDS[topic], m.value) for m in await self.messages(topic, tenant)]

    async def messages(self, topic: str, tenant: str) -> list[Any]:
        consumer = aiokafka.AIOKafkaConsumer(**self.kafka, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            name = topics.full_name(self.prefix, topic)
            places = [aiokafka.TopicPartition(name, p) for p in range(topics.CATALOGUE[topic].local.partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            for place in places:
                while await consumer.position(place) < ends[place]:
                    for messages in (await consumer.getmany(place, timeout_ms=200)).values():
                        found += messages
            return [m for m in found if dict(m.headers)["tenant"] == tenant.encode()]
        finally:
            await consumer.stop()
