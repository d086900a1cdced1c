"""The chaos command itself: it finds what is exact exact, and what lacks a protection wrong."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.broker, pytest.mark.slow]


class Chaos:
    """A run of the command, from its making on; `end` waits for it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.results = folder / "results.jsonl"
        command = [sys.executable, "-m", "tests.chaos", "--rate", "400", "--sessions", "40"]
        command += ["--results", str(self.results), *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(self, verdict: str) -> tuple[int, str]:
        """Exit code and what it said, which ends with this verdict."""
        said, errors = self.process.communicate(timeout=600)
        assert said.splitlines()[-1:] == [verdict], said + errors
        return self.process.returncode, said


RUNS = {
    "protected": "--seed 4 --minutes 0.2 --faults kill,wipe,term --cut",
    "without ids": "--seed 5 --minutes 0.1 --faults kill --without ids",
    "clocks": "--seed 6 --minutes 0.2 --faults 'clock step'",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Chaos]]:
    """All at once: they wait for most of their time."""
    begun = {name: Chaos(tmp_path_factory.mktemp("chaos"), *shlex.split(words)) for name, words in RUNS.items()}
    yield begun
    for run in begun.values():
        run.process.kill()


def test_faults_drawn_from_a_seed_leave_every_row_exact(runs: dict[str, Chaos]) -> None:
    run = runs["protected"]
    code, said = run.end("EXACT")
    assert code == 0
    assert "has lost its end" in said
    assert "changelog without its end: exact" in said
    assert '"verdict": "EXACT"' in run.results.read_text()


def test_without_the_ids_of_records_the_resends_are_found_to_count(runs: dict[str, Chaos]) -> None:
    """Control. If this is exact, the verifier is blind."""
    code, said = runs["without ids"].end("WRONG")
    assert code == 1
    assert any(line.startswith("sessions: ") and line.endswith(" wrong") for line in said.splitlines()), said


def test_no_row_depends_on_the_clocks_of_the_workers(runs: dict[str, Chaos]) -> None:
    _, said = runs["clocks"].end("EXACT")
    assert " has its clock set " in said
    assert "exit code" not in said, "none ended"
