"""The overview in a browser, over the running stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.console.browser import Window
from tests.console.conftest import Fed

pytestmark = [pytest.mark.slow]


def test_the_total_cost_on_the_page_is_that_of_sql(fed: Fed, window: Callable[..., Window]) -> None:
    page = window().go("/?range=30d")
    (row,) = fed.stack.sql(fed.stack.admin_key())("select sum(spend_usd) as usd from session_hours")
    assert page.locator(".stat-value").first.inner_text() == f"${row['usd']:,.2f}"
    page.wait_for_selector("canvas")


def test_nothing_is_wrong_for_who_cannot_see_or_use_a_mouse(window: Callable[..., Window]) -> None:
    for scheme in ("light", "dark"):
        one = window(color_scheme=scheme)
        one.go("/")
        assert one.accessibility() == []
