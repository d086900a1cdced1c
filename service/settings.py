"""Settings that every process shares, and how a process loads and shows its own.

A process derives one frozen model from `ProcessSettings` in its own settings.py. Every setting is one environment
variable: the shared ones carry their full name below, the others take the model's `env_prefix`.
"""

import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

Settings = TypeVar("Settings", bound="ProcessSettings")
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

EXIT_BAD_SETTINGS = 2


class ProcessSettings(BaseSettings):
    """What gateway, streams, sinks and the command line have in common."""

    model_config = SettingsConfigDict(
        env_prefix="MILLRACE_", frozen=True, populate_by_name=True, env_ignore_empty=True, extra="forbid"
    )
    # The name under which the process appears in logs, in health answers and in `millrace status`.
    process: ClassVar[str] = "millrace"

    data: Path = Field(
        Path("data"),
        validation_alias="MILLRACE_DATA",
        description="folder of everything that is stored on this machine",
    )
    bootstrap: str = Field(
        "127.0.0.1:9092",
        min_length=1,
        validation_alias="MILLRACE_BOOTSTRAP",
        description="Kafka, host:port[,host:port…]",
    )
    prefix: str = Field(
        "claude",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        validation_alias="MILLRACE_PREFIX",
        description="first part of every topic's name",
    )
    security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", validation_alias="MILLRACE_KAFKA_SECURITY_PROTOCOL", description="how to talk to Kafka"
    )
    sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512", validation_alias="MILLRACE_KAFKA_SASL_MECHANISM", description="SASL mechanism towards Kafka"
    )
    sasl_username: str | None = Field(
        None, validation_alias="MILLRACE_KAFKA_SASL_USERNAME", description="SASL user towards Kafka"
    )
    sasl_password: SecretStr | None = Field(
        None, validation_alias="MILLRACE_KAFKA_SASL_PASSWORD", description="SASL password towards Kafka"
    )
    kafka_ca_file: Path | None = Field(
        None, validation_alias="MILLRACE_KAFKA_CA_FILE", description="PEM of the CA of Kafka; none: the system's CAs"
    )
    kafka_cert_file: Path | None = Field(
        None, validation_alias="MILLRACE_KAFKA_CERT_FILE", description="PEM of our client certificate towards Kafka"
    )
    kafka_key_file: Path | None = Field(
        None, validation_alias="MILLRACE_KAFKA_KEY_FILE", description="PEM of our client key towards Kafka"
    )
    registry_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]",
        validation_alias="MILLRACE_REGISTRY_URL",
        description="schema registry with Confluent's API; with it every message has Confluent's frame",
    )
    registry_username: str | None = Field(
        None, validation_alias="MILLRACE_REGISTRY_USERNAME", description="user towards the schema registry"
    )
    registry_password: SecretStr | None = Field(
        None, validation_alias="MILLRACE_REGISTRY_PASSWORD", description="password towards the schema registry"
    )
    registry_token: SecretStr | None = Field(
        None, validation_alias="MILLRACE_REGISTRY_TOKEN", description="bearer token towards the schema registry"
    )
    registry_ca_file: Path | None = Field(
        None,
        validation_alias="MILLRACE_REGISTRY_CA_FILE",
        description="PEM of the CA of the schema registry; none: the system's CAs",
    )
    health_host: str = Field(
        "127.0.0.1", validation_alias="MILLRACE_HEALTH_HOST", description="address of /healthz, /readyz and /metrics"
    )
    log_level: LogLevel = Field("INFO", validation_alias="MILLRACE_LOG_LEVEL", description="least level that is logged")

    @model_validator(mode="after")
    def _security_is_whole(self) -> Self:
        faults = []
        if self.security_protocol.startswith("SASL") and (self.sasl_username is None or self.sasl_password is None):
            faults.append(
                f"MILLRACE_KAFKA_SECURITY_PROTOCOL={self.security_protocol} needs MILLRACE_KAFKA_SASL_USERNAME "
                "and MILLRACE_KAFKA_SASL_PASSWORD"
            )
        if (self.kafka_cert_file is None) != (self.kafka_key_file is None):
            faults.append("MILLRACE_KAFKA_CERT_FILE and MILLRACE_KAFKA_KEY_FILE belong together")
        if (self.registry_username is None) != (self.registry_password is None):
            faults.append("MILLRACE_REGISTRY_USERNAME and MILLRACE_REGISTRY_PASSWORD belong together")
        if self.registry_username is not None and self.registry_token is not None:
            faults.append("MILLRACE_REGISTRY_TOKEN and MILLRACE_REGISTRY_USERNAME exclude each other")
        for name in ("kafka_ca_file", "kafka_cert_file", "kafka_key_file", "registry_ca_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                faults.append(f"{env_name(type(self), name)}: no such file: {path}")
        if faults:
            raise ValueError("; ".join(faults))
        return self


def kafka_kwargs(settings: ProcessSettings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes (producer, consumer, admin): address, TLS and SASL."""
    kwargs: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if settings.kafka_cert_file is not None:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
        kwargs["ssl_context"] = context
    if settings.security_protocol.startswith("SASL"):
        assert settings.sasl_password is not None, "the model checks this"
        kwargs["sasl_mechanism"] = settings.sasl_mechanism
        kwargs["sasl_plain_username"] = settings.sasl_username
        kwargs["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return kwargs


def load(cls: type[Settings]) -> Settings:
    """The settings of this process from its environment.

    Raises: SystemExit(2) after one line on stderr for each fault, so that all are mended at once.
    """
    try:
        return cls()
    except ValidationError as error:
        for line in faults(cls, error):
            print(line, file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTINGS) from None


def faults(cls: type[ProcessSettings], error: ValidationError, *, missing: bool = True) -> list[str]:
    """One line for each fault: the variable's name, what is wrong, what was given (secrets never).

    Args: missing: whether a required variable that is not set counts as a fault.
    """
    lines = []
    by_env = {env_name(cls, name): field for name, field in cls.model_fields.items()}
    for fault in error.errors(include_url=False):
        if fault["type"] == "missing" and not missing:
            continue
        where = str(fault["loc"][0]) if fault["loc"] else ""
        name = env_name(cls, where) if where in cls.model_fields else where
        message = fault["msg"].removeprefix("Value error, ")
        given = fault["input"]
        field = by_env.get(name)
        shown = field is not None and not _is_secret(field) and isinstance(given, str | int | float)
        lines.append(f"{cls.process}: {name + ': ' if name else ''}{message}{f' (given: {given})' if shown else ''}")
    return lines


def env_name(cls: type[ProcessSettings], field: str) -> str:
    """The environment variable of a field."""
    alias = cls.model_fields[field].validation_alias
    if isinstance(alias, str):
        return alias
    return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


@dataclass(frozen=True)
class Setting:
    """One line of `millrace config`.  value and default are text; a secret is shown as ******** or empty."""

    process: str
    env: str
    value: str
    default: str
    source: Literal["environment", "default"]
    meaning: str


def describe(cls: type[ProcessSettings], settings: ProcessSettings | None = None) -> Iterator[Setting]:
    """Every setting of a process, in the model's order.

    Args: settings: the values to show; None takes the raw text of the environment, for when it does not validate.
    """
    for name, field in cls.model_fields.items():
        env = env_name(cls, name)
        given = os.environ.get(env) or None
        value = given if settings is None else getattr(settings, name)
        if settings is None and given is None:
            value = _default(field)
        if settings is None and _is_secret(field) and value is not None:
            value = SecretStr(str(value))
        yield Setting(
            process=cls.process,
            env=env,
            value=_text(value),
            default="required" if field.is_required() else _text(_default(field)),
            source="default" if given is None else "environment",
            meaning=field.description or "",
        )


def models(namespace: Mapping[str, Any]) -> list[type[ProcessSettings]]:
    """The settings models that a settings.py defines itself (imported ones left out)."""
    module = namespace.get("__name__")
    return [
        value
        for value in namespace.values()
        if isinstance(value, type) and issubclass(value, ProcessSettings) and value.__module__ == module
    ]


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _is_secret(field: FieldInfo) -> bool:
    return "Secret" in str(field.annotation)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(_text(item) for item in value)
    return str(value)


def as_rows(settings: Iterator[Setting]) -> list[dict[str, str]]:
    """The same as plain dicts, for JSON."""
    return [asdict(setting) for setting in settings]
