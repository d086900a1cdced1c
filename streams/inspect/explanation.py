"""What a number is made of, record by record: the steps, and how their total compares with what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.inspect.errors import UnknownField

Fields = Mapping[str, Any]
"""Field -> value, an entry of a map as `map.key`."""


@dataclass(frozen=True)
class Step:
    """One record.

    time: event time, ISO 8601; what: event name, metric or session; id: its id.  changes: field -> (before, after).
    why: why it changed nothing of what was asked for.
    """

    topic: str
    partition: int
    offset: int
    time: str | None
    what: str
    id: str
    changes: Mapping[str, tuple[Any, Any]]
    why: str = ""


@dataclass
class Explanation:
    """steps: in the order of the log, topic by topic.  missing: what cannot be read any more, a line each.
    explained, stored: the fields that were asked for, as folded again and as the row has them.
    """

    subject: str
    steps: list[Step] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    explained: Fields = field(default_factory=dict)
    stored: Fields = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        return self.explained == self.stored

    @property
    def verdict(self) -> str:
        """One line."""
        if self.equal and self.missing:
            return "equal to the stored row: what is gone did not change these fields, or later records stand for it"
        if self.equal:
            return "equal to the stored row"
        if self.missing:
            return "PARTIAL: records are gone from Kafka, and the stored row has what they said"
        return "DIFFERENT from the stored row"

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        told = {**vars(self), "steps": [_json_step(step) for step in self.steps]}
        return {**told, "equal": self.equal, "verdict": self.verdict}


def _json_step(step: Step) -> dict[str, Any]:
    changed = {name: {"before": before, "after": after} for name, (before, after) in step.changes.items()}
    return {**vars(step), "changes": changed}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its maps opened: field or field.key -> value."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            out |= {f"{name}.{key}": entry for key, entry in value.items()}
        else:
            out[name] = value
    return out


def only(row: Fields, fields: Sequence[str]) -> dict[str, Any]:
    """Those fields of a flat row, the entries of maps among them."""
    return {name: value for name, value in row.items() if name in fields or name.partition(".")[0] in fields}


def changes(before: Fields, after: Fields) -> dict[str, tuple[Any, Any]]:
    """Field -> (before, after), of those that are not the same; None for a field that a row does not have."""
    names = dict.fromkeys([*after, *before])
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def check_fields(fields: Sequence[str], known: Sequence[str]) -> None:
    """Raises: UnknownField."""
    for name in fields:
        if name.partition(".")[0] not in known:
            raise UnknownField(name, known)


def text(found: Explanation) -> str:
    """For people: a line a record, what is missing, the totals, the verdict."""
    lines = [found.subject]
    for step in found.steps:
        changed = "  ".join(_change(name, *values) for name, values in step.changes.items()) or f"({step.why})"
        at = f"{step.topic}[{step.partition}]@{step.offset}"
        lines.append(f"{at}  {step.time}  {step.what}  {step.id}  {changed}")
    lines += [f"missing: {line}" for line in found.missing]
    for name in dict.fromkeys([*found.explained, *found.stored]):
        mine, stored = found.explained.get(name), found.stored.get(name)
        if mine or stored:
            lines.append(f"{name}: {_shown(mine)}" + ("" if mine == stored else f", but stored is {_shown(stored)}"))
    return "\n".join([*lines, found.verdict]) + "\n"


def _change(name: str, before: Any, after: Any) -> str:
    if _is_number(after) and (before is None or _is_number(before)):
        return f"{name} {after - (before or 0):+.10g}"
    return f"{name} {_shown(before)} -> {_shown(after)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
