"""The .avsc files: complete, documented, and the only list of fields."""

import json
import re
from pathlib import Path

import pytest

from schemas import codec, records
from schemas.mapping.tables import MAPPINGS
from schemas.topics import CATALOGUE

TESTS = Path(__file__).parents[1]
SEEDS = TESTS.parents[1] / "shared" / "seeds"

OWN = {"name", "type", "default", "doc", "otel", "class", "unit", "derive", "content", "aggregate"}


@pytest.mark.parametrize("name", records.NAMES)
def test_every_field_says_what_it_means(name: str) -> None:
    for version in records.versions(name):
        for spec in records.record(name, version).schema["fields"]:
            assert spec["doc"].endswith("."), spec["name"]
            assert isinstance(spec["otel"], list), spec["name"]
            assert spec["class"] in records.CLASSES, spec["name"]
            assert set(spec) <= OWN, spec["name"]


@pytest.mark.parametrize("name", records.NAMES)
def test_numbers_that_measure_have_a_unit(name: str) -> None:
    unitless = {
        "event_sequence", "severity_number", "trace_flags", "status_code", "http_status_code", "flags", "value",
        "value_int", "body_length", "sum", "min", "max", "interaction_sequence", "version", "epoch", "metric_totals",
        "source_partition", "source_offset", "policy_version",
    }  # fmt: skip
    for field in records.record(name).fields:
        if field.type in ("long", "int", "double", "map_long", "map_double") and field.name not in unitless:
            assert field.unit, field.name
        if field.type == "timestamp":
            assert field.unit == "us", field.name


def test_every_topic_has_its_record_and_every_record_its_topic() -> None:
    assert sorted(topic.record for topic in CATALOGUE.values()) == sorted(records.NAMES)


@pytest.mark.skipif(not SEEDS.exists(), reason="../shared/seeds is not beside this clone")
def test_every_field_of_the_published_peer_schema_has_a_field() -> None:
    text = next(SEEDS.glob("001_*")).read_text()
    schema = text[text.index("- name: attributes\n") :]
    wanted = set(re.findall(r"^ {6}- name: (\w+)$", schema, re.MULTILINE))
    assert len(wanted) > 100
    assert wanted - {f.name for f in records.record("claude_event").fields} == set()


def test_only_the_identity_of_an_event_is_not_null() -> None:
    required = {f.name for f in records.record("claude_event").fields if f.required}
    assert required == {"event_id", "tenant", "event_name", "event_time", "received_time"}


def test_the_totals_are_the_same_in_sessions_hours_and_windows() -> None:
    session, hour, window = (records.record(name) for name in ("session", "session_hour", "user_window"))
    assert session.sums == hour.sums == window.sums
    assert len(session.sums) == 26
    assert [session.field(n).type for n in session.sums] == [window.field(n).type for n in session.sums]


def test_text_of_class_content_is_only_ever_a_mark_in_events() -> None:
    fields = records.record("claude_event").fields
    content = {f.name for f in fields if f.cls == "content"} | {f.name for f in fields if f.content}
    assert content == {"prompt", "prompt_text", "response", "body", "tool_input", "tool_parameters"}


def test_personal_fields_are_of_class_person() -> None:
    for name in ("claude_event", "metric_point", "claude_span", "session"):
        for field in ("user_email", "user_account_uuid", "user_id"):
            assert records.record(name).field(field).cls == "person"


def test_there_are_no_orphan_files() -> None:
    known = {f"{name}/v{version}.avsc" for name in records.NAMES for version in records.versions(name)}
    known |= {"released.txt", "catalogue.json"}
    known |= {f"{name}/examples/{path.name}" for name in records.NAMES for path in _examples(name)}
    known |= {"policy/gitleaks.toml", "policy/gitleaks.LICENSE", "policy/rules.toml"}
    known |= {f"mapping/{name}.json" for name in MAPPINGS}
    found = {
        str(path.relative_to(records.FOLDER))
        for path in records.FOLDER.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi", ".so")
    }
    assert found == known


def _examples(name: str) -> list[Path]:
    return sorted((records.FOLDER / name / "examples").glob("*.json"))


@pytest.mark.parametrize("name", records.NAMES)
def test_every_record_has_an_example(name: str) -> None:
    assert _examples(name)


@pytest.mark.parametrize(
    "path", [p for n in records.NAMES for p in _examples(n)], ids=lambda p: f"{p.parents[1].name}-{p.stem}"
)
def test_every_example_reads_with_every_version(path: Path) -> None:
    name = path.parents[1].name
    value = json.loads(path.read_text())
    for field in records.record(name).fields:
        if field.type == "bytes" and field.name in value:
            value[field.name] = value[field.name].encode("latin-1")  # As Avro's JSON encoding writes bytes.
    assert value.items() <= codec.decode(name, codec.encode(name, value)).items()
    for version in records.versions(name):
        known = {k: v for k, v in value.items() if k in records.record(name, version).by_name}
        data = codec.Encoder(records.record(name, version)).encode(known)
        assert known.items() <= codec.decode(name, data).items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "secret"}, "unknown class"),
        ({"type": ["string", "null"]}, "union"),
        ({"type": "float"}, "unsupported"),
        ({"content": ["b"]}, "`content` names"),
        ({"doc": None}, "doc"),
    ],
)
def test_a_field_that_breaks_the_rules_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    field = {"name": "a", "type": "string", "doc": "A.", "otel": ["a"], "class": "usage"} | change
    if field["doc"] is None:
        del field["doc"]
    (tmp_path / "thing").mkdir()
    schema = {"type": "record", "name": "Thing", "namespace": "millrace", "fields": [field]}
    (tmp_path / "thing" / "v1.avsc").write_text(json.dumps(schema))
    with pytest.raises(ValueError, match=message):
        records.load(tmp_path)


def test_a_hole_in_the_versions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    schema = {"type": "record", "name": "Thing", "namespace": "millrace", "fields": []}
    for version in (1, 3):
        (tmp_path / "thing" / f"v{version}.avsc").write_text(json.dumps(schema))
    with pytest.raises(ValueError, match="without holes"):
        records.load(tmp_path)
