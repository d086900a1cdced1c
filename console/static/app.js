// What all pages do: times in the viewer's zone, the theme, the menu, keeping live parts up to date, drawing charts.
(() => {
  "use strict";
  const TICK_MS = 3000;

  const forms = {
    minute: { dateStyle: "medium", timeStyle: "short" },
    second: { dateStyle: "medium", timeStyle: "medium" },
    day: { dateStyle: "medium" },
  };
  const spelled = Object.fromEntries(
    Object.entries(forms).map(([name, form]) => [name, new Intl.DateTimeFormat(undefined, form)]),
  );

  function localTime(element) {
    const at = new Date(element.getAttribute("datetime"));
    if (Number.isNaN(at.getTime())) return;
    const text = (spelled[element.dataset.form] || spelled.minute).format(at);
    if (element.textContent !== text) element.textContent = text;
  }
  function localTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]")) localTime(element);
  }

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
    localTimes(root);
    charts(root);
    root.dispatchEvent(new CustomEvent("millrace:fresh", { bubbles: true }));
  }

  document.addEventListener("DOMContentLoaded", () => fresh(document.body));
  document.addEventListener("htmx:afterSettle", (event) => fresh(event.target instanceof Element ? event.target : document.body));
  // A part that changes while one reads it must not lose what was opened in it, or drawn.
  document.addEventListener("htmx:configRequest", (event) => {
    const token = document.body.dataset.csrf;
    if (event.detail.triggeringEvent?.type === "tick") event.detail.headers["X-Millrace-Tick"] = "1";
    if (token && event.detail.verb !== "get") event.detail.headers["X-CSRF-Token"] = token;
  });
  if (window.Idiomorph) {
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node, change) =>
      !(name === "open" && node instanceof HTMLDetailsElement) && !(name === "style" || name.startsWith("_echarts"));
    Idiomorph.defaults.callbacks.beforeNodeMorphed = (before, after) => {
      // Else a time is the server's until all has settled, at every turn.
      if (after instanceof HTMLTimeElement) localTime(after);
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
      if (node instanceof Element) localTimes(node);
      return true;
    };
    Idiomorph.defaults.callbacks.beforeNodeRemoved = (node) =>
      !(node instanceof Element && node.closest("[data-chart]") && node.closest("[data-chart]") !== node);
  }

  // A page that cannot keep itself up to date must not look as if it did.
  let since = null;
  function stale(failed) {
    const box = document.getElementById("stale");
    since = failed ? since ?? new Date() : null;
    const text = failed ? `No answer since ${spelled.second.format(since)}: what you see is of then. It is asked again by itself.` : "";
    if (box.textContent !== text) box.textContent = text;
    box.hidden = !failed;
  }
  document.addEventListener("htmx:sendError", () => stale(true));
  document.addEventListener("htmx:timeout", () => stale(true));
  // Of every answer, also of one that is an error.
  document.addEventListener("htmx:afterOnLoad", (event) => stale(event.detail.xhr.status >= 429));

  setInterval(() => {
    if (document.visibilityState === "visible") document.body.dispatchEvent(new CustomEvent("tick"));
  }, TICK_MS);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new CustomEvent("millrace:theme"));
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") document.body.dispatchEvent(new CustomEvent("tick"));
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const menu = target?.closest("[data-menu]");
    if (menu) {
      const open = document.getElementById("menu").classList.toggle("open");
      menu.setAttribute("aria-expanded", String(open));
    }
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
