"""What holds for every page in every state that it can be in: whoever looks, on whatever screen."""

from __future__ import annotations

from typing import Literal

from playwright.sync_api import Page, expect

from tests.console.browser import AT_REST, WAIT_MS, Window

Scheme = Literal["light", "dark"]

TOO_WIDE = """() => {
  const root = document.scrollingElement, room = root.clientWidth;
  if (root.scrollWidth <= room) return "";
  const sticks = (e) => e.getBoundingClientRect().right > room + 1 && !e.closest(".scroll, pre, .skip, .hidden");
  const out = [...document.querySelectorAll("body *")].filter(sticks).slice(0, 3);
  return `too wide: ${root.scrollWidth} of ${room} px: ` + out.map((e) => e.outerHTML.slice(0, 120)).join(" | ");
}"""
"""What sticks out of the page to the right; nothing is well."""
INJECTED = """() => "hurt" in window || document.querySelector(
  "main script:not([type='application/json']), main img, main [href^='javascript:' i], [hx-get='/hurt']") !== null"""
"""Whether HOSTILE made anything, were it anything but text."""
WATCHED = """
Object.defineProperty(document, "visibilityState", { get: () => (window.still ? "hidden" : "visible") });
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
"""A script before a page's own: sums up how far the page jumped, and lets it believe that nobody sees it."""
# Of CLS, that sum: half of what Google calls good. Measured are 0 to 0.01.
SHIFT_MAX = 0.05
TWO_FRAMES = "() => new Promise((told) => requestAnimationFrame(() => requestAnimationFrame(told)))"
"""Until what a change of the page's room leads to is done."""
# All that has been drawn until now is observed before the answer.
SHIFTED = """() => new Promise((told) =>
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => told(window.shifted), 0))))"""
# Menus close each other, so that one would cover what stands below another: here all stand in the page.
OPEN_ALL = """() => {
  document.querySelector("#menu")?.classList.add("open");
  for (const one of document.querySelectorAll(".drop-body")) one.style.position = "static";
  const closed = document.querySelectorAll("details:not([open])");
  for (const one of closed) one.open = !one.parentElement.matches(".entry, .agent, .turn");
}"""
OPEN_IN_TURN = f"""() => {{
  const menus = [...document.querySelectorAll("details.drop")];
  for (const one of document.querySelectorAll(".drop-body")) one.style.position = "";
  return [null, ...menus].map((open) => {{
    for (const one of menus) one.open = one === open;
    return ({TOO_WIDE})();
  }}).filter(Boolean);
}}"""


def loaded(page: Page) -> None:
    """Until the charts are drawn and no part is without its answer, which a part asks for again by itself."""
    if page.locator("[data-chart]").count():
        page.locator("canvas").first.wait_for(state="attached")
    expect(page.locator(".fault")).to_have_count(0, timeout=WAIT_MS)


def refresh(page: Page) -> None:
    """Have the page keep itself current once, as it does every few seconds."""
    page.evaluate("() => document.body.dispatchEvent(new CustomEvent('tick'))")
    page.wait_for_function(AT_REST)


def jumps(page: Page) -> list[str]:
    """Whether what one reads has jumped since the page began to load, by no click of one's own."""
    shifted = page.evaluate(SHIFTED)
    return [f"jumped: {shifted:.3f}"] if shifted > SHIFT_MAX else []


def screen(one: Window, width: int, scheme: Scheme) -> None:
    """Another screen; the page that is open adapts, as when somebody turns a phone."""
    one.page.set_viewport_size({"width": width, "height": 900})
    one.page.emulate_media(color_scheme=scheme)
    one.page.evaluate(TWO_FRAMES)  # charts follow their boxes


def open_all(page: Page) -> None:
    """Open every menu and table of the page, but not what a session has of each event."""
    page.evaluate(OPEN_ALL)
    page.wait_for_function(AT_REST)


def too_wide_in_turn(page: Page) -> list[str]:
    """Whether one must scroll sideways to read the page with everything open, each menu in its turn."""
    return list(page.evaluate(OPEN_IN_TURN))


def faults(one: Window, *, colours: bool = True, but: str | None = None) -> list[str]:
    """What is not well with the page as it stands now.  colours, but: of Window.accessibility."""
    page = one.page
    page.evaluate("() => { window.still = true; scrollTo(0, 0) }")  # or the bar covers what axe-core measures
    page.wait_for_function(AT_REST)
    headings = page.locator("h1").count()
    found = [] if headings == 1 else [f"{headings} headings of the first level"]
    if page.evaluate(INJECTED):
        found.append("something hostile is more than text")
    found += [wide for wide in [page.evaluate(TOO_WIDE)] if wide]
    found += one.accessibility(colours=colours, but=but)
    page.evaluate("() => { window.still = false }")
    size = page.viewport_size or {}
    return [f"{size.get('width')} px: {fault}" for fault in found]
