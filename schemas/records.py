"""The .avsc files as values. They are the single source: no other list of fields exists.

schemas/<record>/v<N>.avsc, N = 1, 2, ... without holes. Beside Avro's own properties a field carries:
    doc        what it means
    otel       the wire attributes that it comes from, best first; `event:attribute` where the event decides the meaning
    class      usage | person | detail | content: who may see it
    unit       where it has one
    derive     paths into the JSON texts of attributes, `attribute.member`, best first
    content    those of its `otel` attributes whose text is content although the field's class is not
    aggregate  "sum" for the totals that sessions, hours and windows share
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import fastavro.schema

FieldType = Literal[
    "string",
    "long",
    "int",
    "double",
    "boolean",
    "bytes",
    "timestamp",
    "map_string",
    "map_double",
    "map_long",
    "array_string",
]
Class = Literal["usage", "person", "detail", "content"]

FOLDER = Path(__file__).parent
CLASSES: tuple[Class, ...] = ("usage", "person", "detail", "content")
_SCALARS = {"string", "long", "int", "double", "boolean", "bytes"}
_MAPS = {"string": "map_string", "double": "map_double", "long": "map_long"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record; `default` counts only where `required` is false."""

    name: str
    type: FieldType
    nullable: bool
    required: bool
    default: Any
    doc: str
    otel: tuple[str, ...]
    cls: Class
    unit: str | None
    derive: tuple[str, ...]
    content: tuple[str, ...]
    aggregate: str | None


@dataclass(frozen=True)
class Record:
    """One version of one record.

    `schema` is the .avsc as written; `plain` is the same without logical types and our own properties, as Avro
    libraries need it to show times as ints. `fingerprint` is CRC-64-AVRO of the Parsing Canonical Form, 8 bytes little
    endian, as in the single-object encoding.
    """

    name: str
    version: int
    schema: dict[str, Any]
    fields: tuple[Field, ...]
    fingerprint: bytes
    plain: dict[str, Any] = field(repr=False)
    by_name: Mapping[str, Field] = field(repr=False)

    def field(self, name: str) -> Field:
        """The field called `name`. Raises: KeyError."""
        return self.by_name[name]

    @property
    def sums(self) -> tuple[str, ...]:
        """Names of the totals, in the order of the schema."""
        return tuple(f.name for f in self.fields if f.aggregate == "sum")


def _field_type(spec: Any) -> FieldType:
    if isinstance(spec, dict):
        if spec.get("logicalType") == "timestamp-micros" and spec["type"] == "long":
            return "timestamp"
        if spec["type"] == "map" and spec["values"] in _MAPS:
            return cast(FieldType, _MAPS[spec["values"]])
        if spec["type"] == "array" and spec["items"] == "string":
            return "array_string"
    elif spec in _SCALARS:
        return cast(FieldType, spec)
    raise ValueError(f"unsupported Avro type: {spec!r}")


def _parse_field(spec: Mapping[str, Any]) -> Field:
    kind, nullable = spec["type"], False
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null":
            raise ValueError(f"{spec['name']}: a union must be [null, type]")
        kind, nullable = kind[1], True
    cls = spec["class"]
    if cls not in CLASSES:
        raise ValueError(f"{spec['name']}: unknown class {cls!r}")
    otel, content = tuple(spec["otel"]), tuple(spec.get("content", ()))
    if not set(content) <= set(otel):
        raise ValueError(f"{spec['name']}: `content` names an attribute that `otel` does not")
    return Field(
        name=spec["name"],
        type=_field_type(kind),
        nullable=nullable,
        required="default" not in spec,
        default=spec.get("default"),
        doc=spec["doc"],
        otel=otel,
        cls=cls,
        unit=spec.get("unit"),
        derive=tuple(spec.get("derive", ())),
        content=content,
        aggregate=spec.get("aggregate"),
    )


def _plain_type(spec: Any) -> Any:
    if isinstance(spec, list):
        return [_plain_type(branch) for branch in spec]
    if isinstance(spec, dict) and spec["type"] in _SCALARS:
        return spec["type"]
    return spec


def parse(name: str, version: int, schema: dict[str, Any]) -> Record:
    """The record that a parsed .avsc describes.

    Raises:  ValueError, KeyError: a type, class or property outside of what records.py documents.
    """
    fields = tuple(_parse_field(spec) for spec in schema["fields"])
    plain = {
        "type": "record",
        "name": schema["name"],
        "namespace": schema["namespace"],
        "fields": [
            {"name": s["name"], "type": _plain_type(s["type"])} | ({"default": s["default"]} if "default" in s else {})
            for s in schema["fields"]
        ],
    }
    canonical = fastavro.schema.to_parsing_canonical_form(plain)
    little_endian = fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
    return Record(
        name=name,
        version=version,
        schema=schema,
        fields=fields,
        fingerprint=bytes.fromhex(little_endian),
        plain=plain,
        by_name=MappingProxyType({f.name: f for f in fields}),
    )


def load(folder: Path) -> dict[str, dict[int, Record]]:
    """Every version of every record under `folder`, by name and version.

    Raises:  ValueError: an .avsc that breaks the rules above, or a hole in the versions.
    """
    records: dict[str, dict[int, Record]] = {}
    for path in sorted(folder.glob("*/v*.avsc")):
        name, version = path.parent.name, int(path.stem[1:])
        try:
            parsed = parse(name, version, json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, fastavro.schema.SchemaParseException) as error:
            raise ValueError(f"{path}: {error}") from error
        records.setdefault(name, {})[version] = parsed
    for name, versions_of in records.items():
        if sorted(versions_of) != list(range(1, len(versions_of) + 1)):
            raise ValueError(f"{folder / name}: versions must count from 1 without holes")
    return records


@functools.cache
def _shipped() -> dict[str, dict[int, Record]]:
    return load(FOLDER)


NAMES: tuple[str, ...] = tuple(_shipped())


def versions(name: str) -> tuple[int, ...]:
    """Versions of the record, oldest first. Raises: KeyError."""
    return tuple(sorted(_shipped()[name]))


def record(name: str, version: int | None = None) -> Record:
    """One version of a record, the newest unless said otherwise. Raises: KeyError."""
    known = _shipped()[name]
    return known[max(known) if version is None else version]
