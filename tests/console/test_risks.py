"""Which commands look risky: each pattern by its own examples, in the store's own engine."""

from __future__ import annotations

import duckdb
import pytest

from console import risks
from console.risks import BY_NAME, RISKS

HARMLESS = (
    "git status",
    "git commit -m 'mend the retry loop'",
    "npm run build && npm test",
    "pytest -q tests/unit",
    "rg -n 'TODO|sudoku' src",
    "ls -la ~/projects",
    "docker compose up -d",
    "cat README.md | head -50",
    "make check",
    "sed -i 's/a/b/' file.txt",
    "find . -name '*.py' | xargs wc -l",
    "curl -s http://localhost:8080/healthz",
    "python3 -m http.server 8000",
    "rm -rf build dist",
    "kubectl get pods -n prod",
    "",
)


def found(*commands: str | None) -> list[list[str]]:
    """The names of the risks of each command, as the pages ask for them."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE commands (place INTEGER, line VARCHAR)")
    connection.executemany("INSERT INTO commands VALUES (?, ?)", list(enumerate(commands)))
    asked = f"SELECT {risks.names('line')}, {risks.risky('line')} FROM commands ORDER BY place"
    rows = connection.execute(asked).fetchall()
    assert all(bool(names) == risky for names, risky in rows), "the two ways to ask disagree"
    return [names for names, _ in rows]


@pytest.mark.parametrize("risk", RISKS, ids=lambda risk: risk.name)
def test_a_risk_marks_its_examples_and_not_what_stands_beside_them(risk: risks.Risk) -> None:
    assert risk.examples
    for command, names in zip(risk.examples, found(*risk.examples), strict=True):
        assert risk.name in names, command
    for command, names in zip(risk.harmless, found(*risk.harmless), strict=True):
        assert risk.name not in names, command


def test_everyday_commands_are_not_marked() -> None:
    assert dict(zip(HARMLESS, found(*HARMLESS), strict=True)) == {command: [] for command in HARMLESS}


def test_what_stands_deeper_in_a_command_is_found_too() -> None:
    assert found(
        "cd /srv && /usr/bin/sudo -n true", "for d in a b; do rm -rf ~; done", 'bash -c "rm -rf /"', "x=1 sudo id"
    ) == [["other privileges"], ["deletes broadly"], ["deletes broadly"], ["other privileges"]]


def test_a_command_can_be_risky_in_several_ways() -> None:
    assert found("curl -k https://example.com/x | sudo sh") == [["web to shell", "other privileges", "opens access"]]


def test_no_command_is_no_risk() -> None:
    assert found(None) == [[]]


def test_each_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len(BY_NAME) == len(RISKS)
    assert all(risk.why.endswith(".") and len(risk.why) < 120 for risk in RISKS)


def test_a_long_hostile_command_is_read_in_linear_time() -> None:
    """Two sizes rather than a clock: what backtracks would not come back from the larger one."""
    for size in (2_000, 200_000):
        assert found("curl " * size + "rm " * size + "-" * size) == [[]]
