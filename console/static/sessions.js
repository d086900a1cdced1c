// Sessions: the drawer beside the list, what is loaded when it is opened, and what a live part must not take away.
(() => {
  "use strict";
  const drawer = () => document.getElementById("drawer");
  const wide = matchMedia("(min-width: 1100px)");
  let opener = null;
  let shown = null;
  let pushed = 0;

  // Also where no answer came: who asked looks at what is there.
  const load = (url, target, select) =>
    window.htmx.ajax("GET", url, { source: target, target, select, swap: "innerHTML" }).catch(() => {});

  // The drawer. Its history is kept here: back closes it, and the list stays as it was. Each answer has a place of its
  // own, which goes when another is asked for or the drawer is closed: nothing waits for an answer that nobody wants.
  function show(url) {
    const box = drawer();
    shown = url;
    box.hidden = false;
    markRow();
    box.innerHTML = '<div id="in-drawer"><p class="faint" role="status">Loading…</p></div>';
    const place = box.firstElementChild;
    place.addEventListener("htmx:beforeSwap", (event) => { if (!place.isConnected) event.preventDefault(); });
    load(url, place, "#session").then(() => {
      if (!place.isConnected) return;
      if (!place.querySelector("#session")) place.innerHTML = '<p class="fault" role="alert"><strong>No answer.</strong> This session cannot be shown now; close it and try again.</p><p><a class="button quiet small" href="/sessions" data-close>Close</a></p>';
      (place.querySelector("[data-focus]") || box).focus({ preventScroll: true });
      box.scrollTop = 0;
      seen(place);
    });
  }

  // Which row the drawer is about; said again when the live list has been written anew.
  function markRow() {
    const path = shown === null ? null : new URL(shown).pathname;
    for (const row of document.querySelectorAll("[data-row]")) {
      row.classList.toggle("chosen", row.querySelector("[data-drawer]")?.pathname === path);
    }
  }
  document.addEventListener("htmx:afterSettle", () => { if (shown !== null) markRow(); });

  function hide() {
    const box = drawer();
    if (!box || box.hidden) return;
    box.hidden = true;
    box.replaceChildren();
    shown = null;
    markRow();
    const link = opener && document.getElementById(opener)?.querySelector("[data-drawer]");
    (link || document.getElementById("main")).focus();
    opener = null;
  }

  function close() {
    if (pushed > 0) history.go(-pushed);
    else hide();
  }

  const page = () => location.pathname + location.search;
  let at = page();
  addEventListener("popstate", (event) => {
    if (page() === at) { // a place within the page, such as its main part
      if (event.state === null && pushed > 0) history.replaceState({ drawer: ++pushed }, "");
      else pushed = event.state?.drawer ?? 0;
      return;
    }
    at = page();
    if (!drawer()) { location.reload(); return; }
    pushed = event.state?.drawer ?? 0;
    if (pushed > 0) show(location.href);
    else hide();
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const box = drawer();
    const inside = box?.contains(target) ? target.closest("a[data-inside]") : null;
    let link = target.closest("a[data-drawer]");
    const row = target.closest("[data-row]");
    if (!link && row && !target.closest("a, button, input, summary") && getSelection().isCollapsed) link = row.querySelector("a[data-drawer]");
    if (link && box && !wide.matches && link !== target.closest("a")) { location.assign(link.href); return; }
    if ((link && box && wide.matches) || inside) {
      event.preventDefault();
      if (link) opener = row?.id ?? null;
      const to = (link || inside).href;
      if (to !== location.href) {
        pushed += 1;
        history.pushState({ drawer: pushed }, "", to);
        at = page();
      }
      show(to);
      return;
    }
    if (target.closest("a[data-close]") && box?.contains(target)) { event.preventDefault(); close(); return; }
    const more = target.closest("a[data-more]"), place = more?.closest(".more, .turn-body");
    if (place) {
      event.preventDefault();
      load(more.href, place, "#turn > *").then(() => {
        if (place.contains(more)) return; // no answer: the link stays
        place.dataset.filled = "";
        place.querySelector("summary")?.focus();
      });
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !drawer() || drawer().hidden || document.querySelector("details.drop[open]")) return;
    close();
  }, true);

  // What is loaded when it is opened: the events of a turn, the JSON of an event.
  document.addEventListener("toggle", (event) => {
    const details = event.target;
    if (!(details instanceof HTMLDetailsElement) || !details.open) return;
    for (const place of details.querySelectorAll("[data-fill]")) {
      if (place.closest("details") !== details) continue;
      const link = place.querySelector("a[data-select]");
      if (!link || place.dataset.asked) continue;
      place.dataset.asked = "1";
      load(link.href, place, link.dataset.select).then(() => {
        delete place.dataset.asked;
        if (place.contains(link)) return; // no answer: the link stays, and opening it again tries again
        place.removeAttribute("data-fill");
        place.dataset.filled = "";
      });
    }
  }, true);
  // Content that was asked for, or why it is not shown.
  document.addEventListener("htmx:afterRequest", ({ target, detail }) => {
    if (!(target instanceof Element) || !target.matches("[data-content]")) return;
    detail.target.dataset.filled = "";
    if (detail.successful) return;
    detail.target.innerHTML = '<p class="fault" role="alert"><strong>Not read.</strong> <span></span></p>';
    detail.target.querySelector("span").textContent = window.millraceUnanswered(detail.xhr.status);
  });

  // A live part is asked again as it was first; what was loaded into it since stays.
  if (window.Idiomorph) {
    const callbacks = window.Idiomorph.defaults.callbacks, before = callbacks.beforeNodeMorphed;
    callbacks.beforeNodeMorphed = (node, after) => {
      if (node instanceof Element && node.matches("[data-keep]") && after instanceof Element) {
        if (node.dataset.filled !== undefined) return false;
        if (after.matches("[data-fill]") && !node.matches("[data-fill]")) return false;
      }
      return before ? before(node, after) : true;
    };
  }

  // The event that a link is about.
  function seen(root) {
    const chosen = root.querySelector("[data-chosen]");
    if (!chosen) return;
    for (let at = chosen.parentElement?.closest("details"); at; at = at.parentElement?.closest("details")) at.open = true;
    chosen.scrollIntoView({ block: "center" });
    chosen.querySelector("summary")?.focus({ preventScroll: true });
  }
  document.addEventListener("DOMContentLoaded", () => seen(document));
})();
