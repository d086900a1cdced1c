// Before the first paint: the theme that was chosen, else the system's; and that scripts run.
(() => {
  "use strict";
  document.documentElement.dataset.scripts = "";
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* storage may be off */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
