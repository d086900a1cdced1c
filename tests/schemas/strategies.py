"""Values of every record, made from its schema."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas import records
from schemas.records import Field, Record

LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
DOUBLES = st.floats(allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)

BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "long": LONGS,
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "double": DOUBLES,
    "boolean": st.booleans(),
    "bytes": st.binary(max_size=200),
    "timestamp": st.one_of(st.integers(0, 4_000_000_000_000_000), LONGS),
    "map_string": st.dictionaries(TEXT, TEXT, max_size=4),
    "map_double": st.dictionaries(TEXT, DOUBLES, max_size=4),
    "map_long": st.dictionaries(TEXT, LONGS, max_size=4),
    "array_string": st.lists(TEXT, max_size=4),
}


def field_value(field: Field) -> st.SearchStrategy[Any]:
    """A value of the field, null where it may be."""
    value = BY_TYPE[field.type]
    return st.none() | value if field.nullable else value


@st.composite
def rows(draw: st.DrawFn, record: Record) -> dict[str, Any]:
    """A whole record of which some fields are set, as in real data; the others have their defaults."""
    optional = [f.name for f in record.fields if not f.required]
    chosen = set(draw(st.lists(st.sampled_from(optional), max_size=25, unique=True)))
    return {f.name: draw(field_value(f)) if f.required or f.name in chosen else f.default for f in record.fields}


def any_row() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A record's name and a value of it."""
    return st.sampled_from(records.NAMES).flatmap(lambda name: st.tuples(st.just(name), rows(records.record(name))))
