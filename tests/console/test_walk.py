"""Every page that there is, opened by its readers on every size of screen: what holds for all of them.

The pages come from the list of routes, so that a new one is walked by itself. MILLRACE_SCREENSHOTS=folder keeps a
picture of each for a person's eye.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from console.pages import PAGES
from console.people import Person
from tests.console.browser import Window
from tests.console.conftest import Fed
from tests.console.people import cookie, person

pytestmark = [pytest.mark.slow]

WIDTHS = (390, 1280, 1920)
SCHEMES = ("light", "dark")
PATHS = sorted({page.path for page in PAGES if not page.changes and "{" not in page.path})
# A role each that sees all and least; nobody sees what needs no sign-in.
READERS: dict[str, Person | None] = {
    "admin": person("admin"),
    "viewer": person("viewer", tenant="local"),
    "nobody": None,
}


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


def keep(one: Window, path: str, reader: str, width: int, scheme: str) -> None:
    """A picture, where pictures are wanted."""
    if folder := os.environ.get("MILLRACE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = path.strip("/").replace("/", "-") or "overview"
        one.screenshot(Path(folder) / f"{name}-{reader}-{width}-{scheme}.png")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_well_on_every_screen(fed: Fed, window: Callable[..., Window], path: str, reader: str) -> None:
    who = READERS[reader]
    if not readable(fed, path, who):
        return  # who may open what is the table of roles' to prove
    one = window(who, stranger=who is None)
    faults = []
    for width in WIDTHS:
        one.page.set_viewport_size({"width": width, "height": 900})
        page = one.go(path)
        if page.locator("[data-chart]").count():
            page.locator("canvas").first.wait_for(state="attached")
        assert page.locator("h1").count() == 1
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            # Colours do not depend on the width, and all else not on colours.
            if scheme == "light" or width == 1280:
                faults += [f"{width} px, {scheme}: {fault}" for fault in one.accessibility()]
            if sticks_out := page.evaluate(TOO_WIDE):
                faults.append(f"{width} px, {scheme}: {sticks_out}")
            keep(one, path, reader, width, scheme)
    assert faults == []  # and the window fails for whatever the browser complained of, or asked another host for


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_readable_without_scripts(fed: Fed, window: Callable[..., Window], path: str) -> None:
    who = READERS["admin"]
    if not readable(fed, path, who):
        return
    page = window(who, java_script_enabled=False, viewport={"width": 1280, "height": 900}).go(path)
    assert page.locator("h1").is_visible()
    assert page.get_by_role("navigation", name="Pages", exact=True).is_visible()
    words = page.locator("main").inner_text().split()
    assert len(words) > 10, words
