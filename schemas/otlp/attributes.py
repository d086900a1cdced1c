"""Attributes to fields: what the event, point and span normalisers share.

An attribute with a field fills it, coerced. Everything else is kept: strings in `attributes`, other values as canonical
JSON in `attributes_json`. Text of class content, and unknown text of more than LONG_TEXT characters, leaves only a
mark.
"""

from __future__ import annotations

from typing import Any

import orjson

from schemas.encoder import Encoder
from schemas.otlp.bindings import Binding, Bindings, Derivation
from schemas.otlp.model import Attributes, Group
from schemas.otlp.values import NOTHING, as_strings, canonical, text

CONTENT_MARK = "<content>"
REDACTED = "<REDACTED>"
LONG_TEXT = 256
_MARK_JSON = orjson.dumps(CONTENT_MARK).decode()


class Filled:
    """What became of the attributes of one record.

    values: field → value.  content: (field or wire name, text) pairs for the content topic.
    """

    __slots__ = ("content", "errors", "json", "problems", "ranks", "strings", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.strings: dict[str, str] = {}
        self.json: dict[str, str] = {}
        self.errors: list[str] = []
        self.problems: list[str] = []
        self.content: list[tuple[str, str | None]] = []
        self.ranks: dict[str, tuple[int, str, Any]] = {}

    def keep(self, key: str, value: Any) -> None:
        """An attribute that no field takes."""
        if value.__class__ is str:
            if len(value) > LONG_TEXT:
                self.content.append((key, value))
                value = CONTENT_MARK
            self.strings[key] = value
            return
        as_json = canonical(value)
        if len(as_json) > LONG_TEXT:
            self.content.append((key, as_json))
            as_json = _MARK_JSON
        self.json[key] = as_json

    def finish(self, over_limit: int) -> dict[str, Any]:
        """The values, with the maps and flags in their fields."""
        values = self.values
        if self.strings:
            values["attributes"] = self.strings
        if self.json:
            values["attributes_json"] = self.json
        if self.errors:
            values["coercion_errors"] = sorted(self.errors)
        if over_limit:
            self.problems.append(f"attributes over the limit: {over_limit} dropped")
            values["dropped_attributes_count"] = values.get("dropped_attributes_count", 0) + over_limit
        if self.problems:
            values["pipeline_error"] = "; ".join(self.problems)
        return values


class Shared:
    """What the records of a group have in common: fields of the resource and the scope, encoded once."""

    __slots__ = ("base", "fields")

    def __init__(self, encoder: Encoder, bindings: Bindings, group: Group, common: dict[str, Any]) -> None:
        self.fields: dict[str, Any] = {}
        ranks: dict[str, int] = {}
        for key, value in group.resource.items():
            binding = bindings.default.get(key)
            if binding is None or binding.content or ranks.get(binding.field, 99) < binding.rank:
                continue
            coerced = binding.coerce(value)
            if coerced is not None and coerced != "":
                self.fields[binding.field] = coerced
                ranks[binding.field] = binding.rank
        whole = {
            **self.fields,
            **common,
            "resource_attributes": {k: v for k, v in group.resource.items() if v.__class__ is str},
            "resource_attributes_json": {k: canonical(v) for k, v in group.resource.items() if v.__class__ is not str},
            "scope_name": group.scope_name or None,
            "scope_version": group.scope_version or None,
            "schema_url": group.schema_url or None,
        }
        self.base = encoder.base(whole)


def fill(bindings: dict[str, Binding], attributes: Attributes, shared: dict[str, Any]) -> Filled:
    """The attributes of one record as fields. `shared` are the resource's, which a record's own attribute replaces."""
    filled = Filled()
    values = filled.values
    find = bindings.get
    for key, value in attributes.items():
        binding = find(key)
        if binding is None:
            filled.keep(key, value)
            continue
        field, string, coerce, special, _, _ = binding
        if special:
            _special(filled, binding, key, value)
        elif string and value.__class__ is str and value:
            values[field] = value
        elif (coerced := coerce(value)) is not None and coerced != "":
            values[field] = coerced
        else:
            _unfit(filled, key, value)
            if field in shared:
                values[field] = [] if coerce is as_strings else None
    return filled


def _unfit(filled: Filled, key: str, value: Any) -> None:
    """A value that its field cannot hold stays among the attributes; it is an error unless it means nothing."""
    if value is None:
        filled.json[key] = "null"
    else:
        filled.keep(key, value)
        if value.__class__ is not str or value not in NOTHING:
            filled.errors.append(key)


def _special(filled: Filled, binding: Binding, key: str, value: Any) -> None:
    """An attribute whose text is content, or one of several that feed a field."""
    field = binding.field
    previous = filled.ranks.get(field)
    if previous is not None:
        rank, other_key, other_value = previous
        if rank <= binding.rank:
            filled.keep(key, value)
            return
        filled.keep(other_key, other_value)
        if binding.content:
            filled.content = [pair for pair in filled.content if pair[0] != field]
    coerced = binding.coerce(value)
    if coerced is None or coerced == "":
        _unfit(filled, key, value)
        return
    filled.ranks[field] = (binding.rank, key, value)
    if binding.content and coerced not in (REDACTED, CONTENT_MARK):
        filled.content.append((field, coerced))
        coerced = CONTENT_MARK
    filled.values[field] = coerced


def derive(filled: Filled, attributes: Attributes, parsed: tuple[str, ...], derived: tuple[Derivation, ...]) -> None:
    """Fields from the JSON texts of the attributes `parsed`; text that is no JSON is flagged, and kept as it is."""
    documents: dict[str, dict[str, Any]] = {}
    for attribute in parsed:
        value = attributes.get(attribute)
        if value.__class__ is str and value and value not in (REDACTED, CONTENT_MARK) and value not in NOTHING:
            try:
                value = orjson.loads(value)
            except ValueError:
                filled.problems.append(f"{attribute}: malformed JSON")
                continue
        if isinstance(value, dict):
            documents[attribute] = value
    if not documents:
        return
    for field, paths in derived:
        if field in filled.values:
            continue
        for attribute, member in paths:
            found = documents[attribute].get(member) if attribute in documents else None
            if found.__class__ is str or isinstance(found, (int, float)):
                found = text(found)
                if found:
                    filled.values[field] = found
                    break
