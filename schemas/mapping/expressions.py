"""How a foreign field is made of ours: a small closed language, so that Python and SQL can both be made from one table.

In a table's JSON an expression is one of
    "field"                                    the field of the record
    {"value": x}                               a constant
    {"of": e, "words": {a: b}, "else": x}      b where e, as text, is a; else x, or nothing
    {"when": e, "is": [a, ...], "then": e}     the second where the first, as text, is one of these
    {"present": e, "then": e}                  the second where the first says something
    {"first": [e, ...]}                        the first that says something
    {"list": [e, ...]}                         those that say something; nothing where none does
    {"sum": [e, ...]}                          their sum, the missing as 0; nothing where the first is missing
    {"of": e, "times": n, "per": m}            e * n / m, rounded down; a time counts in microseconds
    {"of": e, "over": n}                       e / n as a double
    {"of": e, "last_part": true}               what follows the last / or \\
    {"column": name}                           what a column further up says
A number over 64 bits is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# An empty one says nothing.
_MANY = (list, dict)
_LAST_PART = re.compile(r"[^/\\]*\Z")


@dataclass(frozen=True)
class Expression:
    """Common root: `value` is what it gives for a record, None for nothing; `fields` are those that it reads."""

    def value(self, record: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    @property
    def fields(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class FieldOf(Expression):
    name: str

    def value(self, record: Mapping[str, Any]) -> Any:
        found = record.get(self.name)
        return None if found.__class__ in _MANY and not found else found

    @property
    def fields(self) -> frozenset[str]:
        return frozenset((self.name,))


@dataclass(frozen=True)
class Constant(Expression):
    constant: Any

    def value(self, record: Mapping[str, Any]) -> Any:
        return self.constant


def _within(number: int) -> int | None:
    """A number of 64 bits; nothing for a larger one, which nobody could store."""
    return number if -(1 << 63) <= number < 1 << 63 else None


def _text(value: Any) -> Any:
    """A flag or a number as SQL's text of it; others as they are."""
    if value.__class__ is bool:
        return "true" if value else "false"
    return str(value) if value.__class__ is int else value


@dataclass(frozen=True)
class Words(Expression):
    of: Expression
    words: Mapping[str, Any]
    otherwise: Any

    def value(self, record: Mapping[str, Any]) -> Any:
        return self.words.get(_text(self.of.value(record)), self.otherwise)

    @property
    def fields(self) -> frozenset[str]:
        return self.of.fields


@dataclass(frozen=True)
class When(Expression):
    of: Expression
    among: tuple[str, ...]
    then: Expression

    def value(self, record: Mapping[str, Any]) -> Any:
        return self.then.value(record) if _text(self.of.value(record)) in self.among else None

    @property
    def fields(self) -> frozenset[str]:
        return self.of.fields | self.then.fields


@dataclass(frozen=True)
class Present(Expression):
    of: Expression
    then: Expression

    def value(self, record: Mapping[str, Any]) -> Any:
        return None if self.of.value(record) is None else self.then.value(record)

    @property
    def fields(self) -> frozenset[str]:
        return self.of.fields | self.then.fields


@dataclass(frozen=True)
class _Parts(Expression):
    parts: tuple[Expression, ...]

    def _found(self, record: Mapping[str, Any]) -> list[Any]:
        return [found for part in self.parts if (found := part.value(record)) is not None]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(name for part in self.parts for name in part.fields)


class First(_Parts):
    def value(self, record: Mapping[str, Any]) -> Any:
        return next(iter(self._found(record)), None)


class ListOf(_Parts):
    def value(self, record: Mapping[str, Any]) -> Any:
        return self._found(record) or None


class Sum(_Parts):
    def value(self, record: Mapping[str, Any]) -> Any:
        return None if self.parts[0].value(record) is None else _within(sum(self._found(record)))


@dataclass(frozen=True)
class Scaled(Expression):
    of: Expression
    times: int
    per: int

    def value(self, record: Mapping[str, Any]) -> Any:
        found = self.of.value(record)
        return None if found is None else _within(found * self.times // self.per)

    @property
    def fields(self) -> frozenset[str]:
        return self.of.fields


@dataclass(frozen=True)
class Over(Expression):
    of: Expression
    divisor: int

    def value(self, record: Mapping[str, Any]) -> Any:
        found = self.of.value(record)
        return None if found is None else found / self.divisor

    @property
    def fields(self) -> frozenset[str]:
        return self.of.fields


@dataclass(frozen=True)
class LastPart(Expression):
    of: Expression

    def value(self, record: Mapping[str, Any]) -> Any:
        found = self.of.value(record)
        match = None if found is None else _LAST_PART.search(found)
        return (match[0] or None) if match else None

    @property
    def fields(self) -> frozenset[str]:
        return self.of.fields


def _choice(expression: Expression) -> tuple[str, frozenset[str]] | None:
    """The only field, and its values that count, of an expression that does no more than tell values apart."""
    match expression:
        case Words(FieldOf(name), words):
            return name, frozenset(words)
        case Words(inner) | Scaled(inner):
            return _choice(inner)
        case Sum(parts):
            found = [_choice(part) for part in parts]
            names = {one[0] for one in found if one is not None}
            if None not in found and len(names) == 1:
                return names.pop(), frozenset().union(*(one[1] for one in found if one is not None))
    return None


def folded(expression: Expression) -> Expression:
    """The same in one step, where it is a choice among a choice: a view of hundreds of nested ones takes seconds."""
    match expression:
        case When(of, among, then) if (choice := _choice(of)) is not None:
            name, words = choice
            if _text(of.value({})) not in among:
                chosen = sorted(word for word in words if _text(of.value({name: word})) in among)
                return When(FieldOf(name), tuple(chosen), then)
        case Words() | Scaled() | Sum() if (choice := _choice(expression)) is not None:
            name, words = choice
            otherwise = expression.value({})
            values = {word: expression.value({name: word}) for word in sorted(words)}
            return Words(FieldOf(name), {k: v for k, v in values.items() if v != otherwise}, otherwise)
    return expression


def parse(spec: Any, columns: Mapping[str, Expression]) -> Expression:
    """The expression that a table's JSON says.

    Args:    columns: those further up, by name.
    Raises:  ValueError for one that is none; KeyError for a column that is not there.
    """
    return folded(_parse(spec, columns))


def _parse(spec: Any, columns: Mapping[str, Expression]) -> Expression:
    if isinstance(spec, str):
        return FieldOf(spec)
    if isinstance(spec, dict):
        members = frozenset(spec)
        if members == {"value"}:
            return Constant(spec["value"])
        if members == {"column"}:
            return columns[spec["column"]]
        for word, kind in (("first", First), ("list", ListOf), ("sum", Sum)):
            if members == {word} and spec[word]:
                return kind(tuple(parse(part, columns) for part in spec[word]))
        if members == {"when", "is", "then"}:
            return When(parse(spec["when"], columns), tuple(spec["is"]), parse(spec["then"], columns))
        if members == {"present", "then"}:
            return Present(parse(spec["present"], columns), parse(spec["then"], columns))
        if "of" in members:
            return _of(parse(spec["of"], columns), spec, members - {"of"})
    raise ValueError(f"not an expression: {spec!r}")


def _of(of: Expression, spec: dict[str, Any], members: frozenset[str]) -> Expression:
    if members in ({"words"}, {"words", "else"}):
        return Words(of, spec["words"], spec.get("else"))
    if members and members <= {"times", "per"}:
        return Scaled(of, spec.get("times", 1), spec.get("per", 1))
    if members == {"over"}:
        return Over(of, spec["over"])
    if members == {"last_part"}:
        return LastPart(of)
    raise ValueError(f"not an expression: {spec!r}")
