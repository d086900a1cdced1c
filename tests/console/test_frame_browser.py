"""What a browser makes of every page: the menu of a phone, the theme."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.console.browser import Window, refreshed

pytestmark = pytest.mark.slow

PHONE = {"width": 390, "height": 844}
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


def test_the_menu_of_a_phone_opens_closes_and_leads_on(window: Callable[..., Window]) -> None:
    page = window(viewport=PHONE).go("/")
    button, menu = page.get_by_role("button", name="Menu"), page.get_by_role("navigation", name="Pages", exact=True)
    expect(menu).to_be_hidden()
    expect(button).to_have_attribute("aria-expanded", "false")
    button.click()
    expect(menu).to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(button).to_have_attribute("aria-expanded", "false")
    button.focus()
    page.keyboard.press("Enter")
    menu.get_by_role("link", name="Sessions").click()
    page.wait_for_url("**/sessions*")
    expect(page.get_by_role("navigation", name="Pages", exact=True)).to_be_hidden()


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_page_that_is_no_longer_answered_says_since_when(window: Callable[..., Window], status: int) -> None:
    one = window()
    page = one.go("/sessions?range=7d")
    expect(page.locator("#stale")).to_be_hidden()
    page.route("**/sessions?*", lambda route: route.fulfill(status=status, body=""))
    expect(page.locator("#stale")).to_contain_text("No answer since", timeout=20_000)
    page.unroute("**/sessions?*")
    expect(page.locator("#stale")).to_be_hidden(timeout=20_000)
    one.complaints.clear()


def test_the_theme_is_the_systems_until_one_is_chosen_which_stays(window: Callable[..., Window]) -> None:
    light, dark = (window(color_scheme=scheme).go("/").evaluate(BACKGROUND) for scheme in ("light", "dark"))
    assert light != dark
    page = window(color_scheme="light").go("/?range=30d")
    page.wait_for_selector("canvas")
    switch = page.get_by_role("button", name="Switch between light and dark")
    switch.click()
    assert page.evaluate(BACKGROUND) == dark
    refreshed(page)
    assert page.evaluate(BACKGROUND) == dark
    page.reload()
    assert page.evaluate(BACKGROUND) == dark
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Sessions").click()
    page.wait_for_url("**/sessions*")
    assert page.evaluate(BACKGROUND) == dark
    switch.click()
    assert page.evaluate(BACKGROUND) == light
