"""What the environment says to the sinks process."""

from pathlib import Path

import pytest

from service.settings import describe, load
from sinks.settings import SinksSettings


def test_the_lake_lies_in_the_data_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DATA", str(tmp_path))
    assert load(SinksSettings).catalog == {
        "uri": f"sqlite:///{tmp_path}/lake/catalog.db",
        "warehouse": f"file://{tmp_path}/lake/warehouse",
    }


def test_any_catalog_and_store_by_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAKE_CATALOG_URI", "postgresql+psycopg://catalog")
    monkeypatch.setenv("MILLRACE_LAKE_WAREHOUSE", "s3://bucket/lake")
    given = '{"s3.endpoint": "http://store", "s3.connect-timeout": 5, "s3.force-virtual-addressing": false}'
    monkeypatch.setenv("MILLRACE_LAKE_PROPERTIES", given)
    assert load(SinksSettings).catalog == {
        "uri": "postgresql+psycopg://catalog",
        "warehouse": "s3://bucket/lake",
        "s3.endpoint": "http://store",
        "s3.connect-timeout": "5",
        "s3.force-virtual-addressing": "false",
    }


@pytest.mark.parametrize("given", ["s3cret", '["s3cret"]', '{"s3.secret-access-key": {"value": "s3cret"}}'])
def test_bad_properties_are_refused_without_being_shown(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_LAKE_PROPERTIES", given)
    with pytest.raises(SystemExit):
        load(SinksSettings)
    said = capsys.readouterr().err
    assert "MILLRACE_LAKE_PROPERTIES must be a JSON object" in said
    assert "s3cret" not in said


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAKE_PROPERTIES", '{"s3.secret-access-key": "s3cret"}')
    settings = load(SinksSettings)
    assert "s3cret" not in repr(settings)
    assert all("s3cret" not in setting.value for setting in describe(SinksSettings, settings))


def test_every_setting_says_what_it_is() -> None:
    settings = list(describe(SinksSettings))
    assert all(setting.env.startswith("MILLRACE_") and setting.meaning for setting in settings)
    assert len({setting.env for setting in settings}) == len(settings)
