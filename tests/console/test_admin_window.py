"""Signing in, and the pages of admins, in a browser over the running stack."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from console.people import COOKIE
from tests.console.browser import Window
from tests.console.conftest import Fed
from tests.console.people import person

pytestmark = [pytest.mark.slow]

KEY = re.compile(r"mlr_ingest_[0-9a-f]{16}_[0-9a-f]{64}")


@pytest.fixture
def stranger(fed: Fed, browser: Browser) -> Iterator[Window]:
    """The window of somebody who is not signed in."""
    one = Window(browser, fed.base, fed.secret, None)
    yield one
    one.context.close()


def test_a_key_is_made_copied_used_rotated_and_revoked(fed: Fed, window: Callable[..., Window]) -> None:
    one = window()
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = one.go("/admin/keys")
    page.get_by_label("Name, a note").fill("made in a browser")
    page.get_by_role("button", name="Create").click()
    text = page.locator("#new-key").inner_text()
    assert KEY.fullmatch(text)
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == text
    id_ = text.split("_")[2]
    page.get_by_role("button", name=f"Rotate {id_}").click()
    new = page.locator("#new-key").inner_text()
    assert new != text
    page.locator(f"#key-{id_} summary").click()
    page.locator(f"#key-{id_}").get_by_role("button", name="Revoke it").click()
    page.wait_for_url("**/admin/keys")
    assert page.locator(f"#key-{id_}").count() == 0
    assert page.locator(f"#key-{new.split('_')[2]}").count() == 1


def test_where_a_page_may_not_copy_the_text_is_selected_and_that_is_said(fed: Fed, browser: Browser) -> None:
    """As over plain http from another machine: browsers have no clipboard there."""
    elsewhere = Window(browser, fed.base.replace("127.0.0.1", "0.0.0.0"), fed.secret, person("admin"))
    page = elsewhere.go("/start")
    assert page.evaluate("[isSecureContext, typeof navigator.clipboard]") == [False, "undefined"]
    button = page.locator("[data-copy]").first
    text = page.locator(f"#{button.get_attribute('data-copy')}").text_content()
    button.click()
    page.locator("[role=status]", has_text="the text is selected: press Ctrl+C").wait_for()
    assert page.evaluate("getSelection().toString().trim()") == (text or "").strip()
    # Only that it is not over https.
    assert [one for one in elsewhere.complaints if "untrustworthy" not in one] == []
    elsewhere.context.close()


def test_a_key_that_asks_is_shown_as_used(fed: Fed, window: Callable[..., Window]) -> None:
    page = window().go("/admin/keys")
    page.locator("select[name=kind]").select_option("query")
    page.get_by_role("button", name="Create").click()
    text = page.locator("#new-key").inner_text()
    row = page.locator(f"#key-{text.split('_')[2]}")
    assert "none recorded" in row.inner_text()
    asked = httpx.get(f"http://127.0.0.1:{fed.stack.ports['SQL']}/schema", headers={"authorization": f"Bearer {text}"})
    assert asked.status_code == 200
    for _ in range(40):
        page.goto(f"{fed.base}/admin/keys")
        if "asked" in row.inner_text():
            break
        page.wait_for_timeout(250)
    row.get_by_role("link").click()
    assert "key.use" in page.locator("tbody tr").inner_text()


def test_a_link_signs_in_and_after_the_sign_out_the_way_back_shows_nothing(fed: Fed, stranger: Window) -> None:
    link = fed.stack.command("console", "--link").stdout.strip()
    page = stranger.go(link.removeprefix(fed.base))
    assert page.url == f"{fed.base}/"
    stranger.go("/admin/keys")
    (cookie,) = [one for one in stranger.context.cookies() if one["name"] == COOKIE]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.locator(".who summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/signin")
    page.go_back()
    page.wait_for_url("**/signin?next=*")
    assert page.get_by_text("Sign in to Millrace").count() == 1
    # A copy of the cookie that was taken before opens nothing any more.
    stranger.context.add_cookies([cookie])  # type: ignore[list-item]
    stranger.go("/admin/keys")
    assert "/signin" in page.url


def test_the_stack_signs_in_through_the_provider_that_its_environment_names(fed: Fed, stranger: Window) -> None:
    fed.issuer.claims = {
        "sub": "ann",
        "email": "ann@example.test",
        "email_verified": True,
        "name": "Ann",
        "groups": ["eng"],
    }
    page = stranger.go("/?range=7d")
    page.get_by_role("link", name="Sign in with your organisation").click()
    page.wait_for_url(f"{fed.base}/?range=7d")
    page.locator(".who summary").click()
    said = page.locator(".who .drop-body").inner_text()
    assert "ann@example.test" in said
    assert "analyst · local" in said
    fed.issuer.claims["groups"] = ["others"]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in with your organisation").click()
    page.get_by_role("alert").wait_for()
    assert "none of the groups that give a role here" in page.get_by_role("alert").inner_text()
    fed.issuer.claims["groups"] = ["eng"]


def test_the_audit_has_the_sign_in_and_the_key_within_seconds(fed: Fed, window: Callable[..., Window]) -> None:
    page = window(person("admin", id_="root@example.com")).go("/admin/keys")
    page.get_by_role("button", name="Create").click()
    id_ = page.locator("#new-key").inner_text().split("_")[2]
    for _ in range(40):
        page.goto(f"{fed.base}/admin/audit?target={id_}")
        if page.locator("tbody tr").count():
            break
        page.wait_for_timeout(250)
    row = page.locator("tbody tr").first.inner_text()
    assert "root@example.com" in row
    assert "key.create" in row
    assert "127.0.0.1" in row
