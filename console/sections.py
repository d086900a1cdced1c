"""What a page of figures consists of, as plain values: sections of totals, charts and tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from console.charts import Chart
from console.errors import AskFault

# text: a name, kept on one line if it is short.  words: a sentence.
Form = Literal["text", "words", "code", "tag", "time", "count", "tokens", "ms", "percent", "usd"]
_NUMBERS = frozenset({"count", "tokens", "ms", "percent", "usd"})


def row_id(table: str, *key: object) -> str:
    """Of a row's element in the page: what is opened or focused stays where it is when rows come and go.

    key: what no other row of the table has, as the store has it: shown, two may look alike.
    """
    return f"{table}-{hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()}"


@dataclass(frozen=True)
class Stat:
    """A total.  before: of the period before.  better: whether it should rise ("up") or fall ("down")."""

    title: str
    value: float | None
    unit: str = "count"
    before: float | None = None
    better: Literal["", "up", "down"] = ""
    href: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """Of a table.  form: of its cells."""

    title: str
    form: Form = "text"

    @property
    def number(self) -> bool:
        """Whether it stands at the right."""
        return self.form in _NUMBERS


@dataclass(frozen=True)
class Cell:
    """Of a row.  href: what is behind it.  tone: good, bad, warn.  marks: (name, reason) of what to look at.

    to: what href leads to, where that is something else than what a number counts.
    """

    value: Any
    href: str | None = None
    tone: str = ""
    marks: Sequence[tuple[str, str]] = ()
    to: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    id: of the page's element.  empty: what to say without rows.  older, newer: where there is more.
    keys: of each row, as `row_id` takes it.
    """

    id: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    empty: str
    note: str = ""
    older: str | None = None
    newer: str | None = None
    # wide: as wide as the page.  tall: as long as its rows are; else it scrolls.
    wide: bool = False
    tall: bool = False
    keys: Sequence[object] = field(kw_only=True)
    # How many rows there are, of which these are the first; 0: these are all, or one pages on.
    of: int = 0

    def row_id(self, place: int) -> str:
        """Of the page's element."""
        return row_id(self.id, self.keys[place])


@dataclass(frozen=True)
class Section:
    """A part of a page under one heading.  fault: shown instead of the rest, where its question had no answer."""

    id: str
    title: str
    text: str = ""
    stats: Sequence[Stat] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    fault: AskFault | None = None
    # Chosen for its tables: (what, the URL without it).
    chosen: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Tab:
    """A page of several under one name.  sees: SQL name that a role must give one something of."""

    path: str
    name: str
    sees: str | None = None
