// Loss curves: a panel a tag strategy, a line an adapter; a button of the legend hides its algorithm.
const hidden = new Set();

function drawLosses() {
  const adapters = chosenAdapters().filter((adapter) => adapter.curve.steps.length);
  const without = chosenAdapters()
    .filter((adapter) => !adapter.curve.steps.length && !adapter.error && !adapter.checkpoint);
  const remark = without.length
    ? make("p", { class: "fine" }, `No curve was recorded for ${without.map((adapter) =>
      adapterTitle(adapter) + (adapter.cached ? " (cached)" : "")).join(", ")}.`) : null;
  if (!adapters.length) return into("loss-plots", remark ?? empty("No loss curves were recorded."));
  const shown = adapters.filter((adapter) => !hidden.has(adapter.algorithm));
  const raw = adapters.flatMap((adapter) => adapter.curve.raw).filter((value) => value !== null).sort((a, b) => a - b);
  const smooth = adapters.flatMap((adapter) => adapter.curve.smooth).filter((value) => value !== null);
  // A few single steps may leave the panel, the smoothed lines never do.
  const high = Math.max(raw[Math.floor(0.98 * (raw.length - 1))], ...smooth);
  const low = Math.min(raw[Math.floor(0.02 * (raw.length - 1))], ...smooth);
  const pad = (high - low || Math.abs(high) || 1) * 0.05;
  const last = Math.max(...adapters.map((adapter) => adapter.curve.steps.at(-1)));
  const [W, H, left, bottom, top, right] = [420, 260, 48, 36, 12, 12];
  const px = (step) => left + ((step - 1) / Math.max(1, last - 1)) * (W - left - right);
  const py = (value) => H - bottom - ((value - low + pad) / (high - low + 2 * pad)) * (H - bottom - top);
  const line = (curve, values) => curve.steps.map((step, place) => (values[place] === null ? "" :
    `${place && values[place - 1] !== null ? "L" : "M"}${px(step).toFixed(1)},${py(values[place]).toFixed(1)}`)).join("");
  const [tx, ty] = [ticks(1, Math.max(2, last), 5), ticks(low - pad, high + pad, 5)];
  const panel = (captions, place) => make("figure", {},
    make("figcaption", {}, captions ? ["captions ", make("code", {}, captions)] : "losses"),
    draw("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img", "aria-label": `Loss curves, captions ${captions}` },
      draw("clipPath", { id: `panel-${place}` },
        draw("rect", { x: left, y: top, width: W - left - right, height: H - top - bottom })),
      ty.values.map((value) => [
        draw("line", { x1: left, x2: W - right, y1: py(value), y2: py(value), class: "rule" }),
        draw("text", { x: left - 6, y: py(value) + 4, "text-anchor": "end" }, number(value, ty.digits))]),
      tx.values.map((value) =>
        draw("text", { x: px(value), y: H - bottom + 18, "text-anchor": "middle" }, number(value, tx.digits))),
      draw("text", { x: (left + W - right) / 2, y: H - 2, "text-anchor": "middle", class: "axis" }, "step"),
      draw("g", { "clip-path": `url(#panel-${place})` },
        ["raw", "smooth"].map((kind) => shown.filter((adapter) => adapter.captions === captions).map((adapter) =>
          draw("path", { d: line(adapter.curve, adapter.curve[kind]), class: kind,
            stroke: colourOf.get(adapter.algorithm) }, draw("title", {}, adapterTitle(adapter))))))));
  const used = data.algorithms.filter(([name]) => adapters.some((adapter) => adapter.algorithm === name));
  into("loss-plots",
    make("div", { class: "legend" }, used.map(([name, text]) => make("button", {
      type: "button", "aria-pressed": String(!hidden.has(name)), "data-name": `line ${name}`, onclick: () => {
        if (!hidden.delete(name)) hidden.add(name);
        keepFocus(drawLosses);
      } },
      draw("svg", { width: 18, height: 10, "aria-hidden": "true" },
        draw("line", { x1: 1, x2: 17, y1: 5, y2: 5, stroke: colourOf.get(name), "stroke-width": 3 })), text))),
    make("div", { class: "panels" }, [...new Set(adapters.map((adapter) => adapter.captions))]
      .sort((a, b) => data.captions.indexOf(a) - data.captions.indexOf(b)).map(panel)),
    remark);
}
