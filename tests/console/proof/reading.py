"""What a page of the console says, out of its HTML: tiles, tables, charts and facts, as somebody reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})

Row = dict[str, object]
"""Column → text; of a chart, its numbers."""


class _Tree(HTMLParser):
    """The elements of a page; the console closes whatever it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._made = TreeBuilder()
        self.feed(text)
        self.root: Element = self._made.close()

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        self._made.start(tag, {name: value or "" for name, value in given})
        if tag in _VOID:
            self._made.end(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._made.end(tag)

    def handle_data(self, data: str) -> None:
        self._made.data(data)


@dataclass(frozen=True)
class Said:
    """What it says.

    tiles: title → value.  tables: name → rows; NAME foot: those of its foot.  charts: title → a row for each value that
    is drawn: at (of the bucket or bar), series, value.  facts: term → what is said of it; of two, both.
    turns: the numbers beside each.
    """

    tiles: dict[str, str]
    tables: dict[str, list[Row]]
    charts: dict[str, list[Row]]
    facts: dict[str, list[str]]
    turns: list[str]
    faults: list[str]


def read(text: str) -> Said:
    """A page."""
    root = _Tree(text).root
    tiles = {_words(_heading(one)): _words(next(_of_class(one, "stat-value"))) for one in _of_class(root, "stat")}
    tables = {
        f"{name}{suffix}": _rows(table, tag)
        for part in (*_of_class(root, "listing"), *_of_class(root, "scroll"))
        for name in (part.get("id") or part.get("aria-labelledby") or part.get("aria-label"),)
        for table in part.iter("table")
        for suffix, tag in (("", "tbody"), (" foot", "tfoot"))
        if name
    }
    facts: dict[str, list[str]] = {}
    for one in root.iter("dl"):
        for term, said in zip(one.iter("dt"), one.iter("dd"), strict=True):
            facts.setdefault(_words(term), []).append(_words(said))
    charts = {
        _words(caption): _drawn(json.loads(script.text or ""))
        for figure in root.iter("figure")
        for caption in figure.iter("figcaption")
        for script in figure.iter("script")
    }
    turns = [_words(one) for one in _of_class(root, "turn-numbers")]
    return Said(tiles, tables, charts, facts, turns, [_words(one) for one in _of_class(root, "fault")])


def totals(page: str) -> dict[str, str]:
    """Chart → what stands below it: its total, beside that of the period before."""
    below = r'<figcaption>([^<]*)</figcaption>(?:(?!</figure>).)*?<p class="faint">(Total [^<]*)</p>'
    return dict(re.findall(below, page, re.S))


def _of_class(root: Element, name: str) -> Iterator[Element]:
    return (one for one in root.iter() if name in one.get("class", "").split())


def _heading(one: Element) -> Element:
    return next(part for part in one.iter() if part.tag in ("h2", "h3"))


def _words(one: Element) -> str:
    return " ".join("".join(one.itertext()).split())


def _cell(one: Element) -> str:
    """Its words; of a time, what it says on hover, which is exact."""
    exact = [title for part in one.iter() if (title := part.get("title", "")).endswith(" UTC")]
    return exact[0] if exact else _words(one)


def _rows(table: Element, tag: str) -> list[Row]:
    titles = _titles(table)
    rows = [row for part in table.iter(tag) for row in part.iter("tr")]
    cells = [[one for one in row if one.tag in ("th", "td")] for row in rows]
    # What has no title is a picture of what stands beside it, or a link.
    return [{title: _cell(one) for title, one in zip(titles, row, strict=True) if title} for row in cells]


def _titles(table: Element) -> list[str]:
    """Of each column; one under a common heading has that before its own."""
    found: dict[int, list[str]] = {}
    taken: set[tuple[int, int]] = set()
    for down, row in enumerate(row for head in table.iter("thead") for row in head.iter("tr")):
        across = 0
        for cell in row:
            while (down, across) in taken:
                across += 1
            wide, high = int(cell.get("colspan", "1")), int(cell.get("rowspan", "1"))
            taken |= {(down + y, across + x) for y in range(high) for x in range(wide)}
            for x in range(wide):
                found.setdefault(across + x, []).append(_words(cell))
    said = [" ".join(words) for _, words in sorted(found.items())]
    times = [said[: place + 1].count(title) for place, title in enumerate(said)]
    return [f"{title} ({n})" if title and n > 1 else title for title, n in zip(said, times, strict=True)]


def _drawn(chart: dict[str, object]) -> list[Row]:
    labels, series = chart["labels"], chart["series"]
    assert isinstance(labels, list)
    assert isinstance(series, list)
    return [
        {"at": label, "series": one["name"], "value": value}
        for one in series
        for label, value in zip(labels, one["values"], strict=True)
        if value
    ]
