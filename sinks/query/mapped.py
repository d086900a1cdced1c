"""The mappings of schemas/mapping as SQL: an expression over a record's own table for every foreign field."""

from __future__ import annotations

from typing import Any

from schemas import records
from schemas.mapping import expressions as e
from schemas.mapping.tables import Mapped, MappedColumn
from schemas.records import FieldType
from service.sql import literal
from sinks.query.tables import DUCKDB, quoted


def column(mapped: Mapped, column: MappedColumn) -> str:
    """What a foreign field is of the columns of its record's table, as its type; NULL where it does not fit it."""
    return f"TRY_CAST({_sql(column.expression, mapped.record)} AS {DUCKDB[column.type]})"


def only(mapped: Mapped) -> str | None:
    """The condition on the rows that have a meaning there; None for all."""
    if mapped.only is None:
        return None
    field, values = mapped.only
    return f"{quoted(field)} IN ({', '.join(map(literal, values))})"


def _sql(expression: e.Expression, record: str) -> str:
    def of(part: e.Expression) -> str:
        return _sql(part, record)

    match expression:
        case e.FieldOf(name):
            return _field(name, records.record(record).field(name).type)
        case e.Constant(constant):
            return _constant(constant)
        case e.Words(inner, words, otherwise):
            cases = " ".join(f"WHEN {literal(word)} THEN {_constant(value)}" for word, value in words.items())
            if not cases:
                return _constant(otherwise)
            return f"CASE CAST({of(inner)} AS VARCHAR) {cases} ELSE {_constant(otherwise)} END"
        case e.When(inner, among, then):
            if not among:
                return "NULL"
            return f"CASE WHEN CAST({of(inner)} AS VARCHAR) IN ({', '.join(map(literal, among))}) THEN {of(then)} END"
        case e.Present(inner, then):
            return f"CASE WHEN {of(inner)} IS NOT NULL THEN {of(then)} END"
        case e.First(parts):
            return f"coalesce({', '.join(map(of, parts))})"
        case e.ListOf(parts):
            # nullif would compare with a list of another type: the empty one has none.
            listed = f"list_filter([{', '.join(map(of, parts))}], x -> x IS NOT NULL)"
            return f"CASE WHEN coalesce({', '.join(map(of, parts))}) IS NOT NULL THEN {listed} END"
        case e.Sum(parts):
            terms = [_number(parts[0], record), *(f"coalesce({_number(part, record)}, 0)" for part in parts[1:])]
            return f"TRY_CAST({' + '.join(terms)} AS BIGINT)"
        case e.Scaled(inner, times, per):
            return f"TRY_CAST({_number(inner, record)} * {times} // {per} AS BIGINT)"
        case e.Over(inner, divisor):
            return f"(CAST({of(inner)} AS DOUBLE) / {divisor})"
        case e.LastPart(inner):
            return rf"nullif(regexp_extract({of(inner)}, '[^/\\]*$'), '')"
    raise TypeError(f"no SQL for {type(expression).__name__}")


def _number(expression: e.Expression, record: str) -> str:
    """A number that sums and products cannot overflow; of a time its microseconds."""
    sql = _sql(expression, record)
    timed = isinstance(expression, e.FieldOf) and records.record(record).field(expression.name).type == "timestamp"
    return f"CAST({f'epoch_us({sql})' if timed else sql} AS HUGEINT)"


def _field(name: str, kind: FieldType) -> str:
    """A column; a list or a map without members says nothing."""
    if kind == "array_string":
        return f"CASE WHEN len({quoted(name)}) > 0 THEN {quoted(name)} END"
    if kind.startswith("map_"):
        return f"CASE WHEN cardinality({quoted(name)}) > 0 THEN {quoted(name)} END"
    return quoted(name)


def _constant(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            return literal(value)
        case list():
            return f"[{', '.join(map(_constant, value))}]"
        case int():
            return str(value)
    raise TypeError(f"no SQL for the constant {value!r}")
