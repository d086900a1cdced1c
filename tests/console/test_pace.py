"""How often each page asks anew: within seconds wherever that is cheap."""

from __future__ import annotations

import re

import pytest

from tests.console.conftest import Pages

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON, SELDOM = "tick from:body", "tick throttle:30s from:body"


async def paces(pages: Pages, path: str) -> set[str]:
    """The triggers of the parts of a page that keep themselves up to date."""
    answer = await pages.get(path)
    assert answer.status_code == 200
    return set(re.findall(r'hx-trigger="([^"]*tick[^"]*)"', answer.text))


@pytest.mark.parametrize("path", ["/cost?", "/cost?by=user&", "/cost?by=model&", "/adoption?"])
@pytest.mark.parametrize(
    ("range_", "pace"),
    [
        ("range=24h", SOON),
        ("range=7d", SOON),
        ("from=2026-09-10T00:00Z&to=2026-09-17T00:00Z", SOON),
        ("from=2026-09-10T00:00Z&to=2026-09-17T01:00Z", SELDOM),
        ("range=30d", SELDOM),
        ("range=90d", SELDOM),
    ],
)
async def test_what_grows_with_the_range_is_asked_at_every_tick_of_a_week(
    pages: Pages, path: str, range_: str, pace: str
) -> None:
    assert await paces(pages, f"{path}{range_}") == {pace}


@pytest.mark.parametrize("path", ["/sources", "/security", "/security/commands", "/reliability", "/sessions", "/start"])
@pytest.mark.parametrize("range_", ["24h", "90d"])
async def test_every_other_page_is_asked_at_every_tick(pages: Pages, path: str, range_: str) -> None:
    assert await paces(pages, f"{path}?range={range_}") == {SOON}
