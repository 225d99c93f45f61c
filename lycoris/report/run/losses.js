// Loss curves: a panel per caption strategy, a line per adapter; the legend hides and shows algorithms.
const hidden = new Set();

function scales(adapters) {
  const raw = adapters.flatMap((adapter) => adapter.curve.raw).filter((value) => value !== null).sort((a, b) => a - b);
  const smooth = adapters.flatMap((adapter) => adapter.curve.smooth).filter((value) => value !== null);
  // Of many steps a few may leave the panel; the smoothed lines never do.
  const last = Math.max(...adapters.map((adapter) => adapter.curve.steps.at(-1)));
  const [first, end] = last > 200 ? [0.02, 0.98] : [0, 1];
  const high = Math.max(raw[Math.floor(end * (raw.length - 1))], ...smooth);
  const low = Math.min(raw[Math.floor(first * (raw.length - 1))], ...smooth);
  const pad = (high - low || Math.abs(high) || 1) * 0.05;
  return { low: low - pad, high: high + pad, last };
}

function panel(captions, index, adapters, { low, high, last }) {
  const [width, height, left, bottom, top, right] = [420, 260, 48, 36, 12, 12];
  const px = (step) => left + ((step - 1) / Math.max(1, last - 1)) * (width - left - right);
  const py = (value) => height - bottom - ((value - low) / (high - low)) * (height - bottom - top);
  const line = (curve, values) => curve.steps.map((step, at) => (values[at] === null ? "" :
    `${at && values[at - 1] !== null ? "L" : "M"}${px(step).toFixed(1)},${py(values[at]).toFixed(1)}`)).join("");
  const [tx, ty] = [ticks(1, Math.max(2, last), 5), ticks(low, high, 5)];
  return element("figure", {},
    element("figcaption", {}, captions ? ["captions ", element("code", {}, captions)] : "losses"),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": `Loss curves, captions ${captions}` },
      svg("clipPath", { id: `panel-${index}` },
        svg("rect", { x: left, y: top, width: width - left - right, height: height - top - bottom })),
      ty.values.map((value) => [
        svg("line", { x1: left, x2: width - right, y1: py(value), y2: py(value), class: "rule" }),
        svg("text", { x: left - 6, y: py(value) + 4, "text-anchor": "end" }, number(value, ty.digits))]),
      tx.values.map((value) =>
        svg("text", { x: px(value), y: height - bottom + 18, "text-anchor": "middle" }, number(value, tx.digits))),
      svg("text", { x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle", class: "axis" }, "step"),
      svg("g", { "clip-path": `url(#panel-${index})` },
        ["raw", "smooth"].map((kind) => adapters.filter((adapter) => adapter.captions === captions).map((adapter) =>
          svg("path", { d: line(adapter.curve, adapter.curve[kind]), class: kind,
            stroke: algorithmColors.get(adapter.algorithm) }, svg("title", {}, adapterTitle(adapter))))))));
}

const redraw = section("losses", () => {
  const all = selectedAdapters();
  const adapters = all.filter((adapter) => adapter.curve.steps.length);
  const without = all.filter((adapter) => !adapter.curve.steps.length && !adapter.error && !adapter.checkpoint);
  const remark = without.length
    ? element("p", { class: "fine" }, `No curve was recorded for ${without.map((adapter) =>
      adapterTitle(adapter) + (adapter.cached ? " (cached)" : "")).join(", ")}.`) : null;
  if (!adapters.length) return remark ?? empty("No loss curves were recorded.");
  const range = scales(adapters);
  const shown = adapters.filter((adapter) => !hidden.has(adapter.algorithm));
  const algorithms = data.algorithms.filter(([name]) => adapters.some((adapter) => adapter.algorithm === name));
  return [
    element("div", { class: "legend" }, algorithms.map(([name, text]) => element("button", {
      type: "button", "aria-pressed": String(!hidden.has(name)), "data-name": `line ${name}`, onclick: () => {
        if (!hidden.delete(name)) hidden.add(name);
        redraw();
      } },
      svg("svg", { width: 18, height: 10, "aria-hidden": "true" },
        svg("line", { x1: 1, x2: 17, y1: 5, y2: 5, stroke: algorithmColors.get(name), "stroke-width": 3 })), text))),
    element("div", { class: "panels" }, [...new Set(adapters.map((adapter) => adapter.captions))]
      .sort((a, b) => data.captions.indexOf(a) - data.captions.indexOf(b))
      .map((captions, index) => panel(captions, index, shown, range))),
    remark,
  ];
});
