"""A real Chromium on the pages of a running console."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.async_api import Browser as AsyncBrowser
from playwright.async_api import async_playwright
from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from console.people import Person
from tests.console.people import cookie

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    # Chromium looks for its maker's servers by itself, at every start: it finds none, nor does a page find another's.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE 0.0.0.0, EXCLUDE localhost",
)
# The list below the address bar is a page of its own: more than half of what a window takes to open.
LEFT_OFF = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup")
WAIT_MS = 20_000
AT_REST = "() => !document.querySelector('.htmx-request, .htmx-swapping, .htmx-settling')"
"""That no part of a page is being asked for, or put in its place."""
AXE = Axe().axe_script
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def chromium() -> str | None:
    """Where Chromium is: MILLRACE_TEST_CHROMIUM, else on the PATH."""
    given = os.environ.get("MILLRACE_TEST_CHROMIUM")
    return given or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def running() -> Iterator[Browser]:
    """A browser; the test is skipped, and says so, where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: install one (Debian: chromium), or set MILLRACE_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        with pytest.raises(Error) as refused:
            playwright.chromium.launch(executable_path=sys.executable)
        browser = playwright.chromium.launch(executable_path=path, args=_arguments(refused.value))
        try:
            yield browser
        finally:
            browser.close()


@asynccontextmanager
async def running_async() -> AsyncIterator[AsyncBrowser]:
    """The same browser for who waits for several pages at once."""
    async with async_playwright() as playwright:
        with pytest.raises(Error) as refused:
            await playwright.chromium.launch(executable_path=sys.executable)
        arguments = _arguments(refused.value)
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


def _arguments(refused: Error) -> list[str]:
    """What Chromium is started with, beside what Playwright gives it.

    Of several lists of features to leave off it takes the last one alone. Playwright tells its own nowhere but where a
    program does not start as a browser: with all that it was given.
    """
    own = re.search(r"--disable-features=\S+", str(refused))
    assert own is not None, "Playwright leaves no feature off any more"
    return [*_ARGUMENTS, ",".join((own[0], *LEFT_OFF))]


def refreshed(page: Page, times: int = 1) -> None:
    """Wait until the page has kept itself current so many times more."""
    for _ in range(times):
        with page.expect_response(lambda answer: "x-millrace-tick" in answer.request.headers):
            pass
    page.wait_for_function(AT_REST)


def _rules(colours: bool) -> dict[str, Any]:
    """For axe.run. It writes a selector for each node of every result, and of these only what is violated is read."""
    rules = {"color-contrast": {"enabled": colours}}
    return {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"], "rules": rules}


class Window:
    """One person's window. What the browser complains of (a script that failed, a policy that was broken) is kept."""

    def __init__(self, browser: Browser, base: str, secret: str, who: Person | None, **options: object) -> None:
        """options: of Browser.new_context: viewport, color_scheme, timezone_id."""
        self.base = base
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]
        self._secret = secret
        if who is not None:
            self.sign_in(who)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("dialog", lambda dialog: self.complaints.append(f"a script asked: {dialog.message}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"failed: {error}"))
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on(
            "request",
            lambda request: (
                None if request.url.startswith((base, "data:")) else self.complaints.append(f"outside: {request.url}")
            ),
        )

    def sign_in(self, who: Person) -> None:
        """As somebody, whoever was signed in before; pages that are open stay as they are."""
        said = cookie(self._secret, who)
        self.context.add_cookies([{"name": name, "value": value, "url": self.base} for name, value in said.items()])

    def go(self, path: str) -> Page:
        """Open a page of the console; it is loaded when this returns."""
        self.page.goto(self.base + path, wait_until="load")
        return self.page

    def accessibility(self, *, colours: bool = True, but: str | None = None) -> list[str]:
        """What axe-core finds wrong on the page, one line each, by the rules of WCAG 2.2 AA.

        Args: colours: whether contrast is looked at too, which takes as long as all other rules.  but: a part that is
              not looked at, by its selector.
        """
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE)
        run = "([parts, options]) => axe.run(parts, options).then((found) => found.violations)"
        found = self.page.evaluate(run, [{"exclude": [[but]] if but else []}, _rules(colours)])
        return [f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found]

    def screenshot(self, path: Path) -> None:
        """The whole page."""
        self.page.screenshot(path=path, full_page=True)
