"""What is content, wherever it stands: its text goes to the content topic only, and leaves a mark in its place.

Content is what an attribute of class content says, on any record and in any place (a prompt on a metric is one too),
and any text of more than LONG_TEXT characters that no field takes. Names and ids are no place for a text either: one
of more than LONG_NAME characters is content as well, and so is the name of an event, or a severity, that does not look
like one: it may be a prompt, and stands in headers and in what every role may read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from schemas import records
from schemas.otlp.values import canonical

CONTENT_MARK = "<content>"
# The same in place of a list, an object, bytes or a number that is a member of a tree: its row is canonical JSON.
TREE_MARK = canonical(CONTENT_MARK)
REDACTED = "<REDACTED>"
LONG_TEXT = 256
LONG_NAME = 1024
# A row has its text twice if the text is a JSON object; beyond this it has it once, so that the second form never makes
# a record too large that was not. Clients cut tools' JSON far below.
PARSED_MAX = 64 << 10

Texts = list[tuple[str, str]]
"""(place, text) of what was taken out of a record, in order."""
Document = tuple[str, dict[str, Any]]
"""A text and the JSON object that it is."""

Show = Callable[[str, str], tuple[str | None, int]]
"""What a text of a place may be stored as (None: not at all), and how many secrets were masked in it."""

_STATED_NAME = re.compile(r"[\w.:/ -]{1,128}")
_NAME = re.compile(r"[\w.:/-]{1,128}", re.ASCII)
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
    if len(key) > LONG_NAME or key == CONTENT_MARK:  # A name that looks like ours must not hide those that are.
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


def member(place: str, key: str, value: Any, texts: Texts, most: int = LONG_TEXT) -> tuple[str, Any]:
    """The same for an attribute that is a member of a tree, where the mark must tell what it stands for."""
    key, shown = attribute(place, key, value, texts, most)
    return key, TREE_MARK if shown is CONTENT_MARK and value.__class__ is not str else shown


def attributes(place: str, values: dict[str, Any], texts: Texts) -> dict[str, Any]:
    """The same for all attributes of a place."""
    return dict(member(place, key, value, texts) for key, value in values.items())


def name(place: str, text: str, texts: Texts, most: int = LONG_NAME) -> str:
    """The same for a name, an id or a text that OTLP has a place of its own for."""
    if len(text) <= most:
        return text
    texts.append((place, text))
    return CONTENT_MARK


def is_name(text: str, *, stated: bool = False) -> bool:
    """Whether a text looks like a name. stated: its place is for names only, so that it may have several words."""
    return text in (REDACTED, CONTENT_MARK) or (_STATED_NAME if stated else _NAME).fullmatch(text) is not None


def held_back(value: Any) -> bool:
    """Whether the client holds the value back, or a part of it."""
    if value.__class__ is dict:
        return any(map(held_back, value.values()))
    if value.__class__ is list:
        return any(map(held_back, value))
    return bool(value == REDACTED)


def has_content(value: Any) -> bool:
    """Whether a member of the value, at any depth, has the name of an attribute of class content."""
    if value.__class__ is dict:
        return any(key in NAMES or has_content(member) for key, member in value.items())
    return value.__class__ is list and any(map(has_content, value))


def rows(
    texts: Texts,
    documents: Mapping[str, Document] = MappingProxyType({}),
    show: Show = lambda _, text: (text, 0),
) -> list[dict[str, Any]]:
    """Field, text, length (as sent) and masked secrets of the content rows of a record, and `parsed` of JSON objects.

    The field tells the rows of a record apart for everyone who stores them: a second `a` is `a.2`.

    Args:    documents: those that are known, by place. A text that is not its own (a secret was masked) is read again.
             show: says what may be stored.
    """
    found: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for place, text in texts:
        shown, masked = show(place, text)
        if shown is None:
            continue
        field = place
        while field in found:
            count = counts[place] = counts.get(place, 1) + 1
            field = f"{place}.{count}"
        row = found[field] = {"field": field, "text": shown, "length": len(text)}
        if masked:
            row["masked"] = masked
        if field in documents:
            source, document = documents[field]
            members = parsed(shown, document if shown == source else _document(shown))
            if members:
                row["parsed"] = members
    return list(found.values())


def _document(text: str) -> dict[str, Any]:
    """The JSON object that a text is; an empty one where it is none."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def parsed(text: str, document: dict[str, Any]) -> dict[str, str]:
    """The members of the JSON object that a text is: strings as they are, other values as canonical JSON.

    Returns: nothing where the members would take more room than the text (1e15 as 1000000000000000.0), or the text is
             longer than PARSED_MAX.
    """
    if len(text) > PARSED_MAX:
        return {}
    members = {key: value if value.__class__ is str else canonical(value) for key, value in document.items()}
    size = sum(map(len, members)) + sum(map(len, members.values()))
    return members if size <= len(text) else {}
