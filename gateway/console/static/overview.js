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
  const worse = new Set(["errors", "first_p50_ms", "first_p95_ms"]);

  const showFigures = ({ now, then }) => {
    for (const card of document.querySelectorAll("[data-figure]")) {
      const key = card.dataset.figure;
      const of = value[key] ?? ((sums) => sums[key]);
      const format = tell[card.dataset.kind];
      const [a, b] = [of(now), of(then)];
      card.querySelector("[data-now]").textContent = format(a);
      const before = card.querySelector("[data-then]");
      before.textContent = `${format(b)} before`;
      before.className = "";
      if (worse.has(key) && a !== null && b !== null && b > 0) {
        if (a > b * 1.2) before.className = "up";
        else if (a < b * 0.8) before.className = "down";
      }
    }
  };

  const plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const columns = (keys, series) => [series.at_s, ...keys.map(([key]) => series[key])];
  const draw = (series) => {
    for (const plot of plots.splice(0)) plot.chart.destroy();
    for (const box of document.querySelectorAll("[data-plot]")) {
      const keys = box.dataset.plot.split(",").map((one) => one.split(":"));
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
      const chart = new uPlot({
        width: box.clientWidth, height: 220, cursor: { y: false, points: { size: 6 } }, legend: { live: true },
        scales: { y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [axis, { ...axis, size: 54, values: (_u, ticks) => ticks.map((t) => whole.format(t)) }],
        series: [{}, ...keys.map(([, label], i) => ({ label, stroke: colour(`--series-${label === "Errors" ? 1 : i + 2}`), width: 2, points: { show: (u, i) => u.data[i].filter((n) => n !== null).length < 20, size: 5 }, spanGaps: true }))],
      }, columns(keys, series), box);
      plots.push({ chart, keys, box });
    }
  };

  let last = JSON.parse(document.getElementById("figures").textContent);
  showFigures(last);
  draw(last.series);
  document.addEventListener("stagedoor:theme", () => draw(last.series));
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
    for (const { chart, keys } of plots) chart.setData(columns(keys, last.series));
  };
  addEventListener("pagehide", () => source.close());
})();
