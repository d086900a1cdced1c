"""Settings of the console process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from service.settings import ProcessSettings


class ConsoleSettings(ProcessSettings):
    """What `python -m console` is told by its environment."""

    model_config = SettingsConfigDict(env_prefix="MILLRACE_CONSOLE_")
    process: ClassVar[str] = "console"

    host: str = Field("127.0.0.1", description="address of the pages")
    port: int = Field(8080, ge=0, le=65535, description="port of the pages")
    health_port: int = Field(9467, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    stop_timeout_s: float = Field(5.0, gt=0, description="seconds that running answers may take at the end")
    public_url: str | None = Field(
        None, pattern=r"^https?://[^/]+$", description="how browsers reach it, https://host; none: http://host:port"
    )
    sql_url: str = Field(
        "http://127.0.0.1:8081",
        pattern=r"^https?://[^/]",
        validation_alias="MILLRACE_SQL_URL",
        description="SQL service",
    )
    sql_timeout_s: float = Field(15.0, gt=0, description="seconds that a page waits for the SQL service")
    answers_kept_s: float = Field(
        2.0, ge=0, description="seconds that an answer is shown again to who may see the same, content never"
    )
    key: SecretStr = Field(description="an admin key: with it the console asks as the person who is signed in")
    secret: SecretStr = Field(min_length=32, description="secret that signs cookies and sign-in links")
    idle_s: float = Field(8 * 3600, gt=0, description="seconds without a request after which one must sign in again")
    absolute_s: float = Field(24 * 3600, gt=0, description="seconds after which one must sign in again in any case")
    tenant: str = Field(
        "local", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="tenant of new keys, unless one is chosen"
    )
    ingest_grpc_url: str = Field(
        "http://127.0.0.1:4317", pattern=r"^https?://[^/]", description="where clients send OTLP over gRPC"
    )
    ingest_http_url: str = Field(
        "http://127.0.0.1:4318", pattern=r"^https?://[^/]", description="where clients send OTLP over HTTP"
    )

    @property
    def base_url(self) -> str:
        """How browsers reach the console, without a slash at the end."""
        return self.public_url or f"http://{self.host}:{self.port}"
