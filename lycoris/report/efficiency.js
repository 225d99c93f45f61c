// What an adapter costs: training and drawing time, file and parameters, a dot an adapter and its algorithm's quartiles.
const seconds = (value) => (value >= 600 ? `${number(value / 60, 1)} min` : `${number(value, value < 10 ? 2 : 1)} s`);
const millions = (value) => (value >= 1e6 ? `${number(value / 1e6, 2)} M` : value >= 1e3 ? `${number(value / 1e3, 1)} k` : String(Math.round(value)));
const COSTS = [
  { name: "training time", of: (adapter) => adapter.seconds?.train, say: seconds, digits: 1, unit: "s" },
  { name: "drawing a picture", of: (adapter) => (adapter.drawn && adapter.seconds?.draw !== undefined
    ? adapter.seconds.draw / adapter.drawn : undefined), say: seconds, digits: 3, unit: "s" },
  { name: "file size", of: (adapter) => adapter.bytes, say: bytes, digits: 0, unit: "bytes" },
  { name: "parameters", of: (adapter) => adapter.parameters, say: millions, digits: 0, unit: "" },
];
// A checkpoint was trained for a part of its training's time that nobody took.
const finishedOnes = data.adapters.filter((adapter) => !adapter.error && !adapter.checkpoint);

function quantile(sorted, part) {
  const place = (sorted.length - 1) * part;
  const below = Math.floor(place);
  return sorted[below] + (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]) * (place - below);
}

function strip(cost, adapters, top) {
  const found = adapters.map((adapter) => ({ adapter, value: cost.of(adapter) })).filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => a.value - b.value);
  if (!found.length) return make("td", {}, "–");
  const values = found.map(({ value }) => value);
  const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => quantile(values, part));
  const [width, height] = [150, 26];
  const x = (value) => 5 + (value / (top || 1)) * (width - 10);
  const colour = colourOf.get(adapters[0].algorithm) ?? "currentColor";
  const step = Math.max(1, Math.ceil(found.length / 80));
  const text = `${cost.say(middle)} [${cost.say(low)}, ${cost.say(high)}]`;
  return make("td", {},
    draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${cost.name}: ${text}` },
      draw("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      draw("rect", { x: x(low), y: 6, width: Math.max(1, x(high) - x(low)), height: height - 12, rx: 3, fill: colour, opacity: 0.25 }),
      found.filter((_, place) => place % step === 0).map(({ adapter, value }) => draw("circle", { cx: x(value), cy: height / 2, r: 2.6, fill: colour,
        opacity: 0.75 }, draw("title", {}, `${adapter.concept} · ${adapterTitle(adapter)}: ${cost.say(value)}\nrun ${adapter.run_id ?? "not tracked"}`))),
      draw("line", { x1: x(middle), x2: x(middle), y1: 3, y2: height - 3, stroke: colour, "stroke-width": 2.5 })),
    make("span", { class: "sub" }, make("b", {}, cost.say(middle)), low === high ? "" : ` [${cost.say(low)}, ${cost.say(high)}]`));
}

function drawEfficiency() {
  const costs = COSTS.filter((cost) => finishedOnes.some((adapter) => Number.isFinite(cost.of(adapter))));
  if (!costs.length) return into("efficiency-table", empty("Neither times nor sizes were recorded."));
  const tops = costs.map((cost) => Math.max(...finishedOnes.map(cost.of).filter(Number.isFinite)));
  const algorithms = data.algorithms.filter(([name]) => finishedOnes.some((adapter) => adapter.algorithm === name));
  into("efficiency-table", make("table", { class: "forest costs" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Algorithm"), make("th", { scope: "col" }, "Adapters"),
      costs.map((cost, place) => make("th", { scope: "col" }, make("span", { class: "name" }, cost.name),
        make("span", { class: "sub" }, `↓ less is better, to ${cost.say(tops[place])}`))))),
    make("tbody", {}, algorithms.map(([name, text]) => {
      const own = finishedOnes.filter((adapter) => adapter.algorithm === name);
      return make("tr", {}, make("th", { scope: "row" }, text), make("td", {}, own.length),
        costs.map((cost, place) => strip(cost, own, tops[place])));
    }))));
}
