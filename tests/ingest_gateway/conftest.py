"""One gateway for most tests; each test has a tenant of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import grpc
import httpx
import pytest

from millrace.kafka import Broker
from tests.ingest_gateway.process import Gateway

BODY_MAX = 4 << 20


@pytest.fixture(scope="package")
def gateway(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    gateway = Gateway(
        kafka.bootstrap,
        f"g{uuid.uuid4().hex[:8]}",
        folder / "log",
        BODY_BYTES_MAX=str(BODY_MAX),
        RECORDS_MAX="1000",
        HEADER_TIMEOUT_S="3",
    )
    asyncio.run(gateway.make_topics())
    try:
        yield gateway.start()
        assert gateway.stop() == 0
    finally:
        gateway.kill()


@pytest.fixture
def tenant() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
async def key(gateway: Gateway, tenant: str) -> str:
    return await gateway.key(tenant)


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.http_port}", timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def channel(gateway: Gateway) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        yield channel
