"""The AsyncAPI document: valid, whole, in step with the repository, and its payloads readable by Avro's own library."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import avro.schema
import jsonschema_rs
import pytest

from schemas import asyncapi, codec, records
from schemas.topics import CATALOGUE, full_name

OFFICIAL = Path(__file__).parents[1] / "reference" / "asyncapi-3.0.0.json.gz"
DOCUMENT = asyncapi.document()


@pytest.fixture(scope="module")
def official() -> Any:
    return jsonschema_rs.validator_for(json.loads(gzip.decompress(OFFICIAL.read_bytes())))


def test_it_is_valid_by_asyncapis_own_schema(official: Any) -> None:
    official.validate(DOCUMENT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("info"),
        lambda d: d["channels"]["events"].update(address=5),
        lambda d: d["channels"]["events"]["bindings"]["kafka"].update(partitions=0),
        lambda d: d["operations"]["send-events"].update(action="shout"),
    ],
)
def test_the_official_schema_does_refuse(official: Any, spoil: Callable[[Any], Any]) -> None:
    wrong = copy.deepcopy(DOCUMENT)
    spoil(wrong)
    assert not official.is_valid(wrong)


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    found = references(DOCUMENT)
    assert found
    for reference in found:
        at: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def test_every_topic_is_a_channel_with_its_record() -> None:
    assert DOCUMENT["channels"].keys() == CATALOGUE.keys()
    for name, channel in DOCUMENT["channels"].items():
        assert channel["address"] == full_name("claude", name)
        assert list(channel["messages"]) == [CATALOGUE[name].record]
    assert asyncapi.document("other")["channels"]["events"]["address"] == "other.events.v1"


@pytest.mark.parametrize("name", records.NAMES)
def test_a_payload_is_the_newest_schema_and_avros_own_library_takes_it(name: str) -> None:
    payload = DOCUMENT["components"]["messages"][name]["payload"]["schema"]
    assert avro.schema.parse(json.dumps(payload)).fullname == f"millrace.{records.record(name).schema['name']}"
    assert codec.fingerprint(payload) == records.record(name).fingerprint
    assert [f["class"] for f in payload["fields"]] == [f.cls for f in records.record(name).fields]


def test_the_file_is_in_step() -> None:
    assert asyncapi.main(["check"]) == 0, "python -m schemas.asyncapi write"
    assert json.loads(asyncapi.FILE.read_text()) == DOCUMENT


def test_a_file_that_is_behind_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "asyncapi.json"
    assert asyncapi.main(["check"], file=file) == 1
    asyncapi.main(["write"], file=file)
    assert asyncapi.main(["check"], file=file) == 0
    file.write_text(file.read_text().replace("claude.events.v1", "claude.events.v2"))
    assert asyncapi.main(["check"], file=file) == 1
    assert (
        "asyncapi.json is behind the schemas or the topics: python -m schemas.asyncapi write" in capsys.readouterr().out
    )
