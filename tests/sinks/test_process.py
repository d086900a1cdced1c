"""`python -m sinks` itself: killed, stopped, misled."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from millrace.kafka import Broker
from millrace.supervisor import ask_health
from schemas import keys
from schemas.topics import CATALOGUE, full_name, partition_for
from service import control
from service.cluster import ensure_topics
from tests.ports import free_port, free_ports
from tests.sinks.lake.stores import rows, scan
from tests.sinks.records import content, encoded, event, ids, session, span

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class Sinks:
    """One sinks process after another on the same data."""

    def __init__(self, kafka: Broker, prefix: str, data: Path) -> None:
        self.kafka = {"bootstrap_servers": kafka.bootstrap}
        self.prefix = prefix
        self.data = data
        self.health_port, self.sql_port = free_ports(2)
        self.key = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.log = data.parent / "sinks.log"

    async def prepare(self) -> None:
        """Topics, and an admin key."""
        await ensure_topics(self.kafka, CATALOGUE.values(), self.prefix, "local")
        self.key, key_id = keys.new_key("admin")
        record = keys.KeyRecord(id=key_id, kind="admin", tenant=None, hash=keys.key_hash(self.key), name="test")
        value = keys.control_value(record, updated_at=1, updated_by="test")
        await control.publish(self.kafka, self.prefix, [value])

    def start(self, **settings: str) -> None:
        environment = {
            **os.environ,
            "MILLRACE_DATA": str(self.data),
            "MILLRACE_BOOTSTRAP": self.kafka["bootstrap_servers"],
            "MILLRACE_PREFIX": self.prefix,
            "MILLRACE_SINKS_HEALTH_PORT": str(self.health_port),
            "MILLRACE_SQL_PORT": str(self.sql_port),
            "MILLRACE_LAKE_COMMIT_INTERVAL_S": "1",
            **settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "sinks"], cwd=ROOT, env=environment, stderr=log)

    def end(self, how: signal.Signals) -> tuple[int, float]:
        """Exit code and the seconds that it took."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(how)
        return self.process.wait(30), time.monotonic() - started

    def health(self) -> dict[str, Any]:
        """The body of /readyz; not ready while nobody answers."""
        return {"lag_total": -1, **ask_health(f"http://127.0.0.1:{self.health_port}/readyz")}

    def until(self, seconds: float = 60, *, lag: int | None = None, sink: str = "") -> dict[str, Any]:
        """Wait until it is ready, and until a sink (or all) has no lag."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            health = self.health()
            behind = sum(records for name, records in health.get("lag", {}).items() if name.startswith(sink))
            if health["ready"] and (lag is None or behind == lag):
                return health
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(f"{self.health()}\n{self.log.read_text()[-3000:]}")

    def sql(self, text: str) -> list[list[Any]]:
        answer = httpx.post(
            f"http://127.0.0.1:{self.sql_port}/sql",
            json={"sql": text, "limit": 100_000},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return list(answer.json()["rows"])

    def until_sql(self, text: str, rows: list[list[Any]], seconds: float = 60) -> None:
        """Wait until the answer is these rows. The lag that /readyz tells may be of a second ago."""
        deadline = time.monotonic() + seconds
        while (found := self.sql(text)) != rows:
            assert time.monotonic() < deadline, f"{found}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)

    async def send(self, topic: str, values: list[dict[str, Any]]) -> None:
        async with AIOKafkaProducer(**self.kafka, linger_ms=5) as producer:
            sent = []
            for value in values:
                key, data = encoded(topic, value)
                partition = partition_for(key, CATALOGUE[topic].local.partitions)
                name = full_name(self.prefix, topic)
                sent.append(await producer.send(name, data, key=key, partition=partition))
            await asyncio.gather(*sent)


@contextmanager
def killed_at_the_end(sinks: Sinks) -> Iterator[Sinks]:
    try:
        yield sinks
    finally:
        if sinks.process is not None:
            sinks.process.kill()
            sinks.process.wait(10)


@pytest.fixture
def sinks(kafka: Broker, prefix: str, tmp_path: Path) -> Iterator[Sinks]:
    with killed_at_the_end(Sinks(kafka, prefix, tmp_path / "data")) as found:
        yield found


def test_kill_9_and_re_sends_leave_each_record_once_in_both_stores(sinks: Sinks) -> None:
    asyncio.run(sinks.prepare())
    size, kills = 2000, 4
    for part in range(kills):
        sinks.start()
        sinks.until()
        # Each part comes with the last hundred of the part before: a client that had no answer sends again.
        numbers = range(max(0, part * size - 100), (part + 1) * size)
        asyncio.run(sinks.send("events", [event(n) for n in numbers]))
        asyncio.run(sinks.send("spans", [span(n) for n in numbers]))
        asyncio.run(
            sinks.send("content", [content(n, f) for n in numbers if n % 10 == 0 for f in ("prompt", "response")])
        )
        asyncio.run(sinks.send("sessions", [session(n % 7, n) for n in numbers]))
        time.sleep(0.3 * part)
        sinks.end(signal.SIGKILL)
    sinks.start()
    sinks.until(lag=0)

    every = range(kills * size)
    assert [row[0] for row in rows(sinks.data, "events", "event_id")] == ids(every)
    assert len(rows(sinks.data, "spans", "trace_id", "span_id")) == len(every)
    assert len(rows(sinks.data, "content", "event_id", "field")) == 2 * len(every) // 10
    versions = scan(sinks.data, "session_versions", ["session_id", "version"]).group_by("session_id")
    newest = versions.aggregate([("version", "max")]).sort_by("session_id")["version_max"].to_pylist()
    assert newest == [max(n for n in every if n % 7 == s) for s in range(7)]

    assert sorted(row[0] for row in sinks.sql("select event_id from events")) == ids(every)
    assert sinks.sql("select count(*), count(distinct trace_id) from spans") == [[len(every), len(every)]]
    assert sinks.sql("select count(*) from content") == [[2 * len(every) // 10]]
    assert [row[0] for row in sinks.sql("select version from sessions order by session_id")] == newest
    assert sinks.end(signal.SIGTERM)[0] == 0


def test_sigterm_commits_what_the_lake_holds_back(sinks: Sinks) -> None:
    asyncio.run(sinks.prepare())
    sinks.start(MILLRACE_LAKE_COMMIT_INTERVAL_S="3600")
    sinks.until()
    asyncio.run(sinks.send("events", [event(n) for n in range(500)]))
    while sinks.health()["details"]["lake"]["waiting_records"] < 500:
        time.sleep(0.1)
    health = sinks.until(lag=0, sink="query")
    assert health["lag_total"] == 500
    code, seconds = sinks.end(signal.SIGTERM)
    assert (code, seconds < 10) == (0, True)
    assert [row[0] for row in rows(sinks.data, "events", "event_id")] == ids(range(500))


def test_a_topic_made_anew_stops_it_with_one_clear_line(sinks: Sinks) -> None:
    async def anew() -> None:
        admin = AIOKafkaAdminClient(**sinks.kafka)
        await admin.start()
        await admin.delete_topics([full_name(sinks.prefix, "events")])
        await admin.close()
        await asyncio.sleep(1)
        await ensure_topics(sinks.kafka, CATALOGUE.values(), sinks.prefix, "local")

    asyncio.run(sinks.prepare())
    sinks.start()
    sinks.until()
    asyncio.run(sinks.send("events", [event(1)]))
    sinks.until_sql("select count(*) from events", [[1]])
    assert sinks.end(signal.SIGTERM)[0] == 0
    asyncio.run(anew())
    sinks.start()
    assert sinks.process is not None
    assert sinks.process.wait(60) == 2
    last = sinks.log.read_text().splitlines()[-1]
    assert "CRITICAL" in last
    assert "of another topic" in last
    assert "give this one a data folder of its own" in last


def test_without_kafka_it_says_so_and_waits(sinks: Sinks) -> None:
    sinks.kafka = {"bootstrap_servers": f"127.0.0.1:{free_port()}"}
    sinks.start()
    while "does not answer" not in sinks.health()["why"]:
        time.sleep(0.1)
    code, seconds = sinks.end(signal.SIGTERM)
    assert (code, seconds < 10) == (0, True)


def test_a_taken_port_is_one_clear_line(sinks: Sinks) -> None:
    asyncio.run(sinks.prepare())
    sinks.sql_port = sinks.health_port
    sinks.start()
    assert sinks.process is not None
    assert sinks.process.wait(60) == 75
    assert f"port {sinks.sql_port} is not to be had" in sinks.log.read_text().splitlines()[-1]
