"""What a page says while its answer is on the way, when it was refused one, and when it gets none any more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from console.people import Person
from console.web import TICK_MS
from tests.console.browser import AT_REST, WAIT_MS, Window, refreshed
from tests.console.conftest import SECRET
from tests.console.handmade import hours_of, listening
from tests.console.people import person
from tests.console.well import TWO_FRAMES
from tests.sinks.query import samples

pytestmark = pytest.mark.slow

ADMIN = person("admin")
WIDE = {"width": 1280, "height": 900}
FIRST, SECOND, LONG = "the first", "the second", "the long one"
"""Sessions, as the list shows them: the latest first."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a console over three sessions that are open; the prompt of each can be read."""
    sessions, events, content = [], [], []
    for place, (id_, count) in enumerate({FIRST: 2, SECOND: 2, LONG: 450}.items()):
        at = samples.T0 - (place + 1) * samples.HOUR
        sessions.append(
            samples.session(0, session_id=id_, start_time=at, last_time=samples.T0 - samples.SECOND, spend_usd=1.0)
        )
        for number in range(count):
            name = "api_request" if number else "user_prompt"
            events.append(
                samples.event(0, event_id=f"{id_} {number}", session_id=id_, prompt_id="p", event_name=name)
                | {"event_time": at + number * samples.SECOND, "event_sequence": number, "prompt_length": 9}
            )
        content.append(samples.content(0, event_id=f"{id_} 0", session_id=id_, event_time=at, text=f"do {id_}"))
    # And over two of weeks ago, so that the page of a month has much to read.
    for days in (10, 20):
        at = samples.T0 - days * 24 * samples.HOUR
        sessions.append(samples.session(0, session_id=f"{days} days ago", start_time=at, last_time=at, tools=1))
    hours = [hour for one in sessions for hour in hours_of(one)]
    folder = tmp_path_factory.mktemp("waiting")
    with listening(folder, sessions=sessions, session_hours=hours, events=events, content=content) as base:
        yield base


@pytest.fixture
def window(base: str, browser: Browser) -> Iterator[Callable[..., Window]]:
    """As that of the running stack."""
    opened: list[Window] = []

    def open_(**options: object) -> Window:
        opened.append(Window(browser, base, SECRET, ADMIN, **{"viewport": WIDE, **options}))
        return opened[-1]

    yield open_
    for one in opened:
        one.context.close()
        assert one.complaints == []


def held(page: Page, url: str) -> list[Route]:
    """Requests for such addresses from now on: they wait until the test lets them go on."""
    waiting: list[Route] = []
    page.route(url, lambda route: waiting.append(route))
    return waiting


# The drawer


def listed(window: Callable[..., Window]) -> Page:
    """The list of sessions, paused."""
    page = window().go("/sessions?range=7d")
    page.get_by_role("button", name="Pause").click()
    return page


def shows(page: Page, id_: str) -> None:
    """The drawer shows this session, and who uses a keyboard is in it."""
    title = page.locator("#drawer").get_by_role("heading", name=f"Session {id_}", level=2)
    expect(title).to_be_focused()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_the_drawer_says_that_its_session_is_on_the_way_until_it_is_there(window: Callable[..., Window]) -> None:
    page = listed(window)
    waiting = held(page, "**/sessions/acme/**")
    page.locator("a[data-drawer]").first.click()
    expect(page.locator("#drawer").get_by_role("status")).to_have_text("Loading…")
    (one,) = waiting
    one.continue_()
    shows(page, FIRST)
    expect(page.locator("#drawer").get_by_text("Loading…")).to_have_count(0)


@pytest.mark.parametrize("first_answer", [0, 1])
def test_of_two_sessions_that_are_asked_for_the_drawer_shows_the_last(
    window: Callable[..., Window], first_answer: int
) -> None:
    page = listed(window)
    waiting = held(page, "**/sessions/acme/**")
    for row in (0, 1):
        page.locator("a[data-drawer]").nth(row).click()
        expect(page.locator("tr[data-row]").nth(row)).to_have_class("chosen")
    expect(page.locator("#drawer")).to_have_text("Loading…")
    for place in (first_answer, 1 - first_answer):
        with page.expect_response(lambda answer: "/sessions/acme/" in answer.url) as answer:
            waiting[place].continue_()
        answer.value.finished()
        page.evaluate(TWO_FRAMES)
        expect(page.locator("#drawer")).not_to_contain_text("No answer")
    shows(page, SECOND)
    expect(page).to_have_title(f"Session {SECOND} · Millrace")


def test_a_double_click_opens_one_session_which_one_step_back_closes(window: Callable[..., Window]) -> None:
    page = listed(window)
    waiting = held(page, "**/sessions/acme/**")
    page.locator("a[data-drawer]").first.dblclick()
    expect(page.locator("#drawer")).to_have_text("Loading…")
    for one in waiting:
        one.continue_()
    shows(page, FIRST)
    page.go_back()
    expect(page.locator("#drawer")).to_be_hidden()
    assert page.url.endswith("/sessions?range=7d")


def test_an_answer_for_a_drawer_that_was_closed_is_not_put_into_it(window: Callable[..., Window]) -> None:
    page = listed(window)
    waiting = held(page, "**/sessions/acme/**")
    page.locator("a[data-drawer]").first.click()
    expect(page.locator("#drawer")).to_have_text("Loading…")
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    with page.expect_response(lambda answer: "/sessions/acme/" in answer.url) as answer:
        waiting[0].continue_()
    answer.value.finished()
    page.evaluate(TWO_FRAMES)
    expect(page.locator("#drawer")).to_be_empty()


def test_more_of_a_turn_can_be_asked_for_on_both_sides(window: Callable[..., Window]) -> None:
    """Also beside what was asked for before, which is all that keeping itself up to date must leave alone."""
    page = window().go(f"/sessions/acme/{LONG}?event={LONG} 225")
    before = page.get_by_role("link", name="From the first event of this turn")
    after = page.get_by_role("link", name=re.compile("^The next .* more events$"))
    after.click()
    expect(after).to_have_count(0)
    before.click()
    expect(before).to_have_count(0)
    expect(page.locator(".entry").first).to_contain_text("user_prompt")


# Content


REFUSED, UNAVAILABLE = (f"The console refused this ({status}); reload the page" for status in (403, 503))
UNREACHED = "The console cannot be reached; try again"


def asked_to_read(page: Page) -> Locator:
    """The place of a prompt's text, once it was asked for."""
    page.get_by_role("button", name="Read the prompt").click()
    return page.locator(".turn > details > .content .texts")


@pytest.mark.parametrize("who", [person("admin", ago_s=-1), replace(ADMIN, roles=("viewer",), tenant="acme")])
def test_content_that_is_refused_says_so_where_it_would_be(window: Callable[..., Window], who: Person) -> None:
    """To who signed in again in another tab, and to who may not read it any more."""
    one = window()
    page = one.go(f"/sessions/acme/{FIRST}")
    page.get_by_role("button", name="Pause").click()
    one.sign_in(who)
    told = asked_to_read(page).get_by_role("alert")
    expect(told).to_have_text(f"Not read. {REFUSED}")
    one.complaints.clear()


def test_content_without_an_answer_says_so_until_it_is_read(window: Callable[..., Window]) -> None:
    one = window()
    page = one.go(f"/sessions/acme/{FIRST}")
    page.route("**/content?*", lambda route: route.abort())
    place = asked_to_read(page)
    expect(place.get_by_role("alert")).to_have_text(f"Not read. {UNREACHED}")
    refreshed(page)
    expect(place.get_by_role("alert")).to_be_visible()
    page.unroute("**/content?*")
    asked_to_read(page)
    expect(place.locator("pre")).to_have_text(f"do {FIRST}")
    expect(place.get_by_role("alert")).to_have_count(0)
    one.complaints.clear()


# What keeps itself up to date


LIST, SESSION, TURN = "**/sessions?*", "**/sessions/acme/**", "**/turn?*"
WATCH = """() => {
  window.said = [];
  const box = document.getElementById("stale");
  const all = { childList: true, characterData: true, subtree: true };
  new MutationObserver(() => window.said.push(box.textContent)).observe(box, all);
}"""


def at(page: Page, time: str) -> None:
    """The browser's clock stands at a time of a day; what it does every few seconds goes on."""
    page.clock.set_fixed_time(f"2026-09-21T{time}:00Z")


def stale(page: Page) -> Locator:
    return page.locator("#stale")


def fail(route: Route) -> None:
    route.fulfill(status=503, body="")


@pytest.fixture
def opened(window: Callable[..., Window]) -> Iterator[Page]:
    """The list of sessions, opened at ten; what its browser says of answers that do not come is no complaint."""
    one = window(timezone_id="UTC", locale="en-GB")
    at(one.page, "10:00")
    yield one.go("/sessions?range=7d")
    one.page.close()  # else an answer that is still on the way is complained of later
    one.complaints.clear()


def test_a_page_keeps_itself_current_as_often_as_it_says(window: Callable[..., Window]) -> None:
    one = window()
    one.page.clock.install(time="2026-09-21T10:00:00Z")
    page = one.go("/sessions?range=7d")
    with page.expect_response(LIST):
        page.clock.pause_at("2026-09-21T10:10:00Z")
    with page.expect_response(LIST):
        page.clock.run_for(int(page.locator("body").get_attribute("data-tick") or 0))


def test_each_part_of_a_closed_session_is_asked_for_once_a_tick(tmp_path: Path, browser: Browser) -> None:
    """Also one that was put into another, however often both were put in their place anew."""
    at = samples.T0 - 3 * samples.HOUR
    closed = samples.session(0, session_id="closed", start_time=at, last_time=at + 450 * samples.SECOND)
    said = {"session_id": "closed", "prompt_id": "p", "event_name": "api_request"}
    events = [samples.event(0, **said, event_id=str(n)) | {"event_time": at + n * samples.SECOND} for n in range(450)]
    asked: Counter[str] = Counter()
    with listening(tmp_path, sessions=[closed], events=events) as base:
        one = Window(browser, base, SECRET, ADMIN, viewport=WIDE)
        one.page.clock.install(time="2026-09-21T10:00:00Z")
        page = one.go("/sessions/acme/closed")
        page.get_by_role("link", name="From the first event of this turn").click()
        page.get_by_role("link", name=re.compile("^The next .* more events$")).wait_for()
        page.wait_for_function(AT_REST)

        def asked_by(wait: Callable[[], None]) -> None:
            with page.expect_response(SESSION), page.expect_response(TURN):
                wait()
            expect(page.locator(".htmx-request")).to_have_count(0)
            page.clock.run_for(100)  # for what htmx does later

        asked_by(lambda: page.clock.pause_at("2026-09-21T10:10:00Z"))
        page.on("request", lambda request: asked.update([request.url] if "x-millrace-tick" in request.headers else []))
        for _ in range(3):
            asked_by(lambda: page.clock.run_for(TICK_MS))
        one.context.close()
    assert sorted(asked.values()) == [3, 3]
    assert one.complaints == []


def test_a_page_without_an_answer_says_when_it_had_the_last(opened: Page) -> None:
    at(opened, "10:10")
    refreshed(opened)
    opened.route(LIST, fail)
    at(opened, "10:20")
    expect(stale(opened)).to_contain_text(
        "No answer since 21 Sept 2026, 10:10:00: what you see is of then.", timeout=WAIT_MS
    )
    opened.unroute(LIST)
    expect(stale(opened)).to_be_empty(timeout=WAIT_MS)


def test_a_page_that_is_still_reading_is_asked_again_until_it_has_read_all(window: Callable[..., Window]) -> None:
    one = window(timezone_id="UTC", locale="en-GB")
    at(one.page, "10:00")
    page = one.page
    page.route(
        "**/?range=30d", lambda route: fail(route) if "hx-request" in route.request.headers else route.continue_()
    )
    one.go("/?range=30d")
    reading = page.get_by_text("Reading the events of this time")
    expect(stale(page)).to_contain_text("No answer since 21 Sept 2026, 10:00:00", timeout=WAIT_MS)
    expect(page.locator("#tooltip")).to_be_empty()  # nobody did anything
    refreshed(page)
    expect(reading.first).to_be_visible()
    page.unroute("**/?range=30d")
    expect(reading).to_have_count(0, timeout=WAIT_MS)
    expect(stale(page)).to_be_empty()
    one.complaints.clear()


def test_a_part_without_an_answer_says_so_once_while_others_have_theirs(opened: Page) -> None:
    opened.locator("a[data-drawer]").first.click()
    opened.locator("#drawer #session").wait_for()
    opened.evaluate(WATCH)
    opened.route(SESSION, fail)
    for time in ("10:10", "10:20", "10:30"):
        at(opened, time)
        for url in (SESSION, LIST):
            with opened.expect_response(url):
                pass
    said = opened.evaluate("window.said")
    assert ["10:00:00" in text for text in said] == [True]
    opened.unroute(SESSION)
    expect(stale(opened)).to_be_empty(timeout=WAIT_MS)


def test_a_part_without_an_answer_is_forgotten_once_it_is_gone(opened: Page) -> None:
    opened.locator("a[data-drawer]").first.click()
    opened.locator("#drawer #session").wait_for()
    opened.route(SESSION, fail)
    expect(stale(opened)).not_to_be_empty(timeout=WAIT_MS)
    opened.keyboard.press("Escape")
    expect(stale(opened)).to_be_empty(timeout=WAIT_MS)


def test_a_part_without_an_answer_is_forgotten_once_it_is_not_asked_any_more(opened: Page) -> None:
    """The end of what was shown of a turn, when more follows it."""
    opened.locator("a[data-drawer]").last.click()
    drawer = opened.locator("#drawer")
    drawer.locator("#session").wait_for()
    drawer.get_by_role("link", name="From the first event of this turn").click()
    after = drawer.get_by_role("link", name=re.compile("^The next .* more events$"))
    after.wait_for()
    opened.route(TURN, fail)
    expect(stale(opened)).not_to_be_empty(timeout=WAIT_MS)
    opened.unroute(TURN)
    after.click()
    expect(stale(opened)).to_be_empty(timeout=WAIT_MS)


def test_of_parts_without_answers_the_oldest_is_told(opened: Page) -> None:
    """What a person asks for meanwhile makes the others no younger."""
    pause = opened.get_by_role("button", name="Pause")
    pause.click()
    at(opened, "10:10")
    opened.locator("a[data-drawer]").first.click()
    opened.locator("#drawer #session").wait_for()
    for url in (LIST, SESSION):
        opened.route(url, fail)
    with opened.expect_response(SESSION), opened.expect_response(LIST):
        pause.click()
    expect(stale(opened)).to_contain_text("10:00:00", timeout=WAIT_MS)
    opened.unroute(LIST)
    expect(stale(opened)).to_contain_text("10:10:00", timeout=WAIT_MS)


def test_who_has_paused_a_page_is_not_told_that_it_is_asked_again(opened: Page) -> None:
    opened.route(LIST, fail)
    expect(stale(opened)).to_contain_text("It is asked again by itself.", timeout=WAIT_MS)
    pause = opened.get_by_role("button", name="Pause")
    pause.click()
    expect(stale(opened)).to_contain_text("what you see is of then. Nothing is asked while paused.", timeout=WAIT_MS)
    pause.click()
    expect(stale(opened)).to_contain_text("what you see is of then. It is asked again by itself.", timeout=WAIT_MS)


def test_a_menu_that_is_opened_is_asked_for_at_once_wherever_it_is(opened: Page) -> None:
    opened.set_viewport_size({"width": 1280, "height": 200})
    opened.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    menu = opened.locator("#choose")
    expect(menu).not_to_be_in_viewport()
    with opened.expect_response("**/overview/choices?*"):
        menu.evaluate("menu => { menu.open = true }")
    expect(menu).not_to_be_in_viewport()
    expect(opened.locator("#choices select").first).to_be_attached()


def test_a_menu_that_was_opened_before_scripts_ran_is_asked_for(window: Callable[..., Window]) -> None:
    one = window()
    one.page.add_init_script("""new MutationObserver((_, watch) => {
      const menu = document.getElementById("choose");
      if (!menu) return;
      menu.open = true;
      watch.disconnect();
    }).observe(document, { childList: true, subtree: true })""")
    page = one.go("/sessions?range=7d")
    expect(page.locator("#choices select").first).to_be_visible()


@pytest.mark.parametrize(("status", "words"), [(503, UNAVAILABLE), (0, UNREACHED)])
def test_a_menu_without_an_answer_says_so_and_is_asked_when_it_is_opened_again(
    opened: Page, status: int, words: str
) -> None:
    """And not when it is closed."""
    asked, choices = [], "**/overview/choices?*"
    opened.on("request", lambda request: asked.append(request) if "/overview/choices?" in request.url else None)
    opened.route(choices, lambda route: route.fulfill(status=status, body="") if status else route.abort())
    menu = opened.locator("#choose summary")

    def close() -> None:
        menu.click()
        expect(opened.locator("#choices")).to_be_hidden()
        opened.evaluate(TWO_FRAMES)

    menu.click()
    expect(opened.locator("#tooltip")).to_have_text(words)
    expect(stale(opened)).to_be_empty(timeout=WAIT_MS)
    close()
    assert len(asked) == 1
    with opened.expect_request(choices):
        menu.click()
    opened.wait_for_function(AT_REST)
    close()
    opened.unroute(choices)
    menu.click()
    expect(opened.locator("#choices select").first).to_be_visible()
    assert len(asked) == 3
