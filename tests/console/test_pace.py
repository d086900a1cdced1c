"""How often each page asks anew: within seconds, but for what may be dear and was."""

from __future__ import annotations

import asyncio
import re

import pytest
from starlette.requests import Request

from console.web import Visit
from tests.console.conftest import GONE, PATIENCE_S, Pages, console_over, pages_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON, SELDOM = "tick from:body", "tick throttle:30s from:body"


async def paces(pages: Pages, path: str) -> set[str]:
    """The triggers of the parts of a page that keep themselves up to date."""
    answer = await pages.get(path)
    assert answer.status_code == 200
    return set(re.findall(r'hx-trigger="([^"]*tick[^"]*)"', answer.text))


@pytest.mark.parametrize("path", ["/cost?", "/cost?by=model&", "/adoption?"])
@pytest.mark.parametrize("range_", ["24h", "90d"])
@pytest.mark.parametrize(("cheap_page_s", "pace"), [(PATIENCE_S, SOON), (0.0, SELDOM)])
async def test_what_may_be_dear_is_asked_at_every_tick_unless_it_took_too_long(
    pages: Pages, path: str, range_: str, cheap_page_s: float, pace: str
) -> None:
    console = console_over(pages.sql.base, "root-key", cheap_page_s=cheap_page_s, sql_timeout_s=PATIENCE_S)
    async with pages_of(console) as paced:
        assert await paces(paced, f"{path}range={range_}") == {pace}


async def test_what_a_page_took_is_what_its_answers_took_too() -> None:
    visit = Visit(console_over(GONE, "root-key", cheap_page_s=0.01), Request({"type": "http"}), None)
    await asyncio.sleep(0.02)
    assert f"{visit.pace} from:body" == SELDOM


@pytest.mark.parametrize("path", ["/sources", "/security", "/security/commands", "/reliability", "/sessions", "/start"])
@pytest.mark.parametrize("range_", ["24h", "90d"])
async def test_every_other_page_is_asked_at_every_tick(pages: Pages, path: str, range_: str) -> None:
    assert await paces(pages, f"{path}?range={range_}") == {SOON}
