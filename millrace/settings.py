"""Settings of the command line and the one-machine stack."""

import os
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from millrace.jars import MAVEN_CENTRAL
from millrace.kafka import DEFAULT_PORT, HOST, default_cache
from schemas.topics import CATALOGUE
from service.settings import ProcessSettings


def default_workers() -> int:
    """One worker folds about what one gateway takes in, and gateway, sinks and Kafka each need a core as well."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // 4, CATALOGUE["events"].local.partitions))


class StackSettings(ProcessSettings):
    """What `millrace` itself needs. The ports repeat those of the processes, which get them from here."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_")
    process: ClassVar[str] = "millrace"

    cache: Path = Field(default_factory=default_cache, description="folder of Kafka's jars, shared by all work trees")
    maven: str = Field(MAVEN_CENTRAL, pattern=r"^https?://", description="Maven repository to fetch Kafka's jars from")
    kafka_port: int = Field(DEFAULT_PORT, ge=1, le=65535, description="port of our own Kafka")
    kafka_heap_mb: int = Field(512, ge=128, le=65536, description="heap of our own Kafka, MiB")
    gateway_grpc_port: int = Field(4317, ge=1, le=65535, description="OTLP over gRPC")
    gateway_http_port: int = Field(4318, ge=1, le=65535, description="OTLP over HTTP")
    gateway_health_port: int = Field(9464, ge=1, le=65535, description="health and metrics of the gateway")
    streams_health_port: int = Field(9465, ge=1, le=65535, description="health and metrics of streams")
    streams_health_port_more: int = Field(
        9471, ge=1, le=65535, description="the same of the second streams worker; each further one has the next port"
    )
    streams_workers: int = Field(
        default_factory=default_workers,
        ge=1,
        le=64,
        description="streams processes on this machine; by default one for every four cores, at most one a partition",
    )
    sinks_health_port: int = Field(9466, ge=1, le=65535, description="health and metrics of sinks")
    sql_port: int = Field(8081, ge=1, le=65535, description="SQL over HTTP")
    console_port: int = Field(8080, ge=1, le=65535, description="the console's pages")
    console_health_port: int = Field(9467, ge=1, le=65535, description="health and metrics of the console")
    profile: Literal["local", "cluster"] = Field(
        "local", description="sizing of topics that are created: local (4 partitions, 1 replica) or cluster (32, 3)"
    )
    disk_free_min_mb: int = Field(512, ge=0, description="refuse to start with less free disk than this, MiB")
    ready_timeout_s: float = Field(120.0, gt=0, description="how long the stack may take until all is ready, seconds")
    stop_timeout_s: float = Field(
        14.0, ge=4, description="how long stopping may take before kill -9, seconds, all together"
    )
    tenant: str = Field("local", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="tenant of the local ingest key")
    key: SecretStr | None = Field(None, description="key for `millrace query`; none: the local admin key")
    sql_url: str | None = Field(None, pattern=r"^https?://", description="SQL service; none: this machine's")
    identity_secret: SecretStr | None = Field(
        None, description="secret behind user_key, at least 32 characters; none: made once, kept in data/keys/identity"
    )
    console_secret: SecretStr | None = Field(
        None, description="secret that signs cookies and sign-in links; none: made once, kept in data/keys/console"
    )
    console_public_url: str | None = Field(
        None, pattern=r"^https?://[^/]+$", description="how browsers reach the console; none: http://127.0.0.1:port"
    )
    console_ingest_grpc_url: str | None = Field(
        None, pattern=r"^https?://[^/]", description="where clients send OTLP over gRPC; none: this machine's port"
    )
    console_ingest_http_url: str | None = Field(
        None, pattern=r"^https?://[^/]", description="where clients send OTLP over HTTP; none: this machine's port"
    )

    def streams_ports(self) -> dict[str, int]:
        """Health port of every streams worker, by its name, which is also that of its folder and its log."""
        further = range(1, self.streams_workers)
        more = {f"streams-{number}": self.streams_health_port_more + number - 1 for number in further}
        return {"streams": self.streams_health_port, **more}

    @property
    def console_url(self) -> str:
        """How browsers reach the console."""
        return self.console_public_url or f"http://{HOST}:{self.console_port}"

    @property
    def ingest_grpc_url(self) -> str:
        """Where clients send OTLP over gRPC."""
        return self.console_ingest_grpc_url or f"http://{HOST}:{self.gateway_grpc_port}"

    @property
    def ingest_http_url(self) -> str:
        """Where clients send OTLP over HTTP."""
        return self.console_ingest_http_url or f"http://{HOST}:{self.gateway_http_port}"

    @property
    def external_kafka(self) -> bool:
        """Whether somebody else's Kafka was named; otherwise the stack starts its own."""
        return "bootstrap" in self.model_fields_set

    @property
    def kafka_address(self) -> str:
        """Where Kafka is: the one that was named, else our own."""
        return self.bootstrap if self.external_kafka else f"{HOST}:{self.kafka_port}"
