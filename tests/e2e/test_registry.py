"""The whole product with a schema registry and CloudEvents, read by clients that are not ours."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from millrace.kafka import Broker
from schemas.topics import CATALOGUE, full_name
from tests.e2e.requests import Sender
from tests.e2e.stack import Stack, eventually
from tests.e2e.test_main_job import captures, everything  # noqa: F401  # a fixture
from tests.e2e.truth import differences, truth
from tests.ingest_gateway.process import Gateway
from tests.service.registries import Small, apicurio, apicurio_folder

QUIET_S = 10.0
# What the recorded requests and the start of a stack leave something in.
FILLED = {"events", "content", "metrics", "sessions", "session-hours", "user-windows", "control"}


@contextlib.contextmanager
def some_registry(folder: Path) -> Iterator[str]:
    """The real one where it is at hand, else that of the tests: what is tested here is all the rest."""
    try:
        where = apicurio_folder()
    except pytest.skip.Exception:
        with Small().running() as small:
            yield small.url
    else:
        with apicurio(where, folder / "apicurio.log") as url:
            yield url


@dataclass
class Ran:
    """A stack that runs with a registry.  away: stops the registry."""

    stack: Stack
    url: str
    bootstrap: str
    prefix: str
    away: contextlib.ExitStack


@pytest.fixture(scope="module")
def ran(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder, prefix = tmp_path_factory.mktemp("registry"), f"r{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as away:
        url = away.enter_context(some_registry(folder))
        options = {"MILLRACE_REGISTRY_URL": url, "MILLRACE_CLOUDEVENTS": "true"}
        stack = Stack(kafka.bootstrap, prefix, folder / "data", **options)
        stack.command("topics", "register")
        try:
            yield Ran(stack.start(), url, kafka.bootstrap, prefix, away)
            stack.stop()
        finally:
            stack.kill_everything()


def key_of(ran: Ran, tenant: str, kind: str = "ingest") -> str:
    """Made by a process that knows of the registry, so that its record has the schema's id."""
    return ran.stack.command("key", "create", "--tenant", tenant, "--kind", kind).stdout.strip()


def send(ran: Ran, tenant: str, folders: list[Path]) -> None:
    with Sender(ran.stack.ports["GATEWAY_GRPC"], ran.stack.ports["GATEWAY_HTTP"], key_of(ran, tenant)) as sender:
        for request in everything(folders):
            sender.send(request)


def everything_on_kafka(ran: Ran) -> dict[str, list[Message]]:
    """Every message of every topic, by its short name, as librdkafka reads them."""
    short = {full_name(ran.prefix, name): name for name in CATALOGUE}
    found: dict[str, list[Message]] = {name: [] for name in CATALOGUE}
    consumer = Consumer({"bootstrap.servers": ran.bootstrap, "group.id": ran.prefix, "enable.auto.commit": False})
    try:
        places = [TopicPartition(full, p, 0) for full, n in short.items() for p in range(CATALOGUE[n].local.partitions)]
        left = sum(consumer.get_watermark_offsets(place, timeout=QUIET_S)[1] for place in places)
        consumer.assign(places)
        deadline = time.monotonic() + QUIET_S
        while left > 0 and time.monotonic() < deadline:
            for message in consumer.consume(1000, timeout=0.2):
                assert message.error() is None
                found[short[message.topic()]].append(message)
                left -= 1
        assert left == 0
        return found
    finally:
        consumer.close()


@pytest.mark.slow
def test_a_registry_changes_no_number(ran: Ran, tenant: str, captures: list[Path]) -> None:  # noqa: F811
    send(ran, tenant, captures)
    sql, want = ran.stack.sql(key_of(ran, tenant, "query")), truth(captures)
    eventually(lambda: differences(sql, want))
    eventually(ran.stack.sinks_lag)

    messages = everything_on_kafka(ran)
    rows: dict[str, list[dict[str, Any]]] = {}
    with SchemaRegistryClient({"url": ran.url}) as client:
        read = AvroDeserializer(client)
        for topic in CATALOGUE:
            context = SerializationContext(full_name(ran.prefix, topic), MessageField.VALUE)
            assert {message.value()[:1] for message in messages[topic]} <= {b"\x00"}, topic
            rows[topic] = [read(message.value(), context) for message in messages[topic]]
    assert {topic for topic, found in rows.items() if found} >= FILLED

    def mine(topic: str) -> list[dict[str, Any]]:
        return [row for row in rows[topic] if row["tenant"] == tenant]

    assert len(mine("events")) == want["unique"]["events"]
    assert len(mine("metrics")) == want["unique"]["points"]
    stored = sql("select event_id, event_name from events")
    assert {(row["event_id"], row["event_name"]) for row in mine("events")} == {
        (row["event_id"], row["event_name"]) for row in stored
    }
    (spent,) = sql("select sum(cost_usd) as usd from events")
    cost = sum(row["cost_usd"] or 0 for row in mine("events"))
    assert cost == pytest.approx(spent["usd"])
    assert {row["session_id"] for row in mine("sessions")} == want["sessions"].keys()

    kinds: Counter[str] = Counter()
    for message in messages["events"]:
        headers = dict(message.headers())
        event = from_binary(KafkaMessage(headers, message.key(), message.value()), JSONFormat())
        assert event.get_source() == f"/millrace/{ran.prefix}/{tenant}"
        kinds[event.get_type()] += 1
    assert kinds == Counter(f"millrace.claude_event.{row['event_name']}" for row in mine("events"))


@pytest.mark.slow
def test_a_registry_that_goes_away_later_is_not_missed(ran: Ran, tenant: str, captures: list[Path]) -> None:  # noqa: F811
    key, query = key_of(ran, tenant), key_of(ran, tenant, "query")
    ran.away.close()
    with Sender(ran.stack.ports["GATEWAY_GRPC"], ran.stack.ports["GATEWAY_HTTP"], key) as sender:
        for request in everything(captures):
            sender.send(request)
    want = truth(captures)
    eventually(lambda: differences(ran.stack.sql(query), want))


async def test_a_gateway_waits_for_the_registry_and_for_its_schemas(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    with Small().running() as small:
        gateway = Gateway(kafka.bootstrap, prefix, tmp_path / "log")
        gateway.environment["MILLRACE_REGISTRY_URL"] = small.url
        small.status = (503, b"")
        await gateway.make_topics()
        gateway.start(wait=False)
        try:
            _says(gateway, f"schema registry at {small.url} does not answer: status 503")
            small.status = None
            _says(gateway, f"is not in the registry at {small.url} under {prefix}.events.v1-value; register it with: ")
            assert not [line for line in small.asked if line.startswith(("POST", "PUT"))]
            environment = {**gateway.environment, "MILLRACE_DATA": str(tmp_path)}
            done = subprocess.run(
                [sys.executable, "-m", "millrace", "topics", "register"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            assert "10 registered, 0 were there; all are FULL_TRANSITIVE" in done.stderr
            gateway.wait_ready()
            assert gateway.stop() == 0
        finally:
            gateway.kill()


def _says(gateway: Gateway, words: str) -> None:
    """The gateway is not ready, and this is why."""

    def why() -> str | None:
        said = httpx.get(f"http://127.0.0.1:{gateway.health_port}/readyz", timeout=2, trust_env=False).text
        return None if words in said else said

    eventually(why)
