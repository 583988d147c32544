// The overview's figures and charts, from the page's own data and then live.
(() => {
  "use strict";
  const whole = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
  const share = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
  const tell = {
    count: (n) => whole.format(n),
    share: (n) => (n === null ? "–" : share.format(n)),
    ms: (n) => (n === null ? "–" : n < 1000 ? `${n} ms` : `${(n / 1000).toFixed(2)} s`),
    usd: (n) => {
      const usd = n / 1e9;
      return usd === 0 ? "$0" : usd >= 1 ? `$${usd.toFixed(2)}` : `$${usd.toPrecision(2)}`;
    },
  };
  const value = {
    errors: (of) => (of.requests ? of.errors / of.requests : null),
    tokens: (of) => of.prompt_tokens + of.output_tokens,
  };
  // Where more is worse: then a rise is told as bad, a fall as good.
  const worse = new Set(["errors", "first_p50_ms", "first_p95_ms", "total_p50_ms", "total_p95_ms"]);
  const change = (a, b) => {
    if (a === null || b === null || b === 0 || a === b) return "";
    const more = (a - b) / b;
    if (Math.abs(more) >= 10) return `, ×${whole.format(a / b)}`;
    const rounded = Math.round(more * 100);
    return rounded === 0 ? "" : `, ${rounded > 0 ? "+" : "−"}${Math.abs(rounded)} %`;
  };

  const showFigures = ({ now, then }) => {
    for (const card of document.querySelectorAll("[data-figure]")) {
      const key = card.dataset.figure;
      const of = value[key] ?? ((sums) => sums[key]);
      const format = tell[card.dataset.kind];
      const [a, b] = [of(now), of(then)];
      card.querySelector("[data-now]").textContent = format(a);
      const before = card.querySelector("[data-then]");
      before.textContent = `${format(b)} before${change(a, b)}`;
      before.className = "";
      if (worse.has(key) && a !== null && b !== null && b > 0) {
        if (a > b * 1.2) before.className = "up";
        else if (a < b * 0.8) before.className = "down";
      }
    }
  };

  const plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // The span before, drawn where it was that long ago: step by step beside this one.
  const columns = ({ keys, past }, { series, before }) => {
    const first = series.at_s.length - before[past].length;
    const shifted = series.at_s.map((_, i) => before[past][i - first] ?? null);
    return [series.at_s, shifted, ...keys.map(([key]) => series[key])];
  };
  const two = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 2 });
  // In the reader's own zone; a new day is told by its date.
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const moment = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const times = (_u, ticks) => ticks.map((t) => {
    const at = new Date(t * 1000);
    return at.getHours() + at.getMinutes() === 0 ? day.format(at) : clock.format(at);
  });
  const onAxis = {
    count: (n) => whole.format(n),
    share: (n) => share.format(n),
    ms: (n) => (n < 1000 ? `${whole.format(n)} ms` : `${whole.format(n / 1000)} s`),
    dollars: (n) => `$${two.format(n)}`,
  };
  const fine = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
  const inLegend = {
    ...onAxis, count: (n) => fine.format(n), dollars: (n) => `$${fine.format(n)}`, ms: tell.ms,
  };
  const draw = (figures) => {
    for (const plot of plots.splice(0)) plot.chart.destroy();
    for (const box of document.querySelectorAll("[data-plot]")) {
      const keys = box.dataset.plot.split(",").map((one) => one.split(":"));
      const past = box.dataset.before;
      const told = onAxis[box.dataset.kind];
      const exact = (_u, n) => (n === null || n === undefined ? "–" : inLegend[box.dataset.kind](n));
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
      const chart = new uPlot({
        width: box.clientWidth, height: 220, cursor: { y: false, points: { size: 6 } }, legend: { live: true },
        scales: { y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [{ ...axis, values: times }, { ...axis, size: 58, values: (_u, ticks) => ticks.map((t) => told(t)) }],
        series: [{ label: "At", value: (_u, t) => (t === null ? "–" : moment.format(new Date(t * 1000))) }, { label: keys[0][0] === past ? "Before" : `${keys.find(([key]) => key === past)[1]} before`, value: exact, stroke: colour("--quiet"), width: 1, dash: [4, 4], points: { show: false }, spanGaps: true }, ...keys.map(([, label], i) => ({ label, value: exact, stroke: colour(`--series-${label === "Errors" ? 1 : i + 2}`), width: 2, points: { show: (u, i) => u.data[i].filter((n) => n !== null).length < 20, size: 5 }, spanGaps: true }))],
      }, columns({ keys, past }, figures), box);
      plots.push({ chart, keys, past, box });
    }
  };

  let last = JSON.parse(document.getElementById("figures").textContent);
  showFigures(last);
  draw(last);
  document.addEventListener("stagedoor:theme", () => draw(last));
  new ResizeObserver(() => {
    for (const { chart, box } of plots) chart.setSize({ width: box.clientWidth, height: 220 });
  }).observe(document.getElementById("main"));

  const lamp = document.querySelector("[data-live-state]");
  const words = document.querySelector("[data-live-text]");
  const say = (state, text) => { lamp.dataset.liveState = state; words.textContent = text; };
  const source = new EventSource(document.querySelector("[data-live]").dataset.live);
  source.onopen = () => say("on", "live");
  source.onerror = () => say("off", "not live; trying again");
  source.onmessage = (event) => {
    last = JSON.parse(event.data);
    showFigures(last);
    for (const plot of plots) plot.chart.setData(columns(plot, last));
  };
  addEventListener("pagehide", () => source.close());
})();
