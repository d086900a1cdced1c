"""FULL_TRANSITIVE: what may change between versions, and what may not."""

import copy
import json
import subprocess
from pathlib import Path
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


class TestTheCommand:
    """As `make check` runs it, on a copy of what we ship."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for path in records.FOLDER.glob("*/v*.avsc"):
            copy_to = tmp_path / path.parent.name / path.name
            copy_to.parent.mkdir(exist_ok=True)
            copy_to.write_text(path.read_text())
        (tmp_path / "released.txt").write_text("# nothing yet\n")
        return tmp_path

    @staticmethod
    def run(folder: Path, *arguments: str) -> int:
        return compatibility.main(arguments, folder=folder, file=folder / "released.txt")

    @staticmethod
    def rewrite(folder: Path, version: int, change: Any, record: str = "session_hour") -> None:
        schema = json.loads((folder / record / "v1.avsc").read_text())
        change(schema, {f["name"]: f for f in schema["fields"]})
        (folder / record / f"v{version}.avsc").write_text(json.dumps(schema))

    def test_a_breaking_version_fails_and_is_never_released(self, folder: Path, capsys: Any) -> None:
        self.rewrite(folder, 2, lambda _, f: f["epoch"].update(type="long"))
        assert self.run(folder) == 1
        assert self.run(folder, "release") == 1
        assert "session_hour v1 and v2: epoch is int and long" in capsys.readouterr().out
        assert compatibility.released((folder / "released.txt").read_text()) == {}

    @pytest.mark.parametrize(
        "change",
        [
            lambda s, f: s["fields"].remove(f["team"]),
            lambda s, f: s["fields"].append({**f["team"], "name": "team_again"}),
            lambda s, f: s["fields"].reverse(),
            lambda s, f: f["prompts"].update(default=7),
            lambda s, f: f["start"].update(type="long"),
            lambda s, f: f["team"].update(name="squad"),
            lambda s, _: s.update(namespace="elsewhere"),
        ],
    )
    def test_a_released_version_cannot_change(self, folder: Path, change: Any, capsys: Any) -> None:
        assert self.run(folder, "release") == 0
        self.rewrite(folder, 1, change)
        assert self.run(folder) == 1
        assert "session_hour v1 was released and has changed: put it back, and make v2" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (lambda s, f: s["fields"].append(f["team"]), "team is there twice"),
            (lambda _, f: f["team"].update(default="none"), 'the default of team, "none", is no "null"'),
            (lambda _, f: f["prompts"].update(default="0"), "Default value <0> must match schema type: long"),
            (lambda _, f: f["prompts"].update(default=None), "Default value <None> must match schema type: long"),
            (lambda _, f: f["prompts"].update(default=True), 'the default of prompts, true, is no "long"'),
        ],
    )
    def test_a_version_that_no_avro_library_reads_fails_with_one_line(
        self, folder: Path, change: Any, why: str, capsys: Any
    ) -> None:
        self.rewrite(folder, 2, change)
        assert self.run(folder) == 1
        out = capsys.readouterr().out
        assert "session_hour" in out
        assert out.endswith(f": {why}\n")
        assert out.count("\n") == 1

    def test_what_is_no_schema_of_ours_fails_with_one_line(self, folder: Path, capsys: Any) -> None:
        self.rewrite(folder, 2, lambda _, f: f["team"].update(type=["string", "null"]))
        assert self.run(folder) == 1
        assert capsys.readouterr().out.endswith("session_hour/v2.avsc: team: a union must be [null, type]\n")

    @staticmethod
    def tag(folder: Path, name: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
        for arguments in (("init", "-q"), ("add", "."), ("commit", "-q", "--allow-empty", "-m", "x"), ("tag", name)):
            subprocess.run(["git", *who, *arguments], cwd=folder, check=True)

    def test_a_tagged_release_without_released_records_fails(self, folder: Path, capsys: Any) -> None:
        self.tag(folder, "w1")
        assert self.run(folder) == 0
        self.tag(folder, "v1.0.0")
        capsys.readouterr()
        assert self.run(folder) == 1
        cure = "run python -m schemas.compatibility release"
        assert capsys.readouterr().out == f"v1.0.0 is tagged and released.txt is empty: {cure}\n"
        assert self.run(folder, "release") == 0
        assert self.run(folder) == 0

    def test_what_a_tagged_release_had_cannot_be_taken_out(self, folder: Path, capsys: Any) -> None:
        assert self.run(folder, "release") == 0
        self.tag(folder, "v1.0.0")
        file = folder / "released.txt"
        file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("audit ")))
        capsys.readouterr()
        assert (self.run(folder), self.run(folder, "release")) == (1, 1)
        line = "audit v1 was released with v1.0.0 and is not so in released.txt: put its line back\n"
        assert capsys.readouterr().out == line * 2

    def test_a_version_may_change_until_it_is_released(self, folder: Path) -> None:
        self.rewrite(folder, 1, lambda s, f: s["fields"].remove(f["team"]))
        assert self.run(folder) == 0

    def test_a_released_version_cannot_go(self, folder: Path, capsys: Any) -> None:
        assert self.run(folder, "release") == 0
        (folder / "audit" / "v1.avsc").unlink()
        assert self.run(folder) == 1
        assert "audit v1 was released and is gone: put it back" in capsys.readouterr().out

    def test_descriptions_and_wire_names_of_a_released_version_may_be_mended(self, folder: Path) -> None:
        assert self.run(folder, "release") == 0
        self.rewrite(folder, 1, lambda _, f: f["team"].update(doc="Better said.", otel=["team"]))
        assert self.run(folder) == 0

    def test_a_release_adds_what_is_new_and_keeps_what_was(self, folder: Path) -> None:
        assert self.run(folder, "release") == 0
        before = compatibility.released((folder / "released.txt").read_text())
        self.rewrite(folder, 2, lambda s, f: s["fields"].remove(f["team"]))
        assert self.run(folder) == 0
        assert self.run(folder, "release") == 0
        after = compatibility.released((folder / "released.txt").read_text())
        assert after.keys() - before.keys() == {("session_hour", 2)}
        assert before.items() <= after.items()
