"""From an empty tenant to its first event, and the health of sources, in a browser over the running stack."""

from __future__ import annotations

import plistlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from schemas import keys
from tests.console.browser import WAIT_MS, Window
from tests.console.conftest import Fed
from tests.e2e.requests import load
from tests.e2e.stack import eventually

pytestmark = [pytest.mark.slow]


def test_from_a_new_key_to_the_first_event_without_a_reload(fed: Fed, window: Callable[..., Window]) -> None:
    one = window()
    page = one.go("/start?client=cli&protocol=http/json")
    page.locator("#key-tenant").fill("newcomer")
    page.get_by_role("button", name="Create a key").click()
    key = page.locator("#key").inner_text()
    assert keys.parse_key(key).kind == "ingest"
    assert key not in page.url
    assert one.accessibility() == []
    page.get_by_text("Waiting for the first event of tenant newcomer").wait_for()
    page.locator("#gate-details").check()  # what is chosen after the key keeps the key, and the page does not go
    page.locator("#sh", has_text="OTEL_LOG_TOOL_DETAILS").wait_for()
    assert f"Bearer {key}" in page.locator("#sh").inner_text()
    folder = next(path for path in fed.captures if path.name == "http-json-basic")
    body = (folder / "000-http-logs.json").read_bytes()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{fed.stack.ports['GATEWAY_HTTP']}/v1/logs"
    eventually(lambda: None if httpx.post(url, content=body, headers=headers).status_code == 200 else "not in force")
    page.get_by_text("It works: tenant newcomer sends.").wait_for()
    assert page.locator("#waiting dd a").get_attribute("href").startswith("/sessions/newcomer/")
    assert one.accessibility() == []
    audited = fed.stack.sql(fed.stack.admin_key())(
        "select actor, target from audit where action = 'key.create' and tenant = 'newcomer'"
    )
    assert audited == [{"actor": "someone@example.com", "target": keys.parse_key(key).id}]


def test_a_choice_by_keyboard_stands_in_the_url_and_back_undoes_it(window: Callable[..., Window]) -> None:
    page = window().go("/start")
    gate = page.locator("#gate-prompts")
    gate.focus()
    page.keyboard.press("Space")
    page.locator("#sh", has_text="OTEL_LOG_USER_PROMPTS=1").wait_for()
    assert "gate=prompts" in page.url
    expect(gate).to_be_focused()
    page.go_back()
    expect(page.locator("#gate-prompts")).not_to_be_checked(timeout=WAIT_MS)
    page.go_forward()
    expect(page.locator("#gate-prompts")).to_be_checked(timeout=WAIT_MS)


def test_a_file_comes_out_of_the_page(window: Callable[..., Window], tmp_path: Path) -> None:
    page = window().go("/start")
    with page.expect_download() as started:
        page.get_by_role("button", name="macOS profile").click()
    saved = tmp_path / started.value.suggested_filename
    started.value.save_as(saved)
    assert saved.name == "com.anthropic.claudecode.mobileconfig"
    assert plistlib.loads(saved.read_bytes())["PayloadType"] == "Configuration"


def test_what_arrives_shows_in_the_health_of_sources_by_itself(fed: Fed, window: Callable[..., Window]) -> None:
    one = window()
    page = one.go("/sources")
    row = page.locator("tr[id^='source-']", has_text="captures").first
    row.wait_for()
    before = int(row.locator("td").nth(3).inner_text().replace(",", ""))
    assert one.accessibility() == []
    (recorded,) = (path for path in fed.captures if path.name == "http-json-api-error")
    fed.send(load(recorded), "elsewhere")
    page.locator("tr[id^='source-']", has_text="elsewhere").first.wait_for()
    events = fed.stack.sql(fed.stack.admin_key())("select count(*) as n from events where tenant = 'captures'")[0]["n"]
    assert before == events
