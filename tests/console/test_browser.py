"""The browser of the tests."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Error

from tests.console.browser import LEFT_OFF, running_async

pytestmark = pytest.mark.slow


def left_off(command_line: str) -> None:
    """Fails unless ours are left off beside those of Playwright."""
    playwrights, ours = re.findall(r"--disable-features=(\S+)", command_line)
    assert sorted(ours.split(",")) == sorted((*playwrights.split(","), *LEFT_OFF))


def test_it_leaves_off_what_playwright_leaves_off_and_what_makes_it_slow(browser: Browser) -> None:
    page = browser.new_page()
    page.goto("chrome://version")
    left_off(page.inner_text("#command_line"))


async def test_that_of_the_benches_does_so_too() -> None:
    async with running_async() as browser:
        page = await browser.new_page()
        await page.goto("chrome://version")
        left_off(await page.inner_text("#command_line"))


def test_it_finds_no_server_but_those_of_this_machine(browser: Browser) -> None:
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):  # else nothing would answer there
        browser.new_page().goto("http://127.0.0.2:9999/")
