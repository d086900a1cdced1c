from pathlib import Path

import pytest

from millrace import config
from millrace.config import PACKAGES
from millrace.settings import StackSettings
from service.settings import describe


@pytest.fixture(scope="module")
def shown() -> config.Config:
    return config.collect()


def test_every_process_shows_its_settings(shown: config.Config) -> None:
    processes = {row["process"] for row in shown.settings}
    assert {"all", "millrace", "gateway", "streams", "sinks"} <= processes
    names = [row["env"] for row in shown.settings]
    assert len(names) == len(set(names))
    assert {"MILLRACE_DATA", "MILLRACE_GATEWAY_GRPC_PORT", "MILLRACE_STREAMS_HEALTH_PORT", "MILLRACE_SQL_PORT"} <= set(
        names
    )
    assert all(row["meaning"] for row in shown.settings), [row["env"] for row in shown.settings if not row["meaning"]]


def test_the_stack_and_the_processes_agree_on_ports() -> None:
    """The stack passes its ports on, so a difference would be seen by nobody but who runs a process alone."""
    ours = {row.env: row.default for row in describe(StackSettings) if row.env.endswith("_PORT")}
    theirs = {
        row["env"]: row["default"]
        for package in PACKAGES[1:]
        for row in config.collect([package]).settings
        if row["env"].endswith("_PORT")
    }
    assert {name: theirs.get(name) for name in ours if name != "MILLRACE_KAFKA_PORT"} == {
        name: port for name, port in ours.items() if name != "MILLRACE_KAFKA_PORT"
    }


def test_faults_of_all_processes_are_told_and_values_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_PREFIX", "not allowed")
    monkeypatch.setenv("MILLRACE_SQLPORT", "1")
    monkeypatch.setenv("MILLRACE_DATA", "/elsewhere")
    monkeypatch.delenv("MILLRACE_SCREENSHOTS", raising=False)  # of the tests: no process knows it
    found = config.collect()
    assert [fault.split(":")[1].split()[0] for fault in found.faults] == ["MILLRACE_PREFIX", "MILLRACE_SQLPORT"]
    values = {row["env"]: row["value"] for row in found.settings}
    assert values["MILLRACE_DATA"] == str(Path("/elsewhere"))


def test_every_further_streams_worker_has_a_name_and_a_port_of_its_own() -> None:
    assert StackSettings(streams_workers=1).streams_ports() == {"streams": 9465}
    assert StackSettings(streams_workers=3).streams_ports() == {"streams": 9465, "streams-1": 9471, "streams-2": 9472}
