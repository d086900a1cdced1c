"""Files to keep: what is in a cell comes out of it again, and no spreadsheet runs it."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.download import csv_file

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20SUM"]


async def kept(rows: list[list[Any]], columns: tuple[str, ...] = ("a", "b")) -> list[list[str]]:
    """What Python's csv makes of the file, without its first line."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(csv_file("x", columns, rows))) as http:
        answer = await http.get("http://x/")
    head, *lines = csv.reader(io.StringIO(answer.content.decode(), newline=""))
    assert head == list(columns)
    return lines


@pytest.mark.parametrize("text", FORMULAS)
async def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert await kept([[text, f"x{text}"]]) == [[f"'{text}", f"x{text}"]]


async def test_a_name_of_a_column_is_no_formula_either() -> None:
    assert await kept([], ("'=1", "b")) == []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(csv_file("x", ("=1",), []))) as http:
        assert (await http.get("http://x/")).text == "'=1\r\n"


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=5))
async def test_every_text_comes_back(rows: list[list[str]]) -> None:
    defused = [[f"'{text}" if text[:1] in {one[0] for one in FORMULAS} else text for text in row] for row in rows]
    assert await kept(rows) == defused


async def test_separators_quotes_and_line_ends_come_back() -> None:
    row = ["a;b,c\td", 'say "no"\r\nor\nnothing']
    assert await kept([row]) == [row]


async def test_other_values_are_as_they_are_written() -> None:
    assert await kept([[-1.5, None], [True, {"a": [1]}]]) == [["-1.5", ""], ["true", '{"a":[1]}']]


async def test_many_rows_come_whole() -> None:
    rows = [[number, "x"] for number in range(2500)]
    assert [int(one) for one, _ in await kept(rows)] == list(range(2500))
