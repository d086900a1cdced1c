"""What Claude Code sends, by name: catalogue.json as values. The one source for docs, coverage and tests.

The .avsc files say what a field is; the catalogue says which events, metrics and spans carry an attribute, and since
which client version. A version is the first one with it, as documented. Behind `<=` it is one in which it was seen or
documented, and maybe it is older.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from schemas.records import Class

Kind = Literal["events", "metrics", "spans"]
KINDS: tuple[Kind, ...] = ("events", "metrics", "spans")
RECORDS: Mapping[Kind, str] = MappingProxyType(
    {"events": "claude_event", "metrics": "metric_point", "spans": "claude_span"}
)
PREFIX = "claude_code."
FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Item:
    """One event, metric or span.

    name: in full, with the prefix.  attributes: those of its own, name → since.  unit: a metric's.
    gated: attribute → the client's setting without which it is not sent.
    """

    name: str
    since: str
    attributes: Mapping[str, str]
    gated: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""

    @property
    def short(self) -> str:
        """The name without its prefix."""
        return self.name.removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class SpanEventAttribute:
    """An attribute of a span event; one of class content is on the content topic, the others are in `events_json`."""

    cls: Class
    doc: str


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """An event on a span called `on`."""

    name: str
    on: str
    since: str
    attributes: Mapping[str, SpanEventAttribute]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything known by name.

    resource: attributes of every resource, name → since.  common: those of every record of a kind, name → since.
    known_by_name: names that were seen in a client and nowhere else.  scopes: instrumentation scope → its kinds.
    """

    resource: dict[str, str]
    common: dict[Kind, dict[str, str]]
    items: Mapping[Kind, Mapping[str, Item]]
    span_events: Mapping[str, SpanEvent]
    known_by_name: Mapping[str, tuple[str, ...]]
    scopes: Mapping[str, tuple[str, ...]]

    def attributes(self, kind: Kind, item: Item) -> dict[str, str]:
        """Every attribute that a record of the item may carry, name → since."""
        return {**self.common[kind], **item.attributes}


def parse(document: Mapping[str, Any]) -> Catalogue:
    """The catalogue in the parsed catalogue.json. Raises: KeyError, TypeError where a part is missing."""
    by_kind = document["common_by_kind"]
    return Catalogue(
        resource=document["resource"],
        common={kind: {**document["common"], **by_kind[kind]} for kind in KINDS},
        items={kind: {name: Item(name, **parts) for name, parts in document[kind].items()} for kind in KINDS},
        span_events={
            name: SpanEvent(
                name=name,
                on=parts["on"],
                since=parts["since"],
                attributes={a: SpanEventAttribute(v["class"], v["doc"]) for a, v in parts["attributes"].items()},
            )
            for name, parts in document["span_events"].items()
        },
        known_by_name={kind: tuple(names) for kind, names in document["known_by_name"].items()},
        scopes={scope: tuple(kinds) for scope, kinds in document["scopes"].items()},
    )


@functools.cache
def catalogue() -> Catalogue:
    """The catalogue that we ship."""
    return parse(json.loads(FILE.read_text(encoding="utf-8")))


def version(since: str) -> tuple[int, ...]:
    """A since as numbers, so that versions can be compared."""
    return tuple(int(part) for part in since.removeprefix("<=").split("."))
