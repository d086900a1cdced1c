"""How much of the catalogue has a typed field: counted from the bindings, nothing is listed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schemas.catalogue import KINDS, RECORDS, Catalogue, Kind
from schemas.otlp.bindings import DEFAULT_NAMES, Bindings, bindings


class Covered(NamedTuple):
    """One event, metric or span: how many attributes it may carry, and those of them that have no field."""

    kind: Kind
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
    """Every event, metric and span of the catalogue, with the attributes of its own and those that all carry.

    Args:    find: record → its bindings.
    """
    rows = []
    for kind in KINDS:
        found = find(RECORDS[kind])
        for item in catalogue.items[kind].values():
            fields = found.by_event.get(item.short, found.default) if kind == "events" else found.default
            names = (catalogue.resource | catalogue.attributes(kind, item)).keys()
            rows.append(Covered(kind, item.name, len(names), tuple(name for name in names if name not in fields)))
    return rows


def percentage(rows: list[Covered]) -> float:
    """Attributes with a field in percent of all, over all rows."""
    whole = sum(row.attributes for row in rows)
    return 100 * sum(row.typed for row in rows) / whole if whole else 100.0
