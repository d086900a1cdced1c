"""What the README says of settings, metrics and questions is so."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.metrics import MetricSet

README = (Path(__file__).parents[1] / "README.md").read_text()
MODULES = ("ingest_gateway.metrics", "streams.metrics", "sinks.metrics", "sinks.query.metrics")


@pytest.mark.parametrize("module", MODULES)
def test_every_metric_stands_in_the_readme_as_it_is_declared(module: str) -> None:
    found = vars(importlib.import_module(module)).values()
    sets = [one for one in found if isinstance(one, type) and issubclass(one, MetricSet) and one.SPECS]
    assert sets
    for spec in (spec for one in sets for spec in one.SPECS):
        line = f"| `{spec.name}` | {spec.kind} | {', '.join(spec.labels)} | {spec.meaning} |"
        assert line in README, line


def test_the_readme_names_no_metric_that_is_not() -> None:
    declared = {
        spec.name
        for module in MODULES
        for one in vars(importlib.import_module(module)).values()
        if isinstance(one, type) and issubclass(one, MetricSet)
        for spec in one.SPECS
    }
    assert set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) ", README, re.MULTILINE)) == declared


@pytest.mark.parametrize("what", ["gateway, gRPC", "gateway, HTTP protobuf", "gateway, HTTP JSON"])
@pytest.mark.parametrize("size", [1, 20, 100])
def test_the_readme_says_what_a_million_records_cost_the_gateway(what: str, size: int) -> None:
    assert re.search(rf"^\| {what}, {size} a request \| [\d,]+ \| [\d.]+ \| ", README, re.MULTILINE)


@pytest.mark.parametrize("what", ["streams: ", "sinks: query tables", "sinks: lake"])
def test_the_readme_says_what_a_million_records_cost_behind_kafka(what: str) -> None:
    assert re.search(rf"^\| {what}[^|]*\| [\d,]+ \| [\d.]+ \| ", README, re.MULTILINE)


CHAOS = [json.loads(line) for line in (Path(__file__).parent / "chaos" / "results.jsonl").read_text().splitlines()]
RUNS = [run for run in CHAOS if run.get("without") is None]
CONTROLS = [run for run in CHAOS if run.get("without") is not None]
MENDED = "7400afa"
BROKERS = ("broker kill", "broker freeze", "broker slow", "majority kill", "majority freeze")


def sums(runs: list[dict[str, Any]]) -> str:
    def faults(*names: str) -> int:
        return sum(run["faults"].get(name, 0) for run in runs for name in names)

    return (
        f"{sum(run['records'] for run in runs):,} records, {faults('kill', 'wipe', 'damage')} kills, "
        f"{faults('zombie', 'scale', 'term')} zombies and rebalances, "
        f"{faults(*BROKERS)} broker faults"
    )


def test_the_readme_sums_up_the_runs_of_chaos() -> None:
    exact = [run for run in RUNS if run["verdict"] == "EXACT"]
    since = RUNS[next(number for number, run in enumerate(RUNS) if run.get("commit") == MENDED) :]
    assert len(RUNS) - len(exact) == 4, "the four that were WRONG"
    assert all(run["verdict"] == "EXACT" for run in since), "with none WRONG among them"
    text = " ".join(README.split())
    assert f"The exact runs together: {sums(exact)}, with" in text
    assert f"Those since the last of these mends ({MENDED}), with none WRONG among them: {sums(since)}." in text


def test_the_readme_says_how_many_controls_of_chaos_were_wrong() -> None:
    wrong = [run for run in CONTROLS if run["verdict"] == "WRONG"]
    assert f"{len(wrong)} of {len(CONTROLS)} controls were WRONG" in " ".join(README.split())
    seen = {run["without"] for run in wrong if run.get("wrong", {}).get("sessions")}
    assert seen == {"ids", "versions"}, "the verifier found rows of each"


LOADS = ("20,000 sessions, bursts of 10", "20,000 sessions, bursts of 1", "500,000 sessions, bursts of 1")
STREAMS = (
    "engine alone: nine sums per key, decoding left out",
    "session stage the stock Faust way, 20,000 sessions, bursts of 10",
    "session stage, decoded before, 20,000 sessions, bursts of 10",
    *(
        f"{what}, {load}"
        for load in LOADS
        for what in ("small aggregate in Kafka Streams", "small aggregate on the engine", "session stage")
    ),
    *(f"small aggregate on the engine, {count} sessions in state" for count in ("10,000", "2,000,000")),
    *(f"small aggregate on the engine, {count}" for count in ("1 partition", "4 partitions", "16 partitions")),
)


@pytest.mark.parametrize("what", STREAMS)
def test_the_readme_says_what_the_streams_candidates_cost_and_what_memory_they_took(what: str) -> None:
    assert re.search(rf"^\| {re.escape(what)} \| [\d,]+ \| [\d.]+ \| [\d,]+ \| \d+ MiB at most", README, re.MULTILINE)


@pytest.mark.parametrize("what", ["small aggregate on the engine", "full session rows", "session stage"])
def test_the_readme_says_how_fast_lost_rows_come_back(what: str) -> None:
    line = rf"^- recovery, {what}: [\d,]+ rows, [\d,]+ MB of changelog in [\d.]+ s; "
    assert re.search(line, README, re.MULTILINE)
