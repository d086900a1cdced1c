"""From wire attributes to fields, derived from the .avsc: its `otel`, `content`, `derive` and types."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas import records
from schemas.otlp.content import LONG_NAME, has_content
from schemas.otlp.values import COERCE, Coerce
from schemas.records import Field
from schemas.topics import MADE_UP

AttributeNames = tuple[str, str, str]
DEFAULT_NAMES: AttributeNames = ("team.id", "department", "cost_center")
NAMED_IN_SETTINGS = ("team", "department", "cost_center")
"""Fields whose attributes the settings name, in the order of AttributeNames."""

# Their fields take a text of any length: a session id that is too long rejects its record, and the name of an event is
# not always its attribute's (see message.Keys and events).
_CHECKED_LATER = ("session_id", "event_name")


@dataclass(frozen=True, slots=True)
class Binding:
    """Where one wire attribute goes.

    `most`: length of the longest str that fills the field as it is, 0 where none does. `special`: the text is content,
    or several attributes feed the field and the one with the lowest `rank` wins. `detail`: what it holds is of class
    detail, so that secrets may stand in it.
    """

    field: str
    most: int
    coerce: Coerce
    special: bool
    content: bool
    rank: int
    detail: bool


class Derivation(NamedTuple):
    """A field that is taken from the JSON text of attributes: (attribute, member), best first."""

    field: str
    paths: tuple[tuple[str, str], ...]


class Bindings:
    """The bindings of one record. `by_event` is complete for every event that has bindings of its own."""

    def __init__(self, record: str, names: AttributeNames) -> None:
        renamed = dict(zip(NAMED_IN_SETTINGS, names, strict=True))
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
    coerce, most = COERCE[field.type], sys.maxsize
    if field.type in ("string", "array_string") and not content:
        if field.cls != "detail" and field.name not in _CHECKED_LATER:
            most = LONG_NAME
        coerce = _without_content(coerce, most)
    if field.name == "session_id":
        coerce, most = _not_made_up(coerce), 0
    special = content or shared
    return Binding(
        field=field.name,
        most=most if field.type == "string" and not special and field.cls != "detail" else 0,
        coerce=coerce,
        special=special,
        content=content,
        rank=rank,
        detail=field.cls == "detail",
    )


def _without_content(coerce: Coerce, most: int) -> Coerce:
    """For fields that must not hold content: neither a tree with a prompt in it, nor, where they hold names, a longer
    text than `most`, do fit."""

    def fitting(value: Any) -> Any:
        found = coerce(value)
        texts = (found,) if found.__class__ is str else found or ()
        return None if any(len(text) > most for text in texts) or has_content(value) else found

    return fitting


def _not_made_up(coerce: Coerce) -> Coerce:
    """For a session's id: one like a pseudo-session's would take its place. Asked of nearly every record."""

    def fitting(value: Any) -> Any:
        found = value if value.__class__ is str else coerce(value)
        return None if found is None or found.startswith(MADE_UP) else found

    return fitting


@functools.lru_cache(maxsize=64)
def bindings(record: str, names: AttributeNames) -> Bindings:
    """The bindings of a record; `names` are the attributes of team, department and cost center."""
    return Bindings(record, names)
