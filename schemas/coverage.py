"""How much of the catalogue has a typed field: counted from the bindings, nothing is listed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.catalogue import KINDS, RECORDS, Catalogue, Item, Kind
from schemas.otlp.bindings import DEFAULT_NAMES, Bindings, bindings


class Covered(NamedTuple):
    """One event, metric, span or span event: how many attributes it may carry, and those of them that have no field.

    kind: events, metrics, spans or span_events.
    """

    kind: str
    name: str
    attributes: int
    missing: tuple[str, ...]

    @property
    def typed(self) -> int:
        """Attributes that have a typed field."""
        return self.attributes - len(self.missing)


def shipped(record: str) -> Bindings:
    """The bindings of a record, with the attribute names of the default settings."""
    return bindings(record, DEFAULT_NAMES)


def coverage(catalogue: Catalogue, find: Callable[[str], Bindings] = shipped) -> list[Covered]:
    """Every event, metric and span of the catalogue, with the attributes of its own and those that all carry; one that
    is known by its name alone has only the latter.

    An attribute of a span event has no column. It counts as typed where it has the type of a span's field in
    `events_json`, or is content, which has a row of its own on the content topic.

    Args:    find: record → its bindings.
    """
    rows = []
    for kind in KINDS:
        found = find(RECORDS[kind])
        for item in _items(catalogue, kind):
            fields = found.by_event.get(item.short, found.default) if kind == "events" else found.default
            names = (catalogue.resource | catalogue.attributes(kind, item)).keys()
            rows.append(Covered(kind, item.name, len(names), tuple(name for name in names if name not in fields)))
    spans = find(RECORDS["spans"]).default
    for event in catalogue.span_events.values():
        missing = tuple(name for name, own in event.attributes.items() if own.cls != "content" and name not in spans)
        rows.append(Covered("span_events", event.name, len(event.attributes), missing))
    return rows


def _items(catalogue: Catalogue, kind: Kind) -> Iterator[Item]:
    yield from catalogue.items[kind].values()
    for name in catalogue.known_by_name.get(kind, ()):
        yield Item(name, "", {})


def percentage(rows: list[Covered]) -> float:
    """Attributes with a field in percent of all, over all rows."""
    whole = sum(row.attributes for row in rows)
    return 100 * sum(row.typed for row in rows) / whole if whole else 100.0
