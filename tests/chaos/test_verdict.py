"""A run that began ends with a verdict and a line in the results, whatever happens to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos.brokers import Brokers


class NobodyListens(Brokers):
    """Brokers that are up, by their own words."""

    def __enter__(self) -> Brokers:
        return self


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of runs without Kafka: there are no jars in this folder."""
    (tmp_path / "jars").mkdir()
    monkeypatch.setattr(chaos, "jars", lambda: tmp_path / "jars")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "results.jsonl"


def verdict(results: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], list[str]]:
    """The line in the results and what was said, of a run that is WRONG."""
    assert chaos.main(["--seed", "7", "--results", str(results)]) == 1
    said = capsys.readouterr().out.splitlines()
    (line,) = map(json.loads, results.read_text().splitlines())
    assert (line["seed"], line["verdict"], line["wrong"], said[-1]) == (7, "WRONG", {"run": 1}, "WRONG")
    return line, said


def test_brokers_that_do_not_come_up_make_a_run_wrong(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, said = verdict(results, capsys)
    assert line["errors"][0].startswith("KafkaFault: cannot format Kafka's storage: ")
    assert any(text.startswith("    KafkaFault: cannot format Kafka's storage: ") for text in said)
    assert str(results.parent) not in line["errors"][0]


def test_a_kafka_that_nobody_reaches_makes_a_run_wrong(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos, "Brokers", NobodyListens)
    line, _ = verdict(results, capsys)
    (error,) = line["errors"]
    assert error.startswith("ClusterUnavailable: ")


def test_workers_that_do_not_come_up_make_a_run_wrong(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos, "Brokers", NobodyListens)
    monkeypatch.setattr(chaos, "ensure_topics", lambda *_: ready())
    monkeypatch.setattr(chaos, "_READY_S", 0.1)

    async def ready() -> None: ...

    line, _ = verdict(results, capsys)
    assert line["errors"] == ["TimeoutError: the workers did not come to that within 0 s, or refuse to"]


@pytest.mark.parametrize(
    ("arguments", "static"),
    [(["--seed", "6"], False), (["--seed", "7"], True), (["--seed", "6", "--static"], True)],
)
def test_workers_have_the_static_names_of_the_product_but_in_one_run_of_three(
    results: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], static: bool
) -> None:
    runs: list[chaos.Chaos] = []

    def end(run: chaos.Chaos) -> dict[str, list[str]]:
        runs.append(run)
        return {}

    monkeypatch.setattr(chaos.Chaos, "end", end)
    assert chaos.main([*arguments, "--results", str(results)]) == 0
    names = [worker.environment.get("MILLRACE_STREAMS_INSTANCE_ID") for worker in runs[0].workers]
    assert names == (["chaos-0", "chaos-1"] if static else [None, None])
    assert json.loads(results.read_text())["static"] is static
