"""Settings of the gateway."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from service.transcoding import TranscoderSettings

MIB = 1 << 20


class GatewaySettings(TranscoderSettings):
    """What `python -m ingest_gateway` is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_GATEWAY_")
    process: ClassVar[str] = "gateway"

    host: str = Field("127.0.0.1", description="address of both OTLP ports")
    grpc_port: int = Field(4317, ge=0, le=65535, description="OTLP over gRPC")
    http_port: int = Field(4318, ge=0, le=65535, description="OTLP over HTTP: /v1/logs, /v1/metrics, /v1/traces")
    health_port: int = Field(9464, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    identity_secret: SecretStr = Field(
        validation_alias="MILLRACE_IDENTITY_SECRET",
        description="secret behind every user_key, at least 32 characters, the same for all gateways",
    )
    hash_keys: SecretStr = Field(
        SecretStr(""),
        description="keys behind hashes of privacy policies, id:secret[,id:secret…], at least 32 characters each; "
        "besides them there is `identity`, derived from MILLRACE_IDENTITY_SECRET",
    )
    cloud_events: bool = Field(
        False,
        validation_alias="MILLRACE_CLOUDEVENTS",
        description="headers of CloudEvents 1.0 (binary mode) on every message of the gateway",
    )
    tls_cert_file: Path | None = Field(None, description="PEM of our certificate; with it both ports speak TLS")
    tls_key_file: Path | None = Field(None, description="PEM of our key")
    tls_client_ca_file: Path | None = Field(None, description="PEM of the CA that clients must prove (mTLS)")
    body_bytes_max: int = Field(16 * MIB, ge=1024, le=512 * MIB, description="largest body, before and after inflation")
    in_flight_bytes_max: int = Field(
        128 * MIB,
        ge=MIB,
        description="bodies being received, waiting or not yet acknowledged by Kafka; beyond, refusals as retryable",
    )
    connections_max: int = Field(4096, ge=1, description="open connections of each of both ports")
    streams_max: int = Field(256, ge=1, description="concurrent gRPC requests of one connection")
    reads_max: int = Field(
        32, ge=1, description="gRPC requests of which the body is being received; others wait unread, 64 KiB each"
    )
    header_bytes_max: int = Field(32 * 1024, ge=1024, description="headers of one HTTP request")
    header_timeout_s: float = Field(10.0, gt=0, description="seconds an HTTP client may take for its headers")
    body_timeout_s: float = Field(30.0, gt=0, description="seconds a client may take for its body")
    ack_timeout_s: float = Field(8.0, gt=0, le=60, description="seconds that Kafka may take before a retryable refusal")
    retry_after_s: float = Field(2.0, gt=0, description="seconds after which a refused client should try again")
    flushes_max: int = Field(
        2, ge=1, le=64, description="rounds of Kafka batches in flight; more requests wait and join"
    )
    stop_timeout_s: float = Field(4.0, gt=0, description="seconds that stopping may take, with the requests in flight")

    def hash_ring(self) -> dict[str, bytes]:
        """Key id → secret, `identity` among them."""
        ring = {"identity": b"hash key\0" + self.identity_secret.get_secret_value().encode()}
        for part in filter(None, self.hash_keys.get_secret_value().split(",")):
            key_id, _, secret = part.partition(":")
            ring[key_id] = secret.encode()
        return ring

    @model_validator(mode="after")
    def _whole(self) -> Self:
        faults = []
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            faults.append("MILLRACE_GATEWAY_TLS_CERT_FILE and MILLRACE_GATEWAY_TLS_KEY_FILE belong together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            faults.append("MILLRACE_GATEWAY_TLS_CLIENT_CA_FILE needs MILLRACE_GATEWAY_TLS_CERT_FILE")
        files = (self.tls_cert_file, self.tls_key_file, self.tls_client_ca_file)
        faults += [f"no such file: {path}" for path in files if path is not None and not path.is_file()]
        if self.body_bytes_max > self.in_flight_bytes_max:
            faults.append("MILLRACE_GATEWAY_IN_FLIGHT_BYTES_MAX must be at least MILLRACE_GATEWAY_BODY_BYTES_MAX")
        if len(self.identity_secret.get_secret_value()) < 32:
            faults.append("MILLRACE_IDENTITY_SECRET must have at least 32 characters")
        for part in filter(None, self.hash_keys.get_secret_value().split(",")):
            key_id, _, secret = part.partition(":")
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", key_id) or len(secret) < 32 or key_id == "identity":
                faults.append(
                    "MILLRACE_GATEWAY_HASH_KEYS must be id:secret,… with ids of 1 to 32 letters, digits, dots, dashes "
                    "and underscores, none of them `identity`, and secrets of at least 32 characters"
                )
                break
        if faults:
            raise ValueError("; ".join(faults))
        return self
