"""The browser of the tests."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Error

from tests.console.browser import LEFT_OFF

pytestmark = pytest.mark.slow


def test_it_leaves_off_what_playwright_leaves_off_and_what_makes_it_slow(browser: Browser) -> None:
    page = browser.new_page()
    page.goto("chrome://version")
    playwrights, ours = re.findall(r"--disable-features=(\S+)", page.inner_text("#command_line"))
    assert sorted(ours.split(",")) == sorted((*playwrights.split(","), *LEFT_OFF))


def test_it_finds_no_server_but_those_of_this_machine(browser: Browser) -> None:
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):  # else nothing would answer there
        browser.new_page().goto("http://127.0.0.2:9999/")
