"""docs/schema.md, written from the .avsc files and the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from schemas import records
from schemas.catalogue import KINDS, RECORDS, Catalogue, Item, Kind, catalogue, version
from schemas.otlp.bindings import NAMED_IN_SETTINGS
from schemas.otlp.values import CANONICAL_FORM
from schemas.records import Field, Record
from schemas.stored import STORED
from schemas.topics import CATALOGUE as TOPICS

TITLES: Mapping[Kind, str] = {"events": "Events", "metrics": "Metrics", "spans": "Spans"}
_EVERY: Mapping[Kind, str] = {"events": "every event", "metrics": "every metric", "spans": "every span"}


def page() -> str:
    """The whole page, Markdown."""
    known = catalogue()
    lines = [
        "# The schema",
        "<!-- `millrace schema docs --write docs/schema.md` writes this from schemas/*/v*.avsc and catalogue.json. -->",
        "",
        *_introduction(),
        *(line for name in _ordered() for line in describe(records.record(name), known)),
        *_catalogued(known),
        *_span_events(known),
        "",
        "## The canonical form of a value",
        *CANONICAL_FORM.strip().splitlines(),
    ]
    return "\n".join(lines) + "\n"


def describe(record: Record, known: Catalogue) -> list[str]:
    """One record as a section with one table."""
    topic = next(topic.name for topic in TOPICS.values() if topic.record == record.name)
    kind = next((kind for kind in KINDS if RECORDS[kind] == record.name), None)
    carried = ("carried by", "since") if kind else ()
    head = ("field", "type", "unit", "class", "wire attribute", *carried, "meaning")
    return [
        "",
        f"## {record.schema['name']}: topic `{topic}`, version {record.version}",
        record.schema["doc"],
        "",
        *_table(head, (_row(field, kind, known) for field in record.fields)),
        *_stored(record),
    ]


def _stored(record: Record) -> Iterator[str]:
    if fields := STORED.get(record.name):
        yield from ("", "Beside these, SQL has what only the query tables know; no topic and no lake has it:", "")
        cells = ([f"`{f.name}`", f.type, f.unit or "", f.cls, f.doc] for f in fields)
        yield from _table(("column", "type", "unit", "class", "meaning"), cells)


def _introduction() -> list[str]:
    return [
        "One table a record. A field may be null unless its type says otherwise; `timestamp` is microseconds since",
        "1970, UTC.",
        "",
        "- *class*: who may see it. `usage`: anyone who may see the tenant; `person`; `detail`: commands, paths,",
        "  URLs, error texts; `content`: only ever on the content topic, the field has a mark in its place.",
        "- *wire attribute*: where the value comes from, best first; `event:attribute` where the event decides what",
        "  it means; `attribute.member` a member of the JSON in an attribute. An attribute without a field is in",
        "  `attributes` (strings) or `attributes_json` (all else), so that nothing is lost.",
        "- *carried by*: the events, metrics or spans that the client's documentation or a recording has it on,",
        "  without the prefix `claude_code.`. *since*: the first client version with it, as documented; ≤ before a",
        "  version: seen or documented there, and maybe older. Behind a name it is that one's own, where it is",
        "  another.",
    ]


def _ordered() -> list[str]:
    """The records of clients first."""
    first = [*RECORDS.values(), "claude_content"]
    return first + [name for name in records.NAMES if name not in first]


def _row(field: Field, kind: Kind | None, known: Catalogue) -> list[str]:
    shown = field.type + (", never null" if not field.nullable else "")
    wires = field.otel or field.derive
    cells = [f"`{field.name}`", shown, field.unit or "", field.cls, ", ".join(f"`{wire}`" for wire in wires)]
    if kind:
        cells += _carriers(field, kind, known)
    return [*cells, field.doc]


def _carriers(field: Field, kind: Kind, known: Catalogue) -> tuple[str, str]:
    """Who carries the field, and since when."""
    if not field.otel and not field.derive:
        return "", ""
    if field.name in NAMED_IN_SETTINGS:
        return "the attribute that the settings name", ""
    everywhere = {**known.resource, **known.common[kind]}
    for wire in field.otel:
        if wire in everywhere:
            return "the resource" if wire in known.resource else _EVERY[kind], _since(everywhere[wire])
    found = _items(field, known.items[kind].values())
    if not found:
        return "", ""
    first = min(found.values(), key=version)
    names = (f"{name} ({_since(since)})" if since != first else name for name, since in found.items())
    return ", ".join(names), _since(first)


def _items(field: Field, items: Iterable[Item]) -> dict[str, str]:
    """Short name → since, of all that carry an attribute of the field."""
    found: dict[str, str] = {}
    for item in items:
        for wire in field.otel or tuple(path.split(".")[0] for path in field.derive):
            event, _, attribute = wire.rpartition(":")
            if event in ("", item.short) and attribute in item.attributes:
                found.setdefault(item.short, item.attributes[attribute])
    return found


def _catalogued(known: Catalogue) -> Iterator[str]:
    yield ""
    yield "## Every name of the catalogue"
    yield "What each carries beside what all carry. *needs*: not sent without that setting of the client."
    for kind in KINDS:
        shared = ", ".join(f"`{name}`" for name in known.common[kind])
        yield from ("", f"### {TITLES[kind]}", f"All carry {shared}.", "")
        yield from _table(("name", "since", "attributes of its own", "needs"), map(_item, known.items[kind].values()))
        if names := known.known_by_name.get(kind):
            yield ""
            yield f"Seen in a client, documented nowhere, and taken as they come: {', '.join(f'`{n}`' for n in names)}."


def _item(item: Item) -> list[str]:
    own = ", ".join(f"`{name}`" for name in item.attributes)
    needs = (f"`{name}`: `{setting}`" for name, setting in item.gated.items())
    return [f"`{item.name}`", _since(item.since), own, ", ".join(needs)]


def _span_events(known: Catalogue) -> Iterator[str]:
    yield ""
    yield "### Events on spans"
    yield "They stand in `events_json` of their span, but for the texts of class content: those leave the mark"
    yield "`<content>` and are rows of ClaudeContent, whose `field` is `<event>.<attribute>`."
    yield ""
    rows = (
        [f"`{event.name}`", f"`{event.on}`", _since(event.since), f"`{name}`", attribute.cls, attribute.doc]
        for event in known.span_events.values()
        for name, attribute in event.attributes.items()
    )
    yield from _table(("event", "on", "since", "attribute", "class", "meaning"), rows)


def _since(since: str) -> str:
    return since.replace("<=", "≤ ")


def _table(head: Iterable[str], rows: Iterable[list[str]]) -> Iterator[str]:
    head = tuple(head)
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    """Text that ends no cell and is no HTML, outside of code spans."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part.replace("<", "&lt;") if i % 2 == 0 else part for i, part in enumerate(parts))
