// Training time, time per image, file size and parameters: a dot per adapter, and the quartiles of its algorithm.
// A checkpoint's training time is not known, so checkpoints are left out.
const finished = data.adapters.filter((adapter) => !adapter.error && !adapter.checkpoint);

function quantile(sorted, part) {
  const position = (sorted.length - 1) * part;
  const below = Math.floor(position);
  return sorted[below] + (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]) * (position - below);
}

function costCell(cost, adapters, max) {
  const points = adapters.map((adapter) => ({ adapter, value: cost.of(adapter) })).filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => a.value - b.value);
  if (!points.length) return element("td", {}, "–");
  const values = points.map(({ value }) => value);
  const [low, median, high] = [0.25, 0.5, 0.75].map((part) => quantile(values, part));
  const [width, height] = [150, 26];
  const x = (value) => 5 + (value / (max || 1)) * (width - 10);
  const color = algorithmColors.get(adapters[0].algorithm) ?? "currentColor";
  const step = Math.max(1, Math.ceil(points.length / 80));
  const band = cost.text(low) === cost.text(high) ? "" : ` [${cost.text(low)}, ${cost.text(high)}]`;
  const text = cost.text(median) + band;
  return element("td", {},
    svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${cost.name}: ${text}` },
      svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      svg("rect", { x: x(low), y: 6, width: Math.max(1, x(high) - x(low)), height: height - 12, rx: 3, fill: color, opacity: 0.25 }),
      points.filter((_, index) => index % step === 0).map(({ adapter, value }) => svg("circle", { cx: x(value), cy: height / 2, r: 2.6,
        fill: color, opacity: 0.75 }, svg("title", {},
        `${adapter.concept} · ${adapterTitle(adapter)}: ${cost.text(value)}\nrun ${adapter.run_id ?? "not tracked"}`))),
      svg("line", { x1: x(median), x2: x(median), y1: 3, y2: height - 3, stroke: color, "stroke-width": 2.5 })),
    element("span", { class: "sub" }, element("b", {}, cost.text(median)), band));
}

function body() {
  const costs = COSTS.filter((cost) => finished.some((adapter) => Number.isFinite(cost.of(adapter))));
  if (!costs.length) return empty("No times or sizes were recorded.");
  const maxima = costs.map((cost) => Math.max(...finished.map(cost.of).filter(Number.isFinite)));
  const algorithms = data.algorithms.filter(([name]) => finished.some((adapter) => adapter.algorithm === name));
  return [
    element("p", { class: "fine" }, `Measured on ${data.hardware ?? "hardware that was not recorded"}, `
      + "with all other work that ran there at the time. Checkpoints are left out."),
    region("Costs", {}, element("table", { class: "forest costs" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Algorithm"), element("th", { scope: "col" }, "Adapters"),
        costs.map((cost, index) => element("th", { scope: "col" }, element("span", { class: "name" }, cost.name),
          element("span", { class: "sub" }, `↓ less is better; the axis ends at ${cost.text(maxima[index])}`))))),
      element("tbody", {}, algorithms.map(([name, text]) => {
        const own = finished.filter((adapter) => adapter.algorithm === name);
        return element("tr", {}, element("th", { scope: "row" }, text), element("td", {}, own.length),
          costs.map((cost, index) => costCell(cost, own, maxima[index])));
      })))),
  ];
}
into("cost-body", body());
