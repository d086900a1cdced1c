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
    done = chaos(
        "--seed", "4", "--minutes", "0.3", "--faults", "kill,wipe,damage,zombie,term", "--results", str(results)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "EXACT"
    assert '"verdict": "EXACT"' in results.read_text()


@pytest.mark.parametrize(
    ("protection", "faults", "minutes", "wrong"),
    [("ids", "kill", "0.1", "sessions: "), ("versions", "zombie", "0.7", "changelog of ")],
)
def test_without_a_protection_the_same_faults_are_found_to_do_harm(
    protection: str, faults: str, minutes: str, wrong: str
) -> None:
    """Control. If this is exact, the verifier is blind."""
    done = chaos("--seed", "5", "--minutes", minutes, "--faults", faults, "--without", protection)
    assert done.stdout.splitlines()[-1] == "WRONG", done.stdout + done.stderr
    assert done.returncode == 1
    assert any(line.startswith(wrong) and line.endswith(" wrong") for line in done.stdout.splitlines())
