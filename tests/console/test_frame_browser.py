"""What a browser makes of every page: the menu of a phone, the theme."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from console.settings import ConsoleSettings
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


def test_the_menu_of_a_phone_is_open_where_no_scripts_run(window: Callable[..., Window]) -> None:
    page = window(viewport=PHONE, java_script_enabled=False).go("/")
    expect(page.get_by_role("button", name="Menu")).to_be_hidden()
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Sessions").click()
    page.wait_for_url("**/sessions*")


# A window of 1280 × 1024 magnified four times, and those of phones.
SMALL = ((320, 256), (844, 390), (390, 500), (390, 844))
IN_SIGHT = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect();
  const whole = box.top >= 0 && box.bottom <= innerHeight;
  return whole && one.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
}"""


@pytest.mark.parametrize(("width", "height"), SMALL)
@pytest.mark.parametrize("scrolled", [False, True])
def test_what_has_the_focus_in_an_open_menu_is_in_sight(
    window: Callable[..., Window], width: int, height: int, scrolled: bool
) -> None:
    page = window(viewport={"width": width, "height": height}).go("/")
    if scrolled:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    button = page.get_by_role("button", name="Menu")
    button.focus()
    page.keyboard.press("Enter")
    links = page.locator("#menu a")
    out_of_sight = []
    for place in range(links.count()):
        page.keyboard.press("Tab")
        expect(links.nth(place)).to_be_focused()
        if not page.evaluate(IN_SIGHT):
            out_of_sight.append(links.nth(place).inner_text())
    assert out_of_sight == []


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


def test_a_part_that_is_never_answered_is_told_and_asked_for_again(window: Callable[..., Window]) -> None:
    one = window()
    page = one.go("/sessions?range=7d")
    assert (
        int(page.locator("body").get_attribute("data-timeout") or 0)
        > 1000 * ConsoleSettings.model_fields["sql_timeout_s"].default
    )
    page.evaluate("document.body.dataset.timeout = '500'")
    page.route("**/sessions?*", lambda _: None)
    expect(page.locator("#stale")).to_contain_text("No answer since", timeout=20_000)
    page.unroute("**/sessions?*")
    expect(page.locator("#stale")).to_be_hidden(timeout=20_000)
    one.complaints.clear()


def test_what_says_that_a_page_stands_still_is_there_before_its_words(window: Callable[..., Window]) -> None:
    """Else a screen reader does not hear of them."""
    page = window().go("/")
    box = page.locator("#stale")
    expect(box).to_be_empty()
    expect(box).to_have_attribute("role", "status")
    expect(box).to_have_css("display", "block")


def test_pages_stand_still_while_one_wants_them_to(window: Callable[..., Window]) -> None:
    page = window().go("/?range=7d")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "x-millrace-tick" in request.headers else None)
    pause = page.get_by_role("button", name="Pause")
    expect(pause).to_have_attribute("aria-pressed", "false")
    refreshed(page)
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    asked.clear()
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Sessions").click()
    expect(pause).to_have_attribute("aria-pressed", "true")  # on the next page, too
    page.wait_for_timeout(4000)
    assert asked == []
    pause.click()
    refreshed(page)
    assert asked != []


UNDER_THE_BAR = """() => {
  const one = document.activeElement, bar = document.querySelector(".top");
  if (!document.getElementById("main").contains(one)) return null;
  const box = one.getBoundingClientRect();
  return box.bottom <= bar.getBoundingClientRect().bottom && box.height ? one.outerHTML.slice(0, 80) : null;
}"""


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE])
@pytest.mark.parametrize("path", ["/sessions?range=30d", "/security/permissions?range=30d"])
def test_what_takes_the_focus_does_not_lie_below_the_bar(
    window: Callable[..., Window], path: str, viewport: dict[str, int]
) -> None:
    page = window(viewport=viewport).go(path)
    page.get_by_role("button", name="Pause").click()
    # As when the page has no answer.
    page.evaluate("document.getElementById('stale').textContent = 'No answer since then. '.repeat(4)")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("main a:visible, main button:visible, main summary:visible").last.focus()
    covered = set()
    for _ in range(80):
        page.keyboard.press("Shift+Tab")
        covered.add(page.evaluate(UNDER_THE_BAR))
    assert covered == {None}


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
