"""Settings of the console process."""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from service.settings import ProcessSettings

_TENANT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
EVERY_TENANT = "*"


class GroupGrant(BaseModel):
    """What a group of the identity provider gives.  tenant: None: as the other settings say; *: every tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    roles: tuple[str, ...] = Field(min_length=1)
    tenant: str | None = Field(None, pattern=rf"{_TENANT}|^\*$")

    def __repr__(self) -> str:
        """As `millrace config` shows it."""
        return repr(self.model_dump(exclude_none=True))


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
    page_timeout_s: float = Field(
        40.0, gt=0, description="seconds after which an open page takes a part that it asked for as not answered"
    )
    answers_kept_s: float = Field(
        1.0, ge=0, description="seconds that an answer is shown again to who may see the same, content never"
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

    signin_failures: int = Field(
        10, ge=1, le=1000, description="failed sign-ins of one address after which it must wait"
    )
    signin_failures_in_all: int = Field(
        300, ge=1, le=100_000, description="failed sign-ins of all addresses after which everybody must wait"
    )
    signin_starts: int = Field(
        300,
        ge=1,
        le=10_000,
        description="sign-ins that one address may begin at the provider, after which it must wait",
    )
    signin_window_s: float = Field(300.0, gt=0, description="seconds within which these are counted")
    oidc_issuer: str | None = Field(
        None, pattern=r"^https?://[^/]", description="identity provider (OpenID Connect); none: one-time links only"
    )
    oidc_client_id: str | None = Field(None, min_length=1, description="this console, as the provider knows it")
    oidc_client_secret: SecretStr | None = Field(None, description="its secret; none: a public client, by PKCE alone")
    oidc_scopes: str = Field("openid profile email", description="what is asked for, openid among it")
    oidc_groups_claim: str = Field("groups", min_length=1, description="claim with the groups of a person")
    oidc_groups: Annotated[dict[str, GroupGrant], NoDecode] = Field(
        default_factory=dict,
        description='group to roles, as JSON: {"sec": ["security"], "root": {"roles": ["admin"], "tenant": "*"}}',
    )
    oidc_email_trusted: bool = Field(
        False, description="whether an e-mail names a person in the audit if the provider does not say it verified it"
    )
    trusted_proxies: str = Field(
        "", description="addresses of proxies whose X-Forwarded-For names the client, by commas; none: nobody's does"
    )
    oidc_tenant: str | None = Field(
        None, pattern=_TENANT, description="tenant of who signs in so and whose groups name none; none: console tenant"
    )
    oidc_tenant_claim: str | None = Field(None, min_length=1, description="claim with the tenant of a person instead")
    oidc_timeout_s: float = Field(10.0, gt=0, description="seconds that the identity provider may take to answer")

    @field_validator("oidc_groups", mode="before")
    @classmethod
    def _groups_of_json(cls, value: object) -> object:
        """From JSON; a list stands for roles without a tenant of their own."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError(f"no JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError('an object is needed, as {"group": ["role"]}')
        return {name: {"roles": one} if isinstance(one, list) else one for name, one in value.items()}

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> ConsoleSettings:
        if self.oidc_issuer is None:
            return self
        if self.oidc_client_id is None or not self.oidc_groups:
            raise ValueError("with an OIDC issuer, MILLRACE_CONSOLE_OIDC_CLIENT_ID and ..._OIDC_GROUPS are needed too")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("MILLRACE_CONSOLE_OIDC_SCOPES must have openid")
        if not safe_url(self.oidc_issuer):
            raise ValueError("MILLRACE_CONSOLE_OIDC_ISSUER must be https (http only on this machine)")
        return self

    @property
    def base_url(self) -> str:
        """How browsers reach the console, without a slash at the end."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def grants(self) -> str:
        """What makes roles of what a provider says of people: whoever has a role by it has it by the same text."""
        said = self.model_dump_json(
            include={"oidc_issuer", "oidc_groups_claim", "oidc_groups", "oidc_tenant", "oidc_tenant_claim", "tenant"}
        )
        return "" if self.oidc_issuer is None else said


def safe_url(url: str) -> bool:
    """Whether what is sent there and comes from there is safe from others: https, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    try:
        return parts.scheme == "http" and (
            parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        return False
