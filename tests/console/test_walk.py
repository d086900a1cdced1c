"""Every page that there is, opened by its readers on every size of screen: what holds for all of them.

The pages come from the list of routes, so that a new one is walked by itself; some of what they show is hostile
(tests/console/hostile.py). MILLRACE_SCREENSHOTS=folder keeps a picture of each for a person's eye.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Error as BrowserError

from console.pages import PAGES
from console.people import Person
from console.web import way_back
from tests.console.browser import Window
from tests.console.conftest import Fed
from tests.console.hostile import HOSTILE
from tests.console.people import person
from tests.console.well import (
    SHIFT_MAX,
    SHIFTED,
    WATCHED,
    Scheme,
    faults,
    jumps,
    loaded,
    open_all,
    refresh,
    screen,
    too_wide_in_turn,
)

pytestmark = [pytest.mark.slow]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
# Of routes with a part that is chosen: what to open there, by a name for its picture. {event}: a tool's result.
SESSION = f"/sessions/hostile/{quote(HOSTILE, safe='')}"
CHOSEN = {
    "/admin/roles/{name}": {"role": "/admin/roles/viewer"},
    "/sessions/{rest:path}": {
        "session": SESSION,
        "turn": f"{SESSION}/turn?turn={quote(HOSTILE, safe='')}",
        "event": f"{SESSION}/events/{{event}}",
    },
}
ROUTES = sorted(
    {page.path for page in PAGES if not page.changes and page.need != "nobody" and page.handler is not way_back}
)
# Each with a time in which something happened.
PLACES = {
    path.strip("/").replace("/", "-") or "overview": f"{path}?range=30d" for path in ROUTES if "{" not in path
} | {name: path for route in ROUTES if "{" in route for name, path in CHOSEN[route].items()}
LEADS_ON = {"/admin"}
"""Those that lead to another page."""
ADMIN, VIEWER = person("admin"), person("viewer", tenant="hostile")
PUSH = "() => { const box = document.createElement('div'); box.style.height = '500px'; document.body.prepend(box); }"


@pytest.fixture(scope="module")
def windows(fed: Fed, browser: Browser) -> Iterator[Callable[[Person | None, bool], Window]]:
    """One window for each reader: what it has loaded, as styles and scripts, it need not load again."""
    opened: dict[tuple[str, bool], Window] = {}

    def open_(who: Person | None, scripts: bool) -> Window:
        name = (who.roles[0] if who else "nobody", scripts)
        if name not in opened:
            opened[name] = Window(browser, fed.base, fed.secret, who, java_script_enabled=scripts)
            opened[name].context.add_init_script(WATCHED)
        return opened[name]

    yield open_
    for one in opened.values():
        one.context.close()


@pytest.fixture
def window_of(windows: Callable[[Person | None, bool], Window]) -> Iterator[Callable[..., Window]]:
    """The window of a reader; whatever its browser complains of, or asks another host for, fails the test."""
    used: list[Window] = []

    def take(who: Person | None, *, scripts: bool = True) -> Window:
        used.append(windows(who, scripts))
        return used[-1]

    yield take
    for one in used:
        one.page.goto("about:blank")
        complaints, one.complaints = one.complaints, []
        assert complaints == []


def address(fed: Fed, place: str) -> str:
    """Where a place is opened."""
    path = PLACES[place]
    if "{event}" not in path:
        return path
    tool = "select min(event_id) as id from events where tenant = 'hostile' and event_action = 'tool_result.command'"
    return path.replace("{event}", fed.stack.sql(fed.stack.admin_key())(tool)[0]["id"])


def opened(one: Window, path: str, *answers: int) -> bool:
    """Open it. False: there is no page here, but a file, the way to another page, or one of these other answers."""
    try:
        answer = one.page.goto(one.base + path)
    except BrowserError as error:
        if "Download is starting" not in error.message:
            raise
        assert path.partition("?")[0].endswith(".csv")
        return False
    assert answer is not None
    assert answer.status in (200, *answers), f"{path}: {answer.status}"
    if not answer.ok:
        one.complaints.clear()  # of that
    led_on = answer.request.redirected_from is not None
    assert not answer.ok or led_on == (path.partition("?")[0] in LEADS_ON), path
    return answer.ok and not led_on


def keep(one: Window, place: str, reader: str) -> None:
    """Pictures of the page as wide as it is now, where pictures are wanted."""
    if folder := os.environ.get("MILLRACE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        width = (one.page.viewport_size or {}).get("width")
        for scheme in SCHEMES:
            one.page.emulate_media(color_scheme=scheme)
            one.screenshot(Path(folder) / f"{place}-{reader}-{width}-{scheme}.png")


def walked(one: Window, path: str, place: str, reader: str) -> list[str]:
    """What is wrong with a page on a phone, a desk and a wide screen, light and dark.

    It is loaded on the first two. From the desk to the wide screen nothing changes but the room, and there all that can
    be opened is, as on the phone in the end.
    """
    found = []
    for width, scheme in ((390, "light"), (1280, "dark")):
        screen(one, width, scheme)
        if not opened(one, path):
            return []
        loaded(one.page)
        refresh(one.page)
        found += [f"{width} px: {jump}" for jump in jumps(one.page)]
        found += faults(one)
        keep(one, place, reader)
    screen(one, 1920, "light")
    keep(one, place, reader)
    open_all(one.page)
    found += faults(one, colours=False)
    screen(one, 390, "light")
    return found + too_wide_in_turn(one.page)


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_well_on_every_screen(fed: Fed, window_of: Callable[..., Window], place: str) -> None:
    """One who sees all, on every screen."""
    assert walked(window_of(ADMIN), address(fed, place), place, "admin") == []


def test_the_door_is_well(window_of: Callable[..., Window]) -> None:
    """All that there is for who is not signed in."""
    assert walked(window_of(None), "/signin", "signin", "nobody") == []


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_well_for_who_sees_less(fed: Fed, window_of: Callable[..., Window], place: str) -> None:
    """They see it in the same way, and are shown what others are not: that something is left out."""
    one = window_of(VIEWER)
    screen(one, 1280, "light")
    if opened(one, address(fed, place), 403):
        loaded(one.page)
        assert faults(one) == []
        keep(one, place, "viewer")


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_readable_without_scripts(fed: Fed, window_of: Callable[..., Window], place: str) -> None:
    one = window_of(ADMIN, scripts=False)
    if not opened(one, address(fed, place)):
        return
    assert one.page.locator("h1").is_visible()
    assert one.page.get_by_role("navigation", name="Pages", exact=True).is_visible()
    whole = one.page.get_by_role("link", name="Show all of it")
    if whole.count():  # what a page asks for by itself where scripts run
        whole.first.click()
    expect(one.page.get_by_text("Reading the events")).to_have_count(0)
    words = one.page.locator("main").inner_text().split()
    assert len(words) > 10, words


def test_a_jump_would_be_seen(window_of: Callable[..., Window]) -> None:
    page = window_of(ADMIN).go("/sql")
    page.evaluate(PUSH)
    assert page.evaluate(SHIFTED) > SHIFT_MAX
    assert jumps(page) != []


def test_a_text_that_is_more_would_be_seen(window_of: Callable[..., Window]) -> None:
    one = window_of(ADMIN)
    one.go("/admin/tenants").evaluate("html => { document.querySelector('main').innerHTML += html }", HOSTILE)
    assert any("hostile" in fault for fault in faults(one, colours=False))
    assert one.complaints != []
    one.complaints.clear()
