"""FULL_TRANSITIVE: what may change between versions, and what may not."""

import copy
from typing import Any

import pytest

from schemas import compatibility, records
from schemas.records import Record, parse

BASE = records.record("session_hour")


def changed(version: int, change: Any) -> Record:
    schema = copy.deepcopy(BASE.schema)
    change(schema, {f["name"]: f for f in schema["fields"]})
    return parse(BASE.name, version, schema)


def test_what_we_ship_is_compatible(capsys: pytest.CaptureFixture[str]) -> None:
    assert compatibility.main() == 0
    assert "every version reads every other" in capsys.readouterr().out


def test_adding_and_removing_fields_with_defaults_is_compatible() -> None:
    extra = {"name": "x", "type": ["null", "string"], "default": None, "doc": "X.", "otel": [], "class": "usage"}
    more = changed(2, lambda schema, _: schema["fields"].append(extra))
    less = changed(3, lambda schema, fields: schema["fields"].remove(fields["team"]))
    assert compatibility.full_transitive([BASE, more, less]) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _, f: f["prompts"].update(type="double", default=0.0), "prompts is long and double"),
        (lambda _, f: f["team"].update(type="string", default=""), "team is string or null and string"),
        (lambda _, f: f["epoch"].update(type="long"), "epoch is int and long"),
        (lambda s, f: s["fields"].remove(f["start"]), "start is in one of them only"),
        (lambda _, f: f["start"].update(name="begin"), "begin is in one of them only"),
        (lambda s, _: s.update(name="Hour"), "the record is called"),
    ],
)
def test_a_breaking_change_is_found(change: Any, why: str) -> None:
    found = compatibility.full_transitive([BASE, changed(2, change)])
    assert any(why in line for line in found), found


def test_versions_that_are_not_neighbours_are_compared() -> None:
    """v1 has x as long, v2 drops it, v3 brings it back as string: each step is fine, the whole is not."""
    extra = {"name": "x", "type": ["null", "long"], "default": None, "doc": "X.", "otel": [], "class": "usage"}
    one = changed(1, lambda schema, _: schema["fields"].append(extra))
    two = changed(2, lambda schema, _: None)
    three = changed(3, lambda schema, _: schema["fields"].append({**extra, "type": ["null", "string"]}))
    assert compatibility.full_transitive([one, two]) == []
    assert compatibility.full_transitive([two, three]) == []
    assert compatibility.full_transitive([one, two, three]) == [
        "session_hour v1 and v3: x is long or null and string or null"
    ]


def test_the_check_fails_on_a_breaking_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = {1: BASE, 2: changed(2, lambda _, f: f["epoch"].update(type="long"))}
    monkeypatch.setattr(records, "_shipped", lambda: {"session_hour": shipped})
    monkeypatch.setattr(records, "NAMES", ("session_hour",))
    assert compatibility.main() == 1
    assert "epoch is int and long" in capsys.readouterr().out
