from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from service.settings import ProcessSettings, describe, kafka_kwargs, load


class ExampleSettings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="MILLRACE_EXAMPLE_")
    process: ClassVar[str] = "example"

    port: int = Field(4000, ge=1, le=65535, description="where it listens")
    token: SecretStr | None = Field(None, description="a secret")


def test_shared_and_own_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DATA", "/somewhere")
    monkeypatch.setenv("MILLRACE_BOOTSTRAP", "kafka:1234")
    monkeypatch.setenv("MILLRACE_EXAMPLE_PORT", "4001")
    settings = load(ExampleSettings)
    assert (settings.data, settings.bootstrap, settings.port) == (Path("/somewhere"), "kafka:1234", 4001)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_EXAMPLE_PORT", "")
    assert load(ExampleSettings).port == 4000


def test_values_can_be_given_by_name() -> None:
    assert ExampleSettings(bootstrap="a:1", port=7).bootstrap == "a:1"


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MILLRACE_EXAMPLE_PORT", "70000")
    monkeypatch.setenv("MILLRACE_PREFIX", "no spaces")
    monkeypatch.setenv("MILLRACE_LOG_LEVEL", "LOUD")
    with pytest.raises(SystemExit) as exit_:
        load(ExampleSettings)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert {line.split()[1].rstrip(":") for line in lines} == {
        "MILLRACE_EXAMPLE_PORT",
        "MILLRACE_PREFIX",
        "MILLRACE_LOG_LEVEL",
    }


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_EXAMPLE_TOKEN", "hunter2")
    monkeypatch.setenv("MILLRACE_KAFKA_SASL_PASSWORD", "hunter3")
    settings = load(ExampleSettings)
    shown = {line.env: line.value for line in (*describe(ExampleSettings, settings), *describe(ExampleSettings))}
    assert "hunter" not in repr(settings) + str(shown)
    assert shown["MILLRACE_EXAMPLE_TOKEN"] == "**********"


def test_half_of_sasl_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MILLRACE_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("MILLRACE_KAFKA_CA_FILE", "/not/there.pem")
    with pytest.raises(SystemExit):
        load(ExampleSettings)
    told = capsys.readouterr().err
    assert "MILLRACE_KAFKA_SASL_USERNAME" in told
    assert "MILLRACE_KAFKA_CA_FILE: no such file: /not/there.pem" in told


def test_sasl_reaches_the_client() -> None:
    settings = ExampleSettings(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="u", sasl_password=SecretStr("p")
    )
    assert kafka_kwargs(settings) == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }


def test_every_setting_has_a_meaning() -> None:
    assert all(setting.meaning for setting in describe(ExampleSettings))
