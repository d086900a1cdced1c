"""How often each page asks anew: within seconds, whatever it shows."""

from __future__ import annotations

import re

import pytest

from tests.console.conftest import Pages

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON = "tick from:body"


async def paces(pages: Pages, path: str) -> set[str]:
    """The triggers of the parts of a page that keep themselves up to date."""
    answer = await pages.get(path)
    assert answer.status_code == 200
    return set(re.findall(r'hx-trigger="([^"]*tick[^"]*)"', answer.text))


PATHS = (
    *("/", "/sessions", "/cost", "/cost?by=model", "/adoption"),
    *("/security", "/security/commands", "/reliability", "/sources", "/start"),
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("range_", ["24h", "90d"])
async def test_every_page_is_asked_at_every_tick(pages: Pages, path: str, range_: str) -> None:
    found = await paces(pages, f"{path}{'&' if '?' in path else '?'}range={range_}")
    assert found
    assert found <= {SOON, f"load, {SOON}"}
