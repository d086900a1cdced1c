"""From wire attributes to fields, derived from the .avsc: its `otel`, `content`, `derive` and types."""

from __future__ import annotations

import functools
from typing import NamedTuple

from schemas import records
from schemas.otlp.values import COERCE, Coerce
from schemas.records import Field

AttributeNames = tuple[str, str, str]
DEFAULT_NAMES: AttributeNames = ("team.id", "department", "cost_center")


class Binding(NamedTuple):
    """Where one wire attribute goes.

    `string`: the field is a string, so that a str needs no coercion. `special`: the text is content, or several
    attributes feed the field and the one with the lowest `rank` wins.
    """

    field: str
    string: bool
    coerce: Coerce
    special: bool
    content: bool
    rank: int


class Derivation(NamedTuple):
    """A field that is taken from the JSON text of attributes: (attribute, member), best first."""

    field: str
    paths: tuple[tuple[str, str], ...]


class Bindings:
    """The bindings of one record. `by_event` is complete for every event that has bindings of its own."""

    def __init__(self, record: str, names: AttributeNames) -> None:
        renamed = dict(zip(("team", "department", "cost_center"), names, strict=True))
        self.default: dict[str, Binding] = {}
        own: dict[str, dict[str, Binding]] = {}
        derived: list[Derivation] = []
        for field in records.record(record).fields:
            wires = (renamed[field.name],) if field.name in renamed and field.otel else field.otel
            for rank, wire in enumerate(wires):
                event, _, attribute = wire.rpartition(":")
                target = own.setdefault(event, {}) if event else self.default
                if attribute in target:
                    raise ValueError(f"{record}: {target[attribute].field} and {field.name} both take {wire}")
                target[attribute] = _binding(field, wire, rank, shared=len(wires) > 1)
            if len({wire.rpartition(":")[2] for wire in wires}) > 1 and (field.cls == "content" or field.content):
                # The attribute that loses would stay among the attributes, where content must not be.
                raise ValueError(f"{record}: {field.name} is content and can take only one attribute")
            if field.derive:
                paths = (path.split(".", 1) for path in field.derive)
                derived.append(Derivation(field.name, tuple((attribute, member) for attribute, member in paths)))
        self.by_event = {event: {**self.default, **bindings} for event, bindings in own.items()}
        self.derived = tuple(derived)
        self.parsed = tuple(dict.fromkeys(attribute for d in derived for attribute, _ in d.paths))


def _binding(field: Field, wire: str, rank: int, *, shared: bool) -> Binding:
    content = field.cls == "content" or wire in field.content
    return Binding(
        field=field.name,
        string=field.type == "string",
        coerce=COERCE[field.type],
        special=content or shared,
        content=content,
        rank=rank,
    )


@functools.lru_cache(maxsize=64)
def bindings(record: str, names: AttributeNames) -> Bindings:
    """The bindings of a record; `names` are the attributes of team, department and cost center."""
    return Bindings(record, names)
