"""TLS and client certificates on both ports."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import trustme

from millrace.kafka import Broker
from tests.ingest_gateway.otlp import as_json, as_protobuf, bearer, export, log, logs
from tests.ingest_gateway.process import Gateway

BODY = logs(log())


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def gateway(kafka: Broker, ca: trustme.CA, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """request.param: must clients prove themselves?"""
    certificate = ca.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    settings = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    if request.param:
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        settings["TLS_CLIENT_CA_FILE"] = str(tmp_path / "ca.pem")
    gateway = Gateway(kafka.bootstrap, f"s{uuid.uuid4().hex[:8]}", tmp_path / "log", **settings)
    asyncio.run(gateway.make_topics())
    try:
        yield gateway
    finally:
        gateway.kill()


async def over_http(gateway: Gateway, context: ssl.SSLContext, key: str) -> int:
    async with httpx.AsyncClient(verify=context, timeout=10) as client:
        url = f"https://127.0.0.1:{gateway.http_port}/v1/logs"
        return (await client.post(url, content=as_json(BODY), headers=bearer(key))).status_code


async def over_grpc(gateway: Gateway, credentials: grpc.ChannelCredentials, key: str) -> bytes:
    async with grpc.aio.secure_channel(f"127.0.0.1:{gateway.grpc_port}", credentials) as channel:
        return await export(channel, "logs", as_protobuf("logs", BODY), key)


@pytest.mark.parametrize("gateway", [False], indirect=True)
async def test_both_ports_speak_tls(gateway: Gateway, ca: trustme.CA, tenant: str) -> None:
    key = await gateway.key(tenant)
    gateway.start()
    context = ssl.create_default_context()
    ca.configure_trust(context)
    assert await over_http(gateway, context, key) == 200
    assert await over_grpc(gateway, grpc.ssl_channel_credentials(ca.cert_pem.bytes()), key) == b""
    async with httpx.AsyncClient(timeout=10) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(f"http://127.0.0.1:{gateway.http_port}/v1/logs", content=b"", headers=bearer(key))
    assert len(await gateway.stored("events", tenant)) == 2


@pytest.mark.parametrize("gateway", [True], indirect=True)
async def test_with_a_client_ca_only_proven_clients_get_in(gateway: Gateway, ca: trustme.CA, tenant: str) -> None:
    key = await gateway.key(tenant)
    gateway.start()
    client = ca.issue_cert("client.example")
    context = ssl.create_default_context()
    ca.configure_trust(context)
    with pytest.raises(httpx.TransportError):
        await over_http(gateway, context, key)
    with pytest.raises(grpc.aio.AioRpcError):
        await over_grpc(gateway, grpc.ssl_channel_credentials(ca.cert_pem.bytes()), key)
    client.configure_cert(context)
    assert await over_http(gateway, context, key) == 200
    proven = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(), client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
    )
    assert await over_grpc(gateway, proven, key) == b""
    assert len(await gateway.stored("events", tenant)) == 2
