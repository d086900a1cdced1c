"""Kafka slow, gone, and back: bounded memory, retryable refusals, never a false acknowledgement."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from millrace.kafka import Broker
from tests.ingest_gateway.otlp import as_json, as_protobuf, bearer, log, logs, refusal, retry_delay_s
from tests.ingest_gateway.process import Gateway
from tests.kafka import jars
from tests.ports import free_port

ACK_TIMEOUT_S = 2
IN_FLIGHT = 4 << 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka that these tests may pause and kill, and leave running."""
    folder = tmp_path_factory.mktemp("away")
    with Broker(jars(), folder / "kafka", log=folder / "kafka.log", port=free_port(), heap_mb=256) as broker:
        yield broker


@pytest.fixture
def gateway(broker: Broker, tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(
        broker.bootstrap,
        f"k{uuid.uuid4().hex[:8]}",
        tmp_path / "gateway.log",
        ACK_TIMEOUT_S=str(ACK_TIMEOUT_S),
        IN_FLIGHT_BYTES_MAX=str(IN_FLIGHT),
        BODY_BYTES_MAX=str(1 << 20),
    )
    try:
        yield gateway
    finally:
        gateway.kill()


class Sending:
    """A client that sends numbered records, and remembers which were acknowledged."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self._url = f"http://127.0.0.1:{gateway.http_port}/v1/logs"
        self._headers = bearer(key)
        self.key = key
        self.sent = 0
        self.acknowledged: set[int] = set()
        self.refusals: list[httpx.Response] = []

    async def one(self, client: httpx.AsyncClient, *, filler: int = 100) -> None:
        number, self.sent = self.sent, self.sent + 1
        body = as_json(logs(log(sequence=number, filler="x" * filler)))
        answer = await client.post(self._url, content=body, headers=self._headers)
        if answer.status_code == 200:
            self.acknowledged.add(number)
        else:
            self.refusals.append(answer)

    async def many(self, count: int, *, filler: int = 100) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            await asyncio.gather(*(self.one(client, filler=filler) for _ in range(count)))

    async def until_acknowledged(self, timeout_s: float = 40) -> None:
        async with asyncio.timeout(timeout_s):
            before = len(self.acknowledged)
            while len(self.acknowledged) == before:
                await self.many(1)


async def stored(gateway: Gateway, tenant: str) -> set[int]:
    return {row["event_sequence"] for row in await gateway.stored("events", tenant)}


async def test_a_broker_that_hangs_means_retryable_refusals_and_bounded_memory(
    broker: Broker, gateway: Gateway, tenant: str
) -> None:
    await gateway.make_topics()
    gateway.start()
    sending = Sending(gateway, await gateway.key(tenant))
    await sending.many(20)
    assert len(sending.acknowledged) == 20
    before = gateway.resident_mb()
    broker.pause()
    try:
        async with asyncio.timeout(25):
            await sending.many(300, filler=100_000)  # 30 MB against a bound of 4 MB
        assert len(sending.acknowledged) == 20
        assert {answer.status_code for answer in sending.refusals} == {503}
        for answer in sending.refusals:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["code"] == 14
            assert answer.json()["details"][0]["retryDelay"]
        assert gateway.resident_mb() - before < 64
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
            code, _, status = await refusal(channel, "logs", as_protobuf("logs", logs(log())), sending.key)
        assert (code, status.code, retry_delay_s(status)) == (grpc.StatusCode.UNAVAILABLE, 14, 2.0)
        async with asyncio.timeout(40):  # it hangs on; the producer is given up
            while gateway.ready():
                await sending.many(1)
        began = time.monotonic()
        await sending.many(10)
        assert time.monotonic() - began < ACK_TIMEOUT_S, "nobody need wait for what is known to be away"
    finally:
        broker.resume()
    await sending.until_acknowledged()
    await asyncio.to_thread(gateway.wait_ready)
    assert sending.acknowledged <= await stored(gateway, tenant)
    assert gateway.stop() == 0
    for complaint in ("never retrieved", "was destroyed", "Traceback", "Unclosed"):
        assert complaint not in gateway.log.read_text()


async def test_sigterm_while_kafka_hangs_ends_it_within_5_seconds(
    broker: Broker, gateway: Gateway, tenant: str
) -> None:
    await gateway.make_topics()
    gateway.start()
    sending = Sending(gateway, await gateway.key(tenant))
    await sending.many(5)
    broker.pause()
    try:
        flood = asyncio.create_task(sending.many(20))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        assert await asyncio.to_thread(gateway.stop) == 0
        assert time.monotonic() - began < 5
        await asyncio.wait({flood})
        flood.exception()  # cut off or refused, but not acknowledged
        assert len(sending.acknowledged) == 5
    finally:
        broker.resume()


async def test_a_broker_that_dies_and_comes_back_loses_nothing_acknowledged(
    broker: Broker, gateway: Gateway, tenant: str
) -> None:
    await gateway.make_topics()
    gateway.start()
    sending = Sending(gateway, await gateway.key(tenant))
    flood = asyncio.create_task(sending.many(400))
    while len(sending.acknowledged) < 100 and not flood.done():
        await asyncio.sleep(0.01)
    broker.kill()
    await flood
    broker.start()  # not from a thread: Kafka ends with the thread that started it
    await sending.until_acknowledged(60)
    await asyncio.to_thread(gateway.wait_ready)
    assert sending.acknowledged <= await stored(gateway, tenant)
    assert gateway.stop() == 0


async def test_a_gateway_that_starts_before_kafka_says_so_and_works_when_it_comes(
    broker: Broker, gateway: Gateway, tenant: str
) -> None:
    await gateway.make_topics()
    key = await gateway.key(tenant)
    broker.kill()
    gateway.start(wait=False)
    sending = Sending(gateway, key)
    async with asyncio.timeout(30):
        while not sending.refusals:
            try:
                await sending.many(1)
            except httpx.TransportError:  # not listening yet
                await asyncio.sleep(0.1)
    assert sending.refusals[0].status_code == 503
    assert not gateway.ready()
    broker.start()  # not from a thread: Kafka ends with the thread that started it
    await sending.until_acknowledged(60)
    assert sending.acknowledged <= await stored(gateway, tenant)


async def test_sigterm_in_a_flood_loses_nothing_acknowledged(broker: Broker, gateway: Gateway, tenant: str) -> None:
    await gateway.make_topics()
    gateway.start()
    sending = Sending(gateway, await gateway.key(tenant))

    async def flood() -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            while True:
                await asyncio.gather(*(sending.one(client) for _ in range(20)))

    flooding = asyncio.create_task(flood())
    while len(sending.acknowledged) < 100:
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(gateway.stop) == 0
    with pytest.raises(httpx.TransportError):
        await flooding
    assert sending.acknowledged <= await stored(gateway, tenant)
