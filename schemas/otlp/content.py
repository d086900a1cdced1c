"""What is content, wherever it stands: its text goes to the content topic only, and leaves a mark in its place.

Content is what an attribute of class content says, on any record and in any place (a prompt on a metric is one too),
and any text of more than LONG_TEXT characters that no field takes. Names and ids are no place for a text either: one
of more than LONG_NAME characters is content as well.
"""

from __future__ import annotations

from typing import Any

from schemas import records
from schemas.otlp.values import canonical

CONTENT_MARK = "<content>"
REDACTED = "<REDACTED>"
LONG_TEXT = 256
LONG_NAME = 1024

Texts = list[tuple[str, str]]
"""(place, text) of what was taken out of a record, in order."""

_TREES = frozenset((bytes, list, dict))
NAMES = frozenset(
    wire.rpartition(":")[2]
    for record in ("claude_event", "claude_span", "metric_point")
    for field in records.record(record).fields
    for wire in field.otel
    if field.cls == "content" or wire in field.content
)
"""The attributes whose text is content."""


def attribute(place: str, key: str, value: Any, texts: Texts, most: int = LONG_TEXT) -> tuple[str, Any]:
    """Name and value of an attribute as its own topic may have them; what that may not is added to `texts`.

    Args:    place: what the attribute belongs to, "" for the record itself, else with a dot at its end.
             most: length of the longest text that is none, in characters.
    """
    if len(key) > LONG_NAME:
        texts.append((place + CONTENT_MARK, canonical({key: value})))
        return CONTENT_MARK, CONTENT_MARK
    kind: type = value.__class__
    named = key in NAMES
    text: str = value if kind is str else canonical(value) if named or kind in _TREES else ""
    if len(text) <= most and not named and (kind is str or not has_content(value)):
        return key, value
    if not value or value in (REDACTED, CONTENT_MARK):
        return key, value
    texts.append((place + key, text))
    return key, CONTENT_MARK


def attributes(place: str, values: dict[str, Any], texts: Texts) -> dict[str, Any]:
    """The same for all attributes of a place."""
    return dict(attribute(place, key, value, texts) for key, value in values.items())


def name(place: str, text: str, texts: Texts, most: int = LONG_NAME) -> str:
    """The same for a name, an id or a text that OTLP has a place of its own for."""
    if len(text) <= most:
        return text
    texts.append((place, text))
    return CONTENT_MARK


def has_content(value: Any) -> bool:
    """Whether a member of the value, at any depth, has the name of an attribute of class content."""
    if value.__class__ is dict:
        return any(key in NAMES or has_content(member) for key, member in value.items())
    return value.__class__ is list and any(map(has_content, value))


def rows(texts: Texts) -> list[dict[str, Any]]:
    """Field, text and length of the content rows of a record.

    The field tells the rows of a record apart for everyone who stores them: a second `a` is `a.2`.
    """
    found: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for place, text in texts:
        field = place
        while field in found:
            count = counts[place] = counts.get(place, 1) + 1
            field = f"{place}.{count}"
        found[field] = {"field": field, "text": text, "length": len(text)}
    return list(found.values())
