"""What pages become by a click, and what is shown instead of a page: as well as every page is (test_walk.py).

All of it with a hostile client's words (tests/console/hostile.py), as the prompt or the name of a tool that one opens.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, expect

from console.people import Person
from tests.console.browser import Window
from tests.console.conftest import GONE, Fed
from tests.console.hostile import HOSTILE, LONG
from tests.console.people import person
from tests.console.test_walk import SESSION
from tests.console.well import WATCHED, Scheme, faults, screen
from tests.e2e.stack import eventually
from tests.ports import free_ports

pytestmark = [pytest.mark.slow]

ADMIN = person("admin")
VIEWER = person("viewer", tenant="hostile")
SCREENS: tuple[tuple[int, Scheme], ...] = ((1280, "dark"), (390, "light"))
# Long, and the same in every state of its page.
KNOWN = "#sql-schema"
# What a browser says of a page whose status is not 200.
OF_THE_STATUS = "the server responded with a status of"


@pytest.fixture(scope="module")
def shared(fed: Fed, browser: Browser) -> Iterator[Window]:
    """An admin's window for all states; each begins with a page of its own."""
    one = Window(browser, fed.base, fed.secret, ADMIN)
    one.context.add_init_script(WATCHED)
    yield one
    one.context.close()


@contextmanager
def silent(one: Window, *, but: str = "") -> Iterator[Window]:
    """Nothing is complained of but what has this text in it, and the page is left at the end."""
    yield one
    one.page.goto("about:blank")
    complaints, one.complaints = one.complaints, []
    assert [said for said in complaints if not but or but not in said] == []


def on_every_screen(one: Window) -> list[str]:
    """What is wrong with a page that is open, and stays as it is while the screen changes."""
    found = []
    for width, scheme in SCREENS:
        screen(one, width, scheme)
        found += faults(one, but=KNOWN)
    return found


# States of pages: each leads to one, from wherever the window is


def menu_of_a_phone(one: Window) -> None:
    screen(one, 390, "light")
    one.go("/?range=30d").get_by_role("button", name="Menu").click()


def own_name(one: Window) -> None:
    one.go("/start").locator(".who summary").click()


def filters(one: Window) -> None:
    page = one.go("/sessions?range=30d")
    page.locator("#choose summary").click()
    page.locator("#choices select").first.wait_for()


def hovered_chart(one: Window) -> None:
    page = one.go("/cost?range=30d&by=model&tenant=hostile")
    page.locator("canvas").first.hover()
    page.mouse.move(600, 500)


def event_and_its_content(one: Window) -> None:
    page = one.go(SESSION)
    page.locator(".entry:has(form[data-content]) > details > summary").first.click()
    page.locator(".json-box code").first.wait_for()
    page.locator(".entry details[open] form[data-content] button").first.click()
    expect(page.locator(".entry .texts pre").first).to_contain_text(HOSTILE)
    page.locator(".turn > details > .content form[data-content] button").first.click()
    expect(page.locator(".turn > details > .content .texts pre").first).to_have_text(LONG)


def drawer(one: Window) -> None:
    page = one.go("/sessions?range=30d&tenant=hostile")
    page.locator("a[data-drawer]").first.click()
    page.locator("#drawer #session").wait_for()
    page.locator("#drawer .entry > details > summary").first.click()
    page.locator("#drawer .json-box code").first.wait_for()


def ask(one: Window, sql: str) -> None:
    page = one.go("/sql")
    page.fill("#sql-text", sql)
    page.press("#sql-text", "Control+Enter")
    page.locator("#sql-summary, #sql-fault").wait_for()


def rows_of_sql(one: Window) -> None:
    said, name = HOSTILE.replace("'", "''"), HOSTILE.replace('"', '""')
    rows = " union all ".join(f'select \'{text}\' as "{name}", {n} as "y{name}"' for n, text in enumerate((said, "a")))
    ask(one, rows)
    one.page.locator("#sql-drawing canvas").hover()
    assert one.page.title() == "SQL · Millrace"


def fault_of_sql(one: Window) -> None:
    ask(one, f'select "{HOSTILE.replace(chr(34), chr(34) * 2)}" from sessions')


def too_much_of_sql(one: Window) -> None:
    ask(one, "select 'x' || repeat('y', 100000) as n from range(5000)")


def rejected(one: Window) -> None:
    one.go("/sources").get_by_role("button", name="Show rejected records by reason").click()
    one.page.wait_for_url("**/sources/rejected*")


def form_with_an_error(one: Window) -> None:
    page = one.go("/admin/roles")
    page.get_by_label("Name").fill("viewer")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("alert").wait_for()


@pytest.mark.parametrize(
    "lead",
    [
        menu_of_a_phone,
        own_name,
        filters,
        hovered_chart,
        event_and_its_content,
        drawer,
        rows_of_sql,
        fault_of_sql,
        too_much_of_sql,
        rejected,
        form_with_an_error,
    ],
    ids=lambda lead: lead.__name__,
)
def test_what_a_click_leads_to_is_well(shared: Window, lead: Callable[[Window], None]) -> None:
    with silent(shared, but=OF_THE_STATUS if lead is form_with_an_error else ""):
        screen(shared, *SCREENS[0])
        lead(shared)
        assert on_every_screen(shared) == []


# Instead of a page


REFUSALS = {
    "there is no such page": ("/nowhere", ADMIN, 404),
    "there is no such session": ("/sessions/local/none", ADMIN, 404),
    "the address makes no sense": ("/?range=never", ADMIN, 400),
    "for admins": ("/admin/keys", VIEWER, 403),
    "not for this role": ("/admin/audit", VIEWER, 403),
    "the link is not good": ("/signin/link?token=x", None, 403),
}


@pytest.mark.parametrize(("path", "who", "status"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_well(fed: Fed, browser: Browser, path: str, who: Person | None, status: int) -> None:
    one = Window(browser, fed.base, fed.secret, who)
    with silent(one, but=OF_THE_STATUS):
        answer = one.page.goto(one.base + path)
        assert answer is not None
        assert answer.status == status
        assert on_every_screen(one) == []
    one.context.close()


@pytest.fixture(scope="module")
def deserted(fed: Fed) -> Iterator[str]:
    """A console beside the stack's, without a store, which lets nobody try a second time to sign in."""
    port, health = free_ports(2)
    settings = {
        "MILLRACE_SQL_URL": GONE,
        "MILLRACE_CONSOLE_KEY": fed.stack.admin_key(),
        "MILLRACE_CONSOLE_SECRET": fed.secret,
        "MILLRACE_CONSOLE_PORT": str(port),
        "MILLRACE_CONSOLE_HEALTH_PORT": str(health),
        "MILLRACE_CONSOLE_SIGNIN_FAILURES": "1",
    }
    process = subprocess.Popen([sys.executable, "-m", "console"], env=fed.stack.environment | settings)
    base = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: httpx.get(f"{base}/signin", trust_env=False).status_code != 200)
        yield base
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("path", ["/?range=30d", "/sessions", "/sources", "/sql", "/signin/link?token=x"])
def test_a_page_without_a_store_and_a_sign_in_that_must_wait_are_well(
    fed: Fed, browser: Browser, deserted: str, path: str
) -> None:
    signs_in = path.startswith("/signin")
    one = Window(browser, deserted, fed.secret, None if signs_in else ADMIN)
    one.context.add_init_script(WATCHED)
    with silent(one, but=OF_THE_STATUS):
        if signs_in:
            one.go(path)
        one.go(path)
        expect(one.page.get_by_role("alert").first).to_contain_text("Try again at" if signs_in else "the SQL service")
        assert on_every_screen(one) == []
    one.context.close()
