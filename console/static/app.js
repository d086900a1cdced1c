// What all pages do: times in the viewer's zone, the theme, the menu, keeping live parts up to date, drawing charts.
(() => {
  "use strict";
  // Every time on a page is written here, those of its charts too: in the viewer's zone, but days as what they are, UTC's.
  const forms = {
    minute: { dateStyle: "medium", timeStyle: "short" },
    second: { dateStyle: "medium", timeStyle: "medium" },
    day: { dateStyle: "medium", timeZone: "UTC" },
    // On an axis: of one day, of some days, of many.
    axisHour: { hour: "2-digit", minute: "2-digit" },
    axisHours: { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
    axisDay: { month: "short", day: "numeric", timeZone: "UTC" },
  };
  const spelled = Object.fromEntries(
    Object.entries(forms).map(([name, form]) => [name, new Intl.DateTimeFormat(undefined, form)]),
  );
  const zone = spelled.minute.resolvedOptions().timeZone.replaceAll("_", " ");
  const said = (iso, form) => spelled[form].format(new Date(iso));
  window.millraceTime = said;

  const LOCAL = "time[datetime], [data-zone]";
  function local(element) {
    const text = element.matches("[data-zone]") ? zone : said(element.dateTime, element.dataset.form);
    if (element.textContent !== text) element.textContent = text;
  }
  function locals(root) {
    for (const element of root.querySelectorAll(LOCAL)) local(element);
  }

  // A range is typed in the viewer's zone, and the address has it in UTC, so that it is the same for everybody. Of an
  // hour that the clock shows twice the first is meant; but what was not touched stays the time that it was.
  const MINUTE_MS = 60_000;
  function instant(input) {
    if (input.value === input.defaultValue) return input.dataset.utc;
    return input.value && `${new Date(input.value).toISOString().slice(0, 16)}Z`;
  }
  function tellUtc(input) {
    input.title = instant(input).replace("T", " ").replace("Z", " UTC");
  }
  function localInput(input) {
    const at = new Date(input.dataset.utc);
    // The attribute, for steps are counted from it: the hours of UTC begin at half past in some zones.
    input.defaultValue = new Date(at - at.getTimezoneOffset() * MINUTE_MS).toISOString().slice(0, 16);
    tellUtc(input);
  }
  document.addEventListener("input", (event) => { if (event.target.matches("[data-utc]")) tellUtc(event.target); });
  document.addEventListener("formdata", (event) => {
    for (const input of event.target.querySelectorAll("[data-utc]")) event.formData.set(input.name, instant(input));
  });

  // Charts: the library is loaded when the first one is there, and never again.
  let library = null;
  function charts(root) {
    const found = root.querySelectorAll("[data-chart]");
    if (found.length === 0) return;
    library ??= new Promise((resolve, reject) => {
      const load = (src, then) => {
        const script = document.createElement("script");
        script.src = src;
        script.onload = then;
        script.onerror = () => { library = null; reject(new Error(`${src} cannot be loaded`)); };
        document.head.append(script);
      };
      load(document.body.dataset.charts, () => load(document.body.dataset.draw, resolve));
    });
    library.then(() => { for (const element of found) if (element.isConnected) window.millraceDraw(element); }, () => {});
  }

  function fresh(root) {
    locals(root);
    charts(root);
    root.dispatchEvent(new CustomEvent("millrace:fresh", { bubbles: true }));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const input of document.querySelectorAll("[data-utc]")) localInput(input);
    fresh(document.body);
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const root = event.target instanceof Element ? event.target : document.body;
    for (const part of [root, ...root.querySelectorAll(LIVE)]) if (!answered.has(part)) answered.set(part, new Date());
    fresh(root);
  });
  // A part that changes while one reads it must not lose what was opened in it, or drawn.
  document.addEventListener("htmx:configRequest", (event) => {
    const token = document.body.dataset.csrf;
    if (event.detail.triggeringEvent?.type === "tick") event.detail.headers["X-Millrace-Tick"] = "1";
    // A part is not asked for again while it is: one answer that never comes would stop it for good.
    if (event.detail.verb === "get") event.detail.timeout = Number(document.body.dataset.timeout);
    if (token && event.detail.verb !== "get") event.detail.headers["X-CSRF-Token"] = token;
  });
  if (window.Idiomorph) {
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node, change) =>
      !(name === "open" && node instanceof HTMLDetailsElement) && !(name === "style" || name.startsWith("_echarts"));
    Idiomorph.defaults.callbacks.beforeNodeMorphed = (before, after) => {
      // Else a time is the server's until all has settled, at every turn.
      if (after instanceof Element && after.matches(LOCAL)) local(after);
      if (!(before instanceof Element) || !before.matches?.("[data-chart]")) return true;
      const script = before.querySelector("script"), news = after.querySelector?.("script");
      if (script && news && script.textContent !== news.textContent) {
        script.textContent = news.textContent;
        before.dataset.rows = after.dataset.rows;
        before.dataset.stale = "1";
      }
      return false;
    };
    Idiomorph.defaults.callbacks.beforeNodeAdded = (node) => {
      if (node instanceof Element) locals(node);
      return true;
    };
    Idiomorph.defaults.callbacks.beforeNodeRemoved = (node) =>
      !(node instanceof Element && node.closest("[data-chart]") && node.closest("[data-chart]") !== node);
  }

  // What is said of a request of a person's that has no answer; status: 0 where none came.
  window.millraceUnanswered = (status) =>
    status ? `The console refused this (${status}); reload the page` : "The console cannot be reached; try again";

  // A page that cannot keep itself up to date must not look as if it did. The box is always there, as that of say().
  // Of each live part: when it came, if not with the page, or was answered since. Beside a part that fails, others may
  // have their answers.
  const LIVE = '[hx-trigger*="tick"]';
  const opened = new Date(), answered = new WeakMap(), failing = new Set();
  // What keeps itself up to date in a turn is its end, or the link to what follows; not what is followed by more.
  const followed = (part) => part.querySelector(":scope > .more[data-filled]") !== null;
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches(LIVE) && followed(event.target)) event.preventDefault();
  });
  function stale() {
    for (const part of failing) if (!part.isConnected || followed(part)) failing.delete(part);
    const since = Math.min(...[...failing].map((part) => answered.get(part) ?? opened));
    const again = paused() ? "Nothing is asked while paused." : "It is asked again by itself.";
    const text = failing.size ? `No answer since ${said(since, "second")}: what you see is of then. ${again}` : "";
    const box = document.getElementById("stale");
    if (box.textContent !== text) box.textContent = text;
  }
  // What has a place of its own for such words.
  const TELLS = "#sql-form, [data-content], #drawer > *";
  function came({ detail: { xhr, requestConfig: { elt } } }) {
    const good = xhr.status > 0 && xhr.status < 402; // who is to sign in again is led there
    if (elt.matches(LIVE)) { // nobody asked: at a tick, or when the page had not all of it yet
      if (good) answered.set(elt, new Date());
      if (good) failing.delete(elt); else failing.add(elt);
      stale();
    } else if (!good && !elt.matches(TELLS)) say(window.millraceUnanswered(xhr.status));
  }
  for (const name of ["htmx:afterOnLoad", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, came);

  // Who reads may have all stand still: for as long as this tab is open, or until it is to go on.
  const paused = () => document.body.hasAttribute("data-paused");
  function pause(on) {
    document.body.toggleAttribute("data-paused", on);
    document.querySelector("[data-pause]")?.setAttribute("aria-pressed", String(on));
    try { sessionStorage.setItem("paused", on ? "1" : ""); } catch { /* storage may be off */ }
    tick();
  }
  function tick() {
    if (document.visibilityState === "visible" && !paused()) document.body.dispatchEvent(new CustomEvent("tick"));
    stale();
  }
  document.addEventListener("DOMContentLoaded", () => {
    try { if (sessionStorage.getItem("paused")) pause(true); } catch { /* storage may be off */ }
  });
  setInterval(tick, Number(document.body.dataset.tick));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("millrace:theme"));
  });
  document.addEventListener("visibilitychange", tick);

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const menu = target?.closest("[data-menu]");
    if (menu) {
      const open = document.getElementById("menu").classList.toggle("open");
      menu.setAttribute("aria-expanded", String(open));
    }
    if (target?.closest("[data-pause]")) pause(!paused());
    if (target?.closest("[data-theme-switch]")) {
      const root = document.documentElement;
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* storage may be off */ }
      document.dispatchEvent(new CustomEvent("millrace:theme"));
    }
    const copy = target?.closest("[data-copy]");
    if (copy) {
      const source = document.getElementById(copy.dataset.copy);
      if (source) copyText(source);
    }
    for (const drop of document.querySelectorAll("details.drop[open]")) if (!drop.contains(target)) drop.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector(".menu.open");
    if (menu) {
      menu.classList.remove("open");
      const button = document.querySelector("[data-menu]");
      button.setAttribute("aria-expanded", "false");
      button.focus();
    }
    for (const drop of document.querySelectorAll("details.drop[open]")) {
      drop.open = false;
      drop.querySelector("summary").focus();
    }
  });

  // A menu asks for what is in it when it is opened, wherever it is; also one that was open before scripts ran.
  const tellOpened = (details) => details.dispatchEvent(new CustomEvent("opened"));
  document.addEventListener("toggle", ({ target }) => { if (target.matches("details.drop[open]")) tellOpened(target); }, true);
  document.addEventListener("DOMContentLoaded", () => {
    for (const details of document.querySelectorAll("details.drop[open]")) tellOpened(details);
  });

  // There is no clipboard for pages that come over plain http from another machine, and elsewhere it may be refused.
  async function copyText(source) {
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("Copied");
    } catch {
      getSelection().selectAllChildren(source);
      say("This page may not copy, so the text is selected: press Ctrl+C or ⌘C.");
    }
  }

  // The box is always there: a reader does not hear of one that comes with its words.
  let saying = 0;
  function say(text) {
    const box = document.getElementById("tooltip");
    box.textContent = text;
    box.style.left = "50%";
    box.style.top = "1rem";
    clearTimeout(saying);
    saying = setTimeout(() => { box.textContent = ""; }, 2000 + 80 * text.length);
  }
})();
