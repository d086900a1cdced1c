"""Settings of the streams process."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from service.settings import ProcessSettings
from streams.sessions.fold import FoldSettings


class StreamsSettings(ProcessSettings):
    """What `python -m streams` is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_STREAMS_")
    process: ClassVar[str] = "streams"

    health_port: int = Field(9465, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    folder: str = Field(
        "streams",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="folder of this worker's tables below MILLRACE_DATA; no other worker may use it",
    )
    epoch: int = Field(
        1, ge=1, lt=1 << 32, description="version of all rows; a higher one rebuilds everything from the topics"
    )
    shadow: bool = Field(
        False, description="rebuild a higher epoch beside the old workers, without publishing anything"
    )
    instance_id: str | None = Field(
        None,
        description="static name in the consumer group, unique per worker: a restart by SIGUSR1 moves no partition",
    )
    standby_replicas: int = Field(0, ge=0, le=5, description="other workers that keep a warm copy of each partition")
    changelog_replication: int | None = Field(
        None, ge=1, description="replicas of the tables' changelogs; none: as many as the events topic has"
    )
    commit_interval_s: float = Field(
        1.0, ge=0.05, le=60, description="seconds between commits; output does not wait for them"
    )
    session_timeout_s: float = Field(
        10.0, ge=6, le=300, description="seconds without a heartbeat after which a worker's partitions move"
    )
    chunk_records: int = Field(2000, ge=1, le=100_000, description="most records folded at once")
    block_cache_mb: int = Field(64, ge=1, description="memory for rows read from disk, all tables together")
    dedup_horizon_s: int = Field(
        3600,
        ge=60,
        le=86_400,
        validation_alias="MILLRACE_DEDUP_HORIZON_S",
        description="seconds of received time within which a client's re-send is recognised",
    )
    late_grace_s: int = Field(600, ge=0, description="an event this many seconds older than its receipt counts as late")
    topics_timeout_s: float = Field(60.0, ge=0, description="seconds to wait for the topics to be created")
    stop_timeout_s: float = Field(8.0, gt=0, description="seconds that stopping may take before the worker just ends")

    @property
    def app_id(self) -> str:
        """The engine's name in the cluster, without its epoch."""
        return f"{self.prefix}-streams"

    @property
    def fold(self) -> FoldSettings:
        """What the sessions stage is told."""
        return FoldSettings(horizon_us=self.dedup_horizon_s * 1_000_000, grace_us=self.late_grace_s * 1_000_000)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.shadow and self.epoch == 1:
            raise ValueError(
                "MILLRACE_STREAMS_SHADOW needs a MILLRACE_STREAMS_EPOCH above 1: it rebuilds beside a lower one"
            )
        return self
