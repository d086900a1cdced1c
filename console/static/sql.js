// The SQL page: keys, cancel, where a fault is, the chart's columns, the schema, and a history that stays in this browser.
(() => {
  "use strict";
  const HISTORY_MAX = 50, SHARED_MAX = 6000;
  const form = document.getElementById("sql-form"), text = document.getElementById("sql-text");
  const runButton = document.getElementById("sql-run"), cancelButton = document.getElementById("sql-cancel");
  const status = document.getElementById("sql-status");
  const byId = (id) => document.getElementById(id);

  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!runButton.disabled) form.requestSubmit();
    }
  });
  text.addEventListener("input", unmark);

  // Running, and cancelling: an aborted request is a closed connection, which stops the query in the store.
  let began = 0, ticking = 0, cancelled = false;
  function running(now) {
    // Who pressed the button with the keyboard is not to fall out of the page when it is disabled.
    const had = document.activeElement;
    cancelButton.disabled = !now;
    if (now && had === runButton) cancelButton.focus();
    runButton.disabled = now;
    if (!now && had === cancelButton) runButton.focus();
    clearInterval(ticking);
    byId("result").setAttribute("aria-busy", String(now));
    if (!now) return;
    began = performance.now();
    status.textContent = "Running";
    ticking = setInterval(() => { status.textContent = `Running, ${Math.round((performance.now() - began) / 1000)} s`; }, 1000);
  }
  form.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target !== form) return;
    cancelled = false;
    unmark();
    running(true);
    remember(text.value);
  });
  cancelButton.addEventListener("click", () => { cancelled = true; htmx.trigger(form, "htmx:abort"); });
  form.addEventListener("htmx:afterRequest", (event) => {
    if (event.target !== form) return;
    running(false);
    if (cancelled) status.textContent = "Cancelled; the query was stopped";
    else if (event.detail.successful) { status.textContent = ""; share(true); }
    else status.textContent = window.millraceUnanswered(event.detail.xhr.status);
  });

  // What was run stays behind the browser's button Back, as a link to it: it is shown again, and not run.
  let here = location.search;
  function share(ran) {
    const said = new FormData(form), query = new URLSearchParams();
    for (const name of ["q", "limit", "x", "y", "kind"]) if (said.get(name)) query.set(name, said.get(name));
    const long = query.toString().length > SHARED_MAX;
    const there = long ? "" : `?${query}`, sql = (search) => new URLSearchParams(search).get("q");
    history[ran && sql(there) !== sql(here) ? "pushState" : "replaceState"](null, "", `/sql${there}`);
    here = location.search;
    const link = byId("sql-share");
    if (link && !long) link.href = `/sql?${query}`;
  }

  window.addEventListener("popstate", () => { if (location.search !== here) location.replace(`/sql${location.search}`); });

  // A fault's place, counted from 1 in lines and characters, becomes the selection.
  function unmark() { text.removeAttribute("aria-invalid"); text.setAttribute("aria-describedby", "sql-hint"); }
  function mark() {
    const fault = byId("sql-fault");
    if (!fault) {
      const summary = byId("sql-summary");
      if (summary) status.textContent = summary.textContent;
      return;
    }
    text.setAttribute("aria-invalid", "true");
    text.setAttribute("aria-describedby", "sql-hint sql-fault");
    const line = Number(fault.dataset.line), column = Number(fault.dataset.column);
    if (!line || !column) return;
    const lines = text.value.split("\n");
    const before = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    const start = before + Array.from(lines[line - 1] ?? "").slice(0, column - 1).join("").length;
    const word = /^(\w+|[^\s])/.exec(text.value.slice(start));
    text.focus();
    text.setSelectionRange(start, start + (word ? word[0].length : 1));
  }

  // The chart: the same form of data as the page draws first (console/charts.py), of other columns.
  function redraw() {
    const said = byId("sql-data"), drawing = byId("sql-drawing");
    if (!said || !drawing) return;
    const data = JSON.parse(said.textContent);
    const x = data.columns.indexOf(byId("sql-x").value), y = data.columns.indexOf(byId("sql-y").value);
    const rows = data.rows.map((row) => [row[x], row[y]]);
    const bucket = data.buckets[x]; // of times; else null
    if (bucket) rows.sort((one, other) => (one[0] < other[0] ? -1 : one[0] > other[0] ? 1 : 0));
    const script = drawing.querySelector("script"), first = JSON.parse(script.textContent);
    script.textContent = JSON.stringify({ ...first, kind: byId("sql-kind").value, times: Boolean(bucket), bucket: bucket ?? "hour",
      labels: rows.map(([label]) => (label === null ? "null" : String(label))),
      series: [{ name: data.columns[y], values: rows.map((row) => row[1]), links: [] }] });
    drawing.dataset.stale = "1";
    window.millraceDraw?.(drawing);
    share(false);
  }
  document.addEventListener("change", (event) => {
    if (["sql-x", "sql-y", "sql-kind"].includes(event.target.id)) redraw();
  });
  document.addEventListener("htmx:afterSettle", (event) => { if (event.target.id === "result") mark(); });
  mark();

  // The schema.
  function insert(name) {
    const start = text.selectionStart, before = text.value.slice(0, start);
    const gap = before && !/[\s(.,"]$/.test(before) ? " " : "";
    text.setRangeText(gap + name, start, text.selectionEnd, "end");
    text.focus();
    text.dispatchEvent(new Event("input", { bubbles: true }));
  }
  document.addEventListener("click", (event) => {
    const one = event.target.closest?.("[data-insert]");
    if (one) insert(one.dataset.insert);
  });
  byId("sql-find")?.addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let found = 0;
    for (const table of document.querySelectorAll(".sql-table-of")) {
      let here = 0;
      for (const column of table.querySelectorAll("[data-column]")) {
        const fits = !wanted || column.dataset.column.toLowerCase().includes(wanted);
        column.hidden = !fits;
        here += fits;
      }
      table.hidden = Boolean(wanted) && !here && !table.dataset.table.includes(wanted);
      table.open = Boolean(wanted) && here > 0;
      found += here;
    }
    byId("sql-found").textContent = wanted ? `${found} columns` : "";
  });

  // The history.
  const place = `sql:${form.dataset.person}`;
  function remembered() {
    try {
      const kept = JSON.parse(localStorage.getItem(place) ?? "[]");
      return Array.isArray(kept) ? kept.filter((one) => typeof one === "string").slice(0, HISTORY_MAX) : [];
    } catch { return []; }
  }
  function keep(queries) {
    try {
      if (queries.length) localStorage.setItem(place, JSON.stringify(queries));
      else localStorage.removeItem(place);
    } catch { /* storage may be off or full */ }
    list();
  }
  function remember(query) {
    if (query.trim()) keep([query, ...remembered().filter((one) => one !== query)].slice(0, HISTORY_MAX));
  }
  function list() {
    const queries = remembered(), items = byId("sql-history");
    byId("sql-history-count").textContent = String(queries.length);
    items.replaceChildren(...queries.map((query) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.className = "mono";
      button.textContent = query.replace(/\s+/g, " ").slice(0, 120);
      button.addEventListener("click", () => { text.value = query; unmark(); text.focus(); });
      item.append(button);
      return item;
    }));
  }
  byId("sql-history-clear").addEventListener("click", () => { keep([]); text.focus(); });
  list();
})();
