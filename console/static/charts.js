// Draws a chart (console/charts.py) with ECharts, in the page's colours; the numbers are written as console/shown.py does.
(() => {
  "use strict";
  const drawn = new WeakMap();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const grouped = (value, digits) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  function seconds(value) {
    if (value < 1) return value ? `${(value * 1000).toFixed(0)} ms` : "0 s";
    if (value < 60) return `${value.toFixed(1)} s`;
    const whole = Math.round(value);
    for (const [size, unit, less, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]])
      if (whole >= size) {
        const rest = Math.floor((whole % size) / less);
        return `${grouped(Math.floor(whole / size), 0)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
      }
    return `${whole} s`;
  }
  function tokens(value) {
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(value) >= size) return `${(value / size).toFixed(Math.abs(value) < 10 * size ? 2 : 1)} ${unit}`;
    return grouped(value, 0);
  }
  const units = {
    usd: (v) => {
      const size = Math.abs(v);
      if (size < 1e-9) return "$0.00"; // what adding in another order leaves
      const said = size < 0.0001 ? "<$0.0001" : size < 0.01 ? `$${size.toFixed(4)}` : `$${grouped(size, 2)}`;
      return `${v < 0 ? "−" : ""}${said}`;
    },
    count: (v) => (Number.isInteger(v) || Math.abs(v) >= 100 ? grouped(v, 0) : grouped(v, 1)),
    tokens, seconds, ms: (v) => seconds(v / 1000), percent: (v) => `${(v * 100).toFixed(1)} %`,
  };
  // On an axis a number needs no more digits than tell it from the next one: 2 k, 2.5 k.
  const short = (v) => tokens(v).replace(/\.?0+ /, " ");
  const axis = {
    ...units,
    usd: (v) => (Math.abs(v) >= 1000 ? `$${short(v)}` : `$${+v.toFixed(4)}`),
    count: (v) => (Number.isInteger(v) ? short(v) : `${+v.toFixed(2)}`),
    tokens: short,
    percent: (v) => `${(v * 100).toFixed(0)} %`,
  };

  const time = window.millraceTime;
  const DAY_MS = 86_400_000;
  function tick(data) {
    const long = Date.parse(data.labels.at(-1)) - Date.parse(data.labels[0]) >= DAY_MS;
    const form = data.bucket !== "hour" ? "axisDay" : long ? "axisHours" : "axisHour";
    return (iso) => time(iso, form);
  }
  const when = (iso, bucket) =>
    bucket === "hour" ? `${time(iso, "minute")} (${iso.slice(0, 16).replace("T", " ")} UTC)` : `${bucket === "week" ? "Week from " : ""}${time(iso, "day")} (UTC)`;

  // Durations in steps that people count in, and no more than all of something.
  const steps = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800];
  function ticks(data) {
    if (data.unit === "percent") return { max: (seen) => (seen.max <= 1 ? Math.min(1, Math.ceil(seen.max * 10) / 10) : null) };
    if (data.unit !== "seconds" && data.unit !== "ms") return {};
    const one = data.unit === "ms" ? 1000 : 1;
    const sums = data.labels.map((_, place) => data.series.map((series) => series.values[place] ?? 0));
    const most = Math.max(0, ...sums.map((values) => (data.kind === "lines" ? Math.max(...values) : values.reduce((a, b) => a + b, 0)))) / one;
    const step = steps.find((size) => most / size <= 5);
    return step && most >= 2 ? { interval: step * one } : {};
  }

  function options(data) {
    const text = colour("--text"), faint = colour("--faint"), line = colour("--line"), surface = colour("--surface");
    const palette = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => colour(`--c${n}`));
    const rank = data.kind === "rank";
    const names = { type: "category", data: data.labels, axisLine: { lineStyle: { color: line } }, axisTick: { show: false },
      axisLabel: { color: faint, hideOverlap: true, ...(data.times ? { formatter: tick(data) } : { width: rank ? 150 : 90, overflow: "truncate" }) },
      ...(rank ? { inverse: true } : {}) };
    const values = { type: "value", axisLabel: { color: faint, formatter: axis[data.unit], hideOverlap: true }, splitLine: { lineStyle: { color: line } },
      splitNumber: 4, minInterval: data.unit === "count" || data.unit === "tokens" ? 1 : 0, ...ticks(data) };
    return {
      animation: false, color: palette, textStyle: { color: text, fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { left: 8, right: 16, top: data.series.length > 1 ? 34 : 12, bottom: 4, containLabel: true },
      legend: data.series.length > 1 ? { type: "scroll", top: 0, left: 0, itemWidth: 12, itemHeight: 10, textStyle: { color: text }, pageTextStyle: { color: faint } } : undefined,
      tooltip: { trigger: "axis", axisPointer: { type: data.kind === "lines" ? "line" : "shadow" }, renderMode: "richText", confine: true,
        backgroundColor: surface, borderColor: line, textStyle: { color: text },
        formatter: (points) => [data.times ? when(points[0].name, data.bucket) : points[0].name,
          ...points.filter((p) => p.value).map((p) => `${p.marker ? "" : ""}${p.seriesName}: ${units[data.unit](p.value)}`)].join("\n") },
      xAxis: rank ? values : names, yAxis: rank ? names : values,
      series: data.series.map((one) => ({
        name: one.name, data: one.values, type: data.kind === "lines" ? "line" : "bar", symbol: "circle", showSymbol: data.labels.length < 40, symbolSize: 5,
        stack: data.kind === "lines" ? undefined : "all", barMaxWidth: 28, cursor: one.links.some(Boolean) || data.links.some(Boolean) ? "pointer" : "default",
      })),
    };
  }

  window.millraceDraw = (element) => {
    const script = element.querySelector("script");
    const said = script.textContent;
    let one = drawn.get(element);
    if (one && one.said === said && !element.dataset.stale) return;
    delete element.dataset.stale;
    const data = JSON.parse(said);
    if (!one) {
      const box = document.createElement("div");
      box.className = "chart-box";
      element.append(box);
      one = { chart: echarts.init(box, null, { renderer: "canvas" }) };
      drawn.set(element, one);
      one.chart.on("click", (point) => {
        const series = one.data.series[point.seriesIndex], base = one.data.links[point.dataIndex];
        const link = series.links[point.dataIndex] || (base && base + series.more);
        if (link) location.href = link;
      });
      new ResizeObserver(() => one.chart.resize()).observe(element);
    }
    one.said = said;
    one.data = data;
    const drawing = options(data);
    // What was switched off in the legend stays off.
    const selected = one.chart.getOption()?.legend?.[0]?.selected;
    if (drawing.legend && selected) drawing.legend.selected = selected;
    one.chart.setOption(drawing, true);
  };
  document.addEventListener("millrace:theme", () => {
    for (const element of document.querySelectorAll("[data-chart]")) {
      element.dataset.stale = "1";
      window.millraceDraw(element);
    }
  });
})();
