"""The chaos command itself: it finds what is exact exact, and what lacks a protection wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.broker, pytest.mark.slow]


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.chaos", "--rate", "400", "--sessions", "40", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=600)


def test_faults_drawn_from_a_seed_leave_every_row_exact(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    done = chaos("--seed", "4", "--minutes", "0.2", "--faults", "kill,wipe,term", "--results", str(results))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "EXACT"
    assert '"verdict": "EXACT"' in results.read_text()


def test_no_row_depends_on_the_clocks_of_the_workers() -> None:
    done = chaos("--seed", "6", "--minutes", "0.2", "--faults", "clock step")
    assert done.stdout.splitlines()[-1] == "EXACT", done.stdout + done.stderr
    assert " has its clock set " in done.stdout
    assert "exit code" not in done.stdout, "none ended"


def test_without_the_ids_of_records_the_resends_are_found_to_count() -> None:
    """Control. If this is exact, the verifier is blind."""
    done = chaos("--seed", "5", "--minutes", "0.1", "--faults", "kill", "--without", "ids")
    assert done.stdout.splitlines()[-1] == "WRONG", done.stdout + done.stderr
    assert done.returncode == 1
    assert any(line.startswith("sessions: ") and line.endswith(" wrong") for line in done.stdout.splitlines())
