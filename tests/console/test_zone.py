"""Whose clock a page goes by: times are of the viewer's zone, with UTC on hover; addresses, and days, are of UTC."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.console.browser import Window, refreshed

pytestmark = pytest.mark.slow

# Half an hour off, so that no time is by chance the same in it; and what a browser calls it.
INDIA = ZoneInfo("Asia/Kolkata")
IN_INDIA = {"timezone_id": "Asia/Kolkata", "locale": "en-GB"}
NAMES = ("Asia/Kolkata", "Asia/Calcutta")
# Behind UTC, so that a day of UTC begins the day before; and with an hour that is skipped, and one that comes twice.
IN_NEW_YORK = {"timezone_id": "America/New_York", "locale": "en-GB"}
# Pages with charts of hours and of days, and with lists.
PATHS = (
    "/",
    "/adoption?range=7d",
    "/sessions?range=7d&tenant=local",
    "/reliability",
    "/admin/audit?range=7d",
)
CHART = """() => {
  const box = document.querySelector(".chart-box"), one = echarts.getInstanceByDom(box);
  return one.getZr().storage.getDisplayList().map((part) => part.style?.text).filter(Boolean);
}"""
# Where the middle of a column of the first chart is.
COLUMN = """(place) => {
  const box = document.querySelector(".chart-box"), at = box.getBoundingClientRect();
  const [x] = echarts.getInstanceByDom(box).convertToPixel({ seriesIndex: 0 }, [place, 0]);
  return [at.x + x, at.y + at.height / 2];
}"""
WATCH = """() => {
  window.flickers = [];
  new MutationObserver(() => {
    for (const one of document.querySelectorAll("main time, main [data-zone]"))
      if (/^UTC$|^\\d{4}-\\d\\d-\\d\\d/.test(one.textContent)) window.flickers.push(one.outerHTML);
  }).observe(document.querySelector("main"), { subtree: true, childList: true, characterData: true });
}"""
# All that is written on a page, in tables that are closed too; but not what is data.
WRITTEN = """() => {
  const all = document.querySelector("main").cloneNode(true);
  for (const one of all.querySelectorAll("script, pre, code")) one.remove();
  return all.textContent;
}"""


def wrong_times(page: Page) -> list[str]:
    """Every time of the page that is not of India with UTC on hover, and every day that is not of UTC."""
    found = page.eval_on_selector_all(
        "main time", "all => all.map((one) => [one.dateTime, one.dataset.form, one.textContent, one.title])"
    )
    assert found, "there is no time to look at"
    wrong = []
    for iso, form, text, title in found:
        at = datetime.fromisoformat(iso)
        if form == "day":
            right = (spelled_day(at), iso)
        else:
            local = at.astimezone(INDIA)
            clock = f"{local:%H:%M:%S}" if form == "second" else f"{local:%H:%M}"
            right = (f"{spelled_day(local)}, {clock}", f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
        if (text, title) != (right[0], f"{right[1]} UTC"):
            wrong.append(f"{iso}: {text} ({title})")
    return wrong


def spelled_day(at: datetime) -> str:
    """As browsers in Britain write a day."""
    return f"{at.day} {at:%b} {at.year}".replace("Sep ", "Sept ")


def drawn(page: Page, *, hovered: int | None = None) -> tuple[dict[str, Any], list[str]]:
    """The data of the first chart, and every text that is painted in it, once it is all there.

    hovered: the place of a label; the mouse goes there first.
    """
    page.wait_for_selector("canvas")
    data = json.loads(page.locator("[data-chart] script").first.inner_text())
    if hovered is not None:
        page.locator(".chart-box").first.scroll_into_view_if_needed()
        page.mouse.move(*page.evaluate(COLUMN, hovered % len(data["labels"])))
        page.wait_for_function(f"() => ({CHART})().some((text) => text.includes('UTC'))")
    return data, page.evaluate(CHART)


def query(page: Page) -> dict[str, str]:
    """What the address of the page asks for."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def test_every_time_on_every_page_is_of_the_viewers_zone_and_of_utc_on_hover(window: Callable[..., Window]) -> None:
    one = window(**IN_INDIA)
    for path in PATHS:
        page = one.go(path)
        assert wrong_times(page) == [], path
        assert re.findall(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d|Time \(UTC\)", page.evaluate(WRITTEN)) == [], path


def test_times_in_rows_of_sql_are_of_the_viewers_zone_and_whole_on_hover(window: Callable[..., Window]) -> None:
    """Files keep what the service said. What begins a day is one of UTC, where a whole column does."""
    moment = "timestamptz '2026-09-21 14:13:10.000005+00'"
    sql = f"select {moment} as at, date_trunc('day', {moment}) as day from (select 1)"
    page = window(**IN_INDIA).go(f"/sql?q={quote(sql)}")
    page.get_by_role("button", name="Run").click()
    times = page.locator("#result td time")
    expect(times).to_have_text(["21 Sept 2026, 19:43:10", "21 Sept 2026"])
    titles = [one.get_attribute("title") for one in times.all()]
    assert titles == ["2026-09-21 14:13:10.000005 UTC", "2026-09-21 UTC"]


def test_what_keeps_itself_current_never_turns_back_to_utc_nor_takes_away_what_is_typed(
    window: Callable[..., Window],
) -> None:
    page = window(**IN_INDIA).go("/")
    page.get_by_text("Other range").click()
    page.get_by_label("From", exact=True).fill("2026-11-20T15:30")
    page.evaluate(WATCH)
    refreshed(page)
    assert wrong_times(page) == []
    assert page.evaluate("() => window.flickers") == []
    assert page.get_by_label("From", exact=True).input_value() == "2026-11-20T15:30"
    page.evaluate("() => { document.querySelector('main time').textContent = '2026-11-20 10:00'; }")
    assert page.evaluate("() => window.flickers.length"), "a time in UTC is seen"


def test_a_chart_of_hours_is_drawn_and_told_in_the_viewers_zone(window: Callable[..., Window]) -> None:
    page = window(**IN_INDIA).go("/")
    data, texts = drawn(page, hovered=-1)
    hours = [datetime.fromisoformat(label) for label in data["labels"]]
    clocks = {f"{hour.astimezone(INDIA):%H:%M}" for hour in hours}
    painted = [text for text in texts if re.fullmatch(r"\d\d:\d\d", text)]
    assert len(painted) > 3
    assert set(painted) <= clocks
    last = hours[-1].astimezone(INDIA)
    assert f"{spelled_day(last)}, {last:%H:%M} ({hours[-1]:%Y-%m-%d %H:%M} UTC)" in texts
    table = page.locator(".as-table").first
    table.locator("summary").click()
    assert table.locator("thead th").first.inner_text() in [f"Time ({name})" for name in NAMES]
    expect(table.locator("tbody th").last).to_have_text(f"{spelled_day(last)}, {last:%H:%M}")


def test_a_chart_of_days_is_of_days_of_utc_and_says_so(window: Callable[..., Window]) -> None:
    page = window(**IN_NEW_YORK).go("/?range=7d")
    data, texts = drawn(page, hovered=-1)
    days = [datetime.fromisoformat(label) for label in data["labels"]]
    painted = [text for text in texts if re.fullmatch(r"\d+ [A-Z][a-z]+", text)]
    assert painted == [f"{day.day} {spelled_day(day).split()[1]}" for day in days]
    assert f"{spelled_day(days[-1])} (UTC)" in texts
    expect(page.get_by_text("Days are days of UTC.")).to_be_visible()
    table = page.locator(".as-table").first
    table.locator("summary").click()
    assert table.locator("thead th").first.inner_text() == "Day (UTC)"
    assert table.locator("tbody th").all_inner_texts() == [spelled_day(day) for day in days]


def test_a_range_is_typed_in_the_viewers_zone_and_the_address_has_it_in_utc(window: Callable[..., Window]) -> None:
    page = window(**IN_INDIA).go("/?from=2026-11-20T09:00Z&to=2026-11-20T12:00Z&team=eng")
    summary = page.locator(".filters details.drop > summary").first
    assert summary.inner_text() == "20 Nov 2026, 14:30 to 20 Nov 2026, 17:30"
    summary.click()
    start, end = page.get_by_label("From", exact=True), page.get_by_label("To", exact=True)
    assert page.locator(".filters form").first.inner_text().startswith(tuple(f"Times are in {one}." for one in NAMES))
    assert (start.input_value(), end.input_value()) == ("2026-11-20T14:30", "2026-11-20T17:30")
    expect(start).to_have_attribute("title", "2026-11-20 09:00 UTC")
    start.fill("2026-11-20T15:30")
    expect(start).to_have_attribute("title", "2026-11-20 10:00 UTC")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**10%3A00Z**")
    assert query(page) == {"from": "2026-11-20T10:00Z", "to": "2026-11-20T12:00Z", "team": "eng"}
    assert summary.inner_text() == "20 Nov 2026, 15:30 to 20 Nov 2026, 17:30"


def test_of_an_hour_that_comes_twice_the_first_is_meant_and_what_is_not_touched_stays(
    window: Callable[..., Window],
) -> None:
    """On 1 November 2026 clocks in New York go back from 2:00 to 1:00, at 6:00 UTC; on 8 March they skip 2:00."""
    page = window(**IN_NEW_YORK).go("/sessions?from=2026-11-01T06:00Z&to=2026-11-01T08:00Z")
    page.locator(".filters details.drop > summary").first.click()
    start, end = page.get_by_label("From", exact=True), page.get_by_label("To", exact=True)
    assert (start.input_value(), end.input_value()) == ("2026-11-01T01:00", "2026-11-01T03:00")
    for typed, utc in {
        "2026-11-01T00:00": "2026-11-01 04:00 UTC",
        "2026-11-01T01:00": "2026-11-01 05:00 UTC",
        "2026-11-01T02:00": "2026-11-01 07:00 UTC",
        "2026-03-08T01:00": "2026-03-08 06:00 UTC",
        "2026-03-08T02:00": "2026-03-08 07:00 UTC",  # which clocks call 3:00
        "2026-03-08T03:00": "2026-03-08 07:00 UTC",
    }.items():
        end.fill(typed)
        expect(end).to_have_attribute("title", utc)
    end.fill("2026-11-01T04:00")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**09%3A00Z**")
    assert {name: query(page)[name] for name in ("from", "to")} == {
        "from": "2026-11-01T06:00Z",
        "to": "2026-11-01T09:00Z",
    }


def test_without_scripts_a_page_is_in_utc_and_says_so(window: Callable[..., Window]) -> None:
    page = window(**IN_INDIA, java_script_enabled=False).go("/?from=2026-11-20T09:00Z&to=2026-11-20T12:00Z")
    expect(page.get_by_text("Times are in UTC, charts are tables")).to_be_visible()
    summary = page.locator(".filters details.drop > summary").first
    assert summary.inner_text() == "2026-11-20 09:00 to 2026-11-20 12:00"
    summary.click()
    assert page.locator(".filters form").first.inner_text().startswith("Times are in UTC.")
    page.get_by_label("From", exact=True).fill("2026-11-20T10:00")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**10%3A00*")
    assert summary.inner_text() == "2026-11-20 10:00 to 2026-11-20 12:00"
    page.goto(page.url.split("?")[0])
    table = page.locator(".as-table").first
    table.locator("summary").click()
    assert table.locator("thead th").first.inner_text() == "Time (UTC)"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:00", table.locator("tbody th").last.inner_text())
