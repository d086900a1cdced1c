"""The catalogue of names: all that is known of the client, each with a field, and the page that says so."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from schemas import docs, records
from schemas.catalogue import KINDS, RECORDS, Item, SpanEvent, SpanEventAttribute, catalogue, version
from schemas.coverage import coverage, percentage, shipped
from schemas.otlp.bindings import Bindings
from schemas.stored import STORED

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "reference" / "telemetry-catalog.json"


def test_every_attribute_of_the_catalogue_has_a_typed_field() -> None:
    rows = coverage(catalogue())
    assert [row for row in rows if row.missing] == []
    assert percentage(rows) == 100
    assert Counter(row.kind for row in rows) == {"events": 30, "metrics": 8, "spans": 10, "span_events": 2}
    assert {"claude_code.mcp.rpc", "claude_code.summary", "tool.output"} <= {row.name for row in rows}


def test_a_binding_that_goes_is_missed() -> None:
    def without_cost(record: str) -> Bindings:
        found = Bindings(record, ("team.id", "department", "cost_center"))
        found.default.pop("cost_usd", None)
        for own in found.by_event.values():
            own.pop("cost_usd", None)
        return found

    rows = coverage(catalogue(), without_cost)
    assert [(row.name, row.missing) for row in rows if row.missing] == [("claude_code.api_request", ("cost_usd",))]
    assert 99.9 < percentage(rows) < 100


def test_an_attribute_that_the_client_comes_to_send_is_missed() -> None:
    known = catalogue()
    item = Item("claude_code.novel", "2.2.0", {"novel.one": "2.2.0", "model": "2.2.0"})
    rows = coverage(replace(known, items={**known.items, "spans": {item.name: item}}))
    assert [(row.name, row.missing) for row in rows if row.missing] == [("claude_code.novel", ("novel.one",))]


def test_an_attribute_of_a_span_event_without_type_is_missed() -> None:
    known = catalogue()
    novel = {"novel": SpanEventAttribute("usage", "Novel."), "output": SpanEventAttribute("content", "Text.")}
    rows = coverage(
        replace(known, span_events={"tool.novel": SpanEvent("tool.novel", "claude_code.tool", "2.2.0", novel)})
    )
    assert [(row.kind, row.name, row.missing) for row in rows if row.missing] == [
        ("span_events", "tool.novel", ("novel",))
    ]


def test_an_attribute_means_the_same_field_on_every_event_or_says_which() -> None:
    for kind in KINDS:
        fields = {field.name for field in records.record(RECORDS[kind]).fields}
        for found in (shipped(RECORDS[kind]).default, *shipped(RECORDS[kind]).by_event.values()):
            assert {binding.field for binding in found.values()} <= fields


def test_every_version_can_be_compared() -> None:
    known = catalogue()
    sinces = [item.since for kind in KINDS for item in known.items[kind].values()]
    sinces += [since for kind in KINDS for item in known.items[kind].values() for since in item.attributes.values()]
    assert all(re.fullmatch(r"(<=)?\d+\.\d+\.\d+", since) for since in sinces)
    assert version("2.1.9") < version("<=2.1.45") < version("2.1.193")


def test_no_attribute_is_older_than_the_event_that_carries_it() -> None:
    for kind in KINDS:
        for item in catalogue().items[kind].values():
            if not item.since.startswith("<="):
                assert min(map(version, item.attributes.values())) >= version(item.since), item.name


def test_the_page_on_the_schema_is_what_the_schemas_say() -> None:
    assert (ROOT / "docs" / "schema.md").read_text() == docs.page(), "run: millrace schema docs --write docs/schema.md"


def test_the_page_has_every_field_and_every_name() -> None:
    page = docs.page()
    for name in records.NAMES:
        section = page[page.index(f"## {records.record(name).schema['name']}: ") :].split("\n## ", 2)[0]
        fields = (*records.record(name).fields, *STORED.get(name, ()))
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [f.name for f in fields]
    for kind in KINDS:
        assert all(f"| `{name}` |" in page for name in catalogue().items[kind])


def test_the_page_says_who_carries_a_field_and_since_when() -> None:
    lines = {line.split("|")[1].strip(): line for line in reversed(docs.page().splitlines()) if line.startswith("| ")}
    assert "| user_prompt, assistant_response, api_response_body (2.1.274) | 2.1.214 |" in lines["`message_uuid`"]
    assert "| tool_result | 2.1.269 |" in lines["`vcs_ref_head_revision`"]


@pytest.mark.skipif(not REFERENCE.exists(), reason="../shared/reference is not beside this clone: nothing to compare")
def test_the_catalogue_has_all_of_the_reference() -> None:
    theirs, known = json.loads(REFERENCE.read_text()), catalogue()
    for kind in KINDS:
        assert {name: set(parts["attrs"]) for name, parts in theirs[kind].items()} == {
            item.name: set(item.attributes) for item in known.items[kind].values()
        }
        for name, parts in theirs[kind].items():
            assert (known.items[kind][name].unit, dict(known.items[kind][name].gated)) == (
                parts.get("unit", ""),
                parts.get("gated", {}),
            )
    standard = {name.split(" ")[0] for name in theirs["standard"] if not name.startswith("<")}
    assert known.common["metrics"].keys() == standard
    assert known.common["events"].keys() == standard | set(theirs["standard_events_only"])
    unseen = theirs["events_observed_undocumented"]
    assert list(known.known_by_name["events"]) == unseen["events in binary 2.1.248 without docs"]
    assert list(known.known_by_name["spans"]) == unseen["spans in binary 2.1.248 without docs"]
