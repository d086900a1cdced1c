"""A part of a page that has no answer says what brings one: that it is asked again, or that the page is to be."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import pytest_asyncio

from console.pages import PAGES
from console.web import way_back
from sinks.query.runner import Limits
from tests.console.conftest import GONE, Pages, console_over, pages_of
from tests.sinks.query.conftest import served

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEMPLATES = Path(__file__).parents[2] / "console" / "templates"
# Files, parts of pages, pages of who is not signed in; and those that ask nothing or show nothing without an answer.
OTHERS = re.compile(
    r".*\.csv|/signin.*|/overview/choices|/sql|/sessions/.*"
    r"|/admin|/admin/(keys.*|roles.*|policies)"
)
PATHS = sorted(
    one.path for one in PAGES if one.method == "GET" and one.handler is not way_back and not OTHERS.fullmatch(one.path)
)
BY_ITSELF, BY_HAND = "asked again by itself", "Reload the page"
VOID = frozenset(("input", "meta", "link", "br", "hr", "img"))


class Faults(HTMLParser):
    """What a page says where it has no answer.  said: (whether that is in a live part, the words)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said: list[tuple[bool, str]] = []
        self._open: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        self._open.append(dict(attrs))
        if self._open[-1].get("class") == "fault":
            live = any(re.search(r"\btick\b", one.get("hx-trigger") or "") for one in self._open)
            self.said.append((live, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if any(one.get("class") == "fault" for one in self._open):
            live, words = self.said.pop()
            self.said.append((live, words + data))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refused(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """Pages over a service that says what there is, and takes no question."""
    async with (
        served(tmp_path_factory.mktemp("refusing"), Limits(sql_bytes=1)) as (_, sql),
        pages_of(console_over(sql.base, "root-key"), sql) as pages,
    ):
        yield pages


def told(text: str) -> list[bool]:
    """Of each fault on a page, whether it mends itself; it says so if it does, and only then."""
    said = Faults(text).said
    for live, words in said:
        assert (BY_ITSELF in words, BY_HAND in words) == (live, not live), words
    return [live for live, _ in said]


@pytest.mark.parametrize("path", PATHS)
async def test_a_fault_says_that_it_mends_itself_where_it_does_and_only_there(refused: Pages, path: str) -> None:
    answer = await refused.get(f"{path}?range=7d")
    assert answer.status_code == 200
    assert told(answer.text)


async def test_rejected_records_that_were_asked_for_do_not_come_by_themselves(refused: Pages) -> None:
    """They are asked for by a click; what is said of them stands beside parts that are live."""
    assert set(told((await refused.post("/sources/rejected", {})).text)) == {True, False}


async def test_the_schema_of_the_sql_page_does_not_come_by_itself() -> None:
    async with pages_of(console_over(GONE, "root-key")) as pages:
        assert told((await pages.get("/sql")).text) == [False]


async def test_no_page_without_a_live_part_promises_to_mend_itself() -> None:
    """Also where a test hardly comes: a part that has no answer beside others that have one."""
    promised = []
    for template in TEMPLATES.rglob("*.html"):
        source = template.read_text()
        if "{% extends" in source and not re.search(r"\blive\(|hx-trigger=\"tick", source):
            faults = re.findall(r"parts\.fault\(.*?\) \}\}", source)
            promised += [(template.name, one) for one in faults if "live=false" not in one]
    assert promised == []
