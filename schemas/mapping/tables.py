"""The mappings to ECS, OCSF and OpenTelemetry gen_ai: one JSON file each, which makes the functions here and the views.

A file has a `version` of its own, what it maps to (`target`), and `views`: a view maps one of our records.
    record    ours: claude_event, claude_span
    only      {"field": [values]}: the rows that the view has; all where it is missing
    actions   {action: {column: value, "why": ...}}: columns by event_action, whose types and whose values for any other
              action stand in `action_columns`: {column: [type, value]}
    columns   [name, type, expression] each; expressions.py says what an expression is
    rest      {"prefix": p}: every field that is taken from what the client sent and is not content, as p + its name;
              with "unmapped": true only those that no column copies whatever the record is
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from schemas import records
from schemas.mapping.expressions import Expression, FieldOf, Words, folded, parse
from schemas.records import Class, Field, FieldType, Record

FOLDER = Path(__file__).parent
MAPPINGS = ("ecs", "ocsf", "gen_ai")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Taken from other fields (otlp.attributes.derive_tool): neither a wire attribute nor a JSON text is theirs.
_FROM_FIELDS = ("command_executable", "url_host")


@dataclass(frozen=True)
class MappedColumn:
    """One foreign field.  cls: the class of the fields it is made of; nobody sees it who may not see them."""

    name: str
    type: FieldType
    expression: Expression
    cls: Class
    doc: str
    unit: str | None


@dataclass(frozen=True)
class Mapped:
    """One record in foreign words.  only: field and values of the rows that have a meaning there; None: all."""

    view: str
    mapping: str
    version: str
    record: str
    doc: str
    only: tuple[str, tuple[str, ...]] | None
    columns: tuple[MappedColumn, ...]

    def flat(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Foreign field → value, of those that say something; None for a record that has no meaning there.

        Args:    record: as the codec gives it. Times come out as ISO 8601 text in UTC.
        """
        if self.only is not None and record.get(self.only[0]) not in self.only[1]:
            return None
        found: dict[str, Any] = {}
        for column in self.columns:
            value = column.expression.value(record)
            if value is not None:
                found[column.name] = _iso(value) if column.type == "timestamp" else value
        return found

    def document(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """The same as a document, whose objects are what the dots of the names say."""
        flat = self.flat(record)
        return None if flat is None else nested(flat)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A document from dotted names."""
    document: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return document


def _iso(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _column(record: Record, name: str, kind: str, expression: Expression) -> MappedColumn:
    fields = [record.field(field) for field in sorted(expression.fields)]
    classes = {field.cls for field in fields} - {"usage"}
    if len(classes) > 1 or "content" in classes:
        # Who may see one of two classes would see the other's values too.
        raise ValueError(f"{name}: made of fields of the classes {', '.join(sorted(classes))}")
    copied = fields[0] if isinstance(expression, FieldOf) else None
    doc = copied.doc if copied else f"From {', '.join(expression.fields)}." if fields else "Always the same."
    cls: Class = classes.pop() if classes else "usage"
    return MappedColumn(name, cast(FieldType, kind), expression, cls, doc, copied.unit if copied else None)


def said(field: Field) -> bool:
    """Whether a field says something that the client sent, and is not content."""
    return field.cls != "content" and bool(field.otel or field.derive or field.name in _FROM_FIELDS)


def _read(mapping: str) -> dict[str, Mapped]:
    document = json.loads((FOLDER / f"{mapping}.json").read_text(encoding="utf-8"))
    found = {}
    for view, spec in document["views"].items():
        record = records.record(spec["record"])
        made: dict[str, Expression] = {}
        columns: list[MappedColumn] = []
        for name, (kind, usual) in spec.get("action_columns", {}).items():
            words = {action: row[name] for action, row in spec["actions"].items() if name in row}
            made[name] = folded(Words(FieldOf("event_action"), words, usual))
            columns.append(_column(record, name, kind, made[name]))
        for name, kind, expression in spec["columns"]:
            made[name] = parse(expression, made)
            columns.append(_column(record, name, kind, made[name]))
        if (rest := spec.get("rest")) is not None:
            copied = {c.expression.name for c in columns if isinstance(c.expression, FieldOf)}
            columns += [
                _column(record, rest["prefix"] + field.name, field.type, FieldOf(field.name))
                for field in record.fields
                if said(field) and not (rest.get("unmapped") and field.name in copied)
            ]
        names = [column.name for column in columns]
        if len(set(names)) != len(names):
            raise ValueError(f"{mapping}: {view} has a column twice")
        only = next(((field, tuple(values)) for field, values in spec.get("only", {}).items()), None)
        doc = f"{spec['doc']} {document['target']}; version {document['version']} of the mapping."
        found[view] = Mapped(view, mapping, document["version"], record.name, doc, only, tuple(columns))
    return found


@functools.cache
def views() -> Mapping[str, Mapped]:
    """Every view, by name.

    Raises:  ValueError: a table that is none, or a column that would mix classes.
    """
    return MappingProxyType({name: view for mapping in MAPPINGS for name, view in _read(mapping).items()})
