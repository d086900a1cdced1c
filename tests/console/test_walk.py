"""Every page that there is, opened by its readers on every size of screen: what holds for all of them.

The pages come from the list of routes, so that a new one is walked by itself; some of what they show is hostile
(tests/console/hostile.py). MILLRACE_SCREENSHOTS=folder keeps a picture of each for a person's eye.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from console.pages import PAGES
from console.people import Person
from tests.console.browser import WAIT_MS, Window
from tests.console.conftest import Fed
from tests.console.hostile import HOSTILE
from tests.console.people import cookie, person

pytestmark = [pytest.mark.slow]

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
# Width in px, scheme. What there is does not depend on the scheme, nor on the width from 1280 px on.
SCREENS: tuple[tuple[int, Scheme], ...] = ((390, "light"), (1280, "dark"), (1920, "light"))
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
PAGES_THERE = sorted({page.path for page in PAGES if not page.changes})
# Each with a time in which something happened.
PLACES = {
    path.strip("/").replace("/", "-") or "overview": f"{path}?range=30d" for path in PAGES_THERE if "{" not in path
} | {name: path for route in PAGES_THERE if "{" in route for name, path in CHOSEN[route].items()}
# One who sees all, on every screen. Who sees less sees it in the same way, and is shown what the others leave out.
READERS: dict[str, tuple[Person | None, tuple[tuple[int, Scheme], ...]]] = {
    "admin": (person("admin"), SCREENS),
    "viewer": (person("viewer", tenant="hostile"), ((1280, "light"),)),
    "nobody": (None, SCREENS),
}


def address(fed: Fed, place: str) -> str:
    """Where a place is opened."""
    path = PLACES[place]
    if "{event}" not in path:
        return path
    tool = "select min(event_id) as id from events where tenant = 'hostile' and event_action = 'tool_result.command'"
    return path.replace("{event}", fed.stack.sql(fed.stack.admin_key())(tool)[0]["id"])


def readable(fed: Fed, path: str, who: Person | None) -> bool:
    """Whether it is a page for this reader: no redirect, no refusal, no file to download, no mere part of a page."""
    cookies = {} if who is None else cookie(fed.secret, who)
    answer = httpx.get(fed.base + path, cookies=cookies, timeout=30)
    assert answer.status_code < 500, f"{path}: {answer.status_code}"
    if who is not None and who.admin and not path.startswith("/signin"):
        assert answer.status_code < 400, f"{path}: an admin is refused"
    return answer.status_code == 200 and answer.text.lstrip().startswith("<!doctype html>")


TOO_WIDE = """() => {
  const root = document.scrollingElement, room = root.clientWidth;
  if (root.scrollWidth <= room) return "";
  const sticks = (e) => e.getBoundingClientRect().right > room + 1 && !e.closest(".scroll, pre, .skip, .hidden");
  const out = [...document.querySelectorAll("body *")].filter(sticks).slice(0, 3);
  return `${root.scrollWidth} of ${room} px: ` + out.map((e) => e.outerHTML.slice(0, 120)).join(" | ");
}"""
"""What sticks out of the page to the right; nothing is well."""
# What HOSTILE would make, were it anything but text.
INJECTED = "main script:not([type='application/json']), main img"


def loaded(page: Page) -> None:
    """Until the charts are drawn and no part is without its answer, which a part asks for again by itself."""
    if page.locator("[data-chart]").count():
        page.locator("canvas").first.wait_for(state="attached")
    expect(page.locator(".fault")).to_have_count(0, timeout=WAIT_MS)


def keep(one: Window, place: str, reader: str, width: int) -> None:
    """Pictures, where pictures are wanted."""
    if folder := os.environ.get("MILLRACE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for scheme in SCHEMES:
            one.page.emulate_media(color_scheme=scheme)
            one.screenshot(Path(folder) / f"{place}-{reader}-{width}-{scheme}.png")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_well_on_every_screen(fed: Fed, window: Callable[..., Window], place: str, reader: str) -> None:
    who, screens = READERS[reader]
    path = address(fed, place)
    if not readable(fed, path, who):
        return  # who may open what is the table of roles' to prove
    one = window(who, stranger=who is None)
    faults = []
    for width, scheme in screens:
        one.page.set_viewport_size({"width": width, "height": 900})
        one.page.emulate_media(color_scheme=scheme)
        page = one.go(path)
        loaded(page)
        assert page.locator("h1").count() == 1
        assert page.locator(INJECTED).count() == 0
        faults += [f"{width} px, {scheme}: {fault}" for fault in [page.evaluate(TOO_WIDE)] if fault]
        if width <= 1280:
            faults += [f"{width} px, {scheme}: {fault}" for fault in one.accessibility()]
        keep(one, place, reader, width)
    assert faults == []  # and the window fails for whatever the browser complained of, or asked another host for


@pytest.mark.parametrize("place", PLACES)
def test_a_page_is_readable_without_scripts(fed: Fed, window: Callable[..., Window], place: str) -> None:
    who, _ = READERS["admin"]
    path = address(fed, place)
    if not readable(fed, path, who):
        return
    page = window(who, java_script_enabled=False, viewport={"width": 1280, "height": 900}).go(path)
    assert page.locator("h1").is_visible()
    assert page.get_by_role("navigation", name="Pages", exact=True).is_visible()
    words = page.locator("main").inner_text().split()
    assert len(words) > 10, words
