// Two streams side by side. Text goes into text nodes and nowhere else.
(() => {
  "use strict";
  const form = document.querySelector("[data-playground]");
  if (!form) return;
  const stop = form.querySelector("[data-stop]");
  let running = null;

  const time = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
  const usd = (n) => (n === 0 ? "$0" : `$${(n / 1e9).toPrecision(3)}`);

  const side = (name) => {
    const box = document.querySelector(`[data-side="${name}"]`);
    const at = (what) => box.querySelector(what);
    return {
      said: at(".said"), problem: at(".problem"),
      tell: (what, text) => { at(`[data-${what}]`).textContent = text; },
      fail(text) { this.problem.textContent = text; this.problem.hidden = !text; },
    };
  };

  const settle = async (view, id) => {
    // The record is taken in about half a second after the answer's end.
    for (let tries = 0; tries < 12; tries += 1) {
      await new Promise((done) => { setTimeout(done, 500); });
      const reply = await fetch(`/console/playground/${encodeURIComponent(id)}`);
      if (reply.status !== 200) continue;
      const record = await reply.json();
      view.tell("served", record.served_by === "/" ? "" : `served by ${record.served_by}`);
      view.tell("first", record.first_content_ms ? time(record.first_content_ms) : "–");
      view.tell("total", time(record.duration_ms ?? 0));
      view.tell("tokens", `${record.prompt_tokens ?? 0} in, ${record.output_tokens ?? 0} out`);
      view.tell("cost", record.priced === false ? "no price" : usd(record.cost_nanousd ?? 0));
      return;
    }
  };

  const run = async (name, signal) => {
    const view = side(name);
    view.said.replaceChildren();
    view.fail("");
    for (const what of ["first", "total", "tokens", "cost"]) view.tell(what, "–");
    view.tell("served", "");
    view.said.setAttribute("aria-busy", "true");
    const text = document.createTextNode("");
    view.said.append(text);
    const began = performance.now();
    let id = null;
    try {
      const fields = new FormData(form);
      fields.set("target", fields.get(name));
      const reply = await fetch("/console/playground/run", {
        method: "POST", signal, headers: { "x-csrf": document.body.dataset.csrf }, body: new URLSearchParams(fields),
      });
      id = reply.headers.get("x-playground-request");
      if (!reply.ok) {
        const told = await reply.json().catch(() => null);
        view.fail(told?.error?.message ?? `It answered ${reply.status}.`);
        return;
      }
      const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      let kept = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        kept += value;
        const events = kept.split("\n\n");
        kept = events.pop();
        for (const event of events) {
          const data = event.split("\n").find((line) => line.startsWith("data: "))?.slice(6);
          if (!data || data === "[DONE]") continue;
          const chunk = JSON.parse(data);
          if (chunk.error) { view.fail(chunk.error.message); continue; }
          const delta = chunk.choices?.[0]?.delta;
          const piece = (delta?.reasoning_content ?? "") + (delta?.content ?? "");
          if (piece && !text.length) view.tell("first", time(performance.now() - began));
          if (piece) text.appendData(piece);
        }
      }
      view.tell("total", time(performance.now() - began));
    } catch (error) {
      view.fail(error.name === "AbortError" ? "Stopped." : "The connection broke.");
    } finally {
      view.said.setAttribute("aria-busy", "false");
      if (id) settle(view, id);
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    stop.disabled = false;
    await Promise.all([run("left", signal), run("right", signal)]);
    stop.disabled = true;
  });
  stop.addEventListener("click", () => running?.abort());
})();
