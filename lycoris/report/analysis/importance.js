// SHAP values: a swarm per factor for one measure, and the R² of every measure.
const best = analysis.models.reduce((one, other) => ((other.r2 ?? -1) > (one?.r2 ?? -1) ? other : one), null);
const chosen = { measure: best?.measure ?? null };
const factors = Object.keys(analysis.factorValues);
const UNITS = { capacity: "steps above the default", learning_rate: "steps above the default", scale: "alpha / rank" };
const levelsOf = new Map(factors.map((factor) => [factor,
  [...new Set(analysis.factorValues[factor])].sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))))]));
const levelColor = (factor, value) => {
  const levels = levelsOf.get(factor);
  if (factor === "algorithm") return algorithmColors.get(value) ?? "var(--grey)";
  const index = levels.indexOf(value);
  return typeof value === "number"
    ? `color-mix(in srgb, var(--c1) ${Math.round((100 * index) / Math.max(1, levels.length - 1))}%, var(--c0))` : `var(--c${(index + 2) % 8})`;
};
const levelText = (factor, value) => (factor === "algorithm" ? algorithmTitles.get(value) ?? value : String(value ?? "–"));
// The factors of a model, the most important first.
const importances = (model) => factors.map((factor, index) => ({ factor, index, size: model.meanSizes?.[index] ?? 0 }))
  .sort((a, b) => b.size - a.size);

function swarm(model, px, rowHeight) {
  return ({ factor, index }, y) => {
    const counts = new Map();
    return model.shapValues[index].map((value, at) => [value, analysis.swarm[at]]).sort((a, b) => a[0] - b[0]).map(([value, setting]) => {
      const bin = Math.round(px(value) / 5);
      const stacked = counts.get(bin) ?? 0;
      counts.set(bin, stacked + 1);
      const offset = Math.max(-rowHeight / 2 + 5, Math.min(rowHeight / 2 - 5, (stacked % 2 ? 1 : -1) * Math.ceil(stacked / 2) * 4.5));
      const level = analysis.factorValues[factor][setting];
      return svg("circle", { cx: px(value), cy: y + offset, r: 3.6, fill: levelColor(factor, level), stroke: "var(--paper)", "stroke-width": 0.6 },
        svg("title", {}, `${spaced(factor)} ${level}: ${number(value, 3, true)}\n${settingName(analysis.settings[setting])}`));
    });
  };
}

function swarmPlot(model, name, order) {
  const [width, left, right, rowHeight, top] = [760, 150, 20, 54, 10];
  const height = top + rowHeight * order.length + 34;
  const axisEnd = Math.max(0.02, ...model.shapValues.flat().map(Math.abs)) * 1.08;
  const px = (value) => left + ((value + axisEnd) / (2 * axisEnd)) * (width - left - right);
  const { values, digits } = ticks(-axisEnd, axisEnd, 7);
  const dots = swarm(model, px, rowHeight);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": `SHAP values for ${name}; shap.csv has the numbers` },
    values.map((value) => [svg("line", { x1: px(value), x2: px(value), y1: top, y2: height - 34, class: "rule" }),
      svg("text", { x: px(value), y: height - 18, "text-anchor": "middle" }, number(value, digits, true))]),
    svg("line", { x1: px(0), x2: px(0), y1: top, y2: height - 34, class: "zero" }),
    svg("text", { x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle", class: "axis" }, "SHAP value, scaled rank"),
    order.map((entry, index) => {
      const y = top + rowHeight * index + rowHeight / 2;
      return [svg("text", { x: left - 12, y: y - 2, "text-anchor": "end", class: "axis" }, spaced(entry.factor)),
        svg("text", { x: left - 12, y: y + 13, "text-anchor": "end" }, `mean ${number(entry.size, 3)}`),
        svg("g", {}, dots(entry, y))];
    }));
}

function levelLegends(model, order) {
  return order.filter(({ size, index }) => size > 0 && model.levelMeans[index].length).map(({ factor, index }) => element("div", { class: "legend" },
    element("b", {}, spaced(factor), ", mean SHAP of each level", UNITS[factor] ? element("span", { class: "none" }, `, ${UNITS[factor]}`) : null),
    levelsOf.get(factor).map((value) => element("span", {}, svg("svg", { width: 12, height: 12, "aria-hidden": "true" },
      svg("circle", { cx: 6, cy: 6, r: 5, fill: levelColor(factor, value) })), levelText(factor, value),
      element("span", { class: "none", title: "mean SHAP value" },
        number(model.levelMeans[index].find(([own]) => own === value)?.[1], 3, true))))));
}

function modelBody() {
  if (!analysis.models.length) return empty("There are no SHAP values; the notes at the top say why, or no setting varies in this table.");
  const model = analysis.models.find((entry) => entry.measure === chosen.measure);
  const { name } = measures[model.measure];
  const fit = model.r2 === null ? "there is only one class, so R² cannot be computed" : `R² on held-out classes is ${number(model.r2, 2)}`;
  if (!model.explained) return empty(`Unexplained: ${fit}. No setting of this table predicts the rank in ${name}.`);
  const order = importances(model);
  return [
    element("p", { class: "lead" }, `${name}: ${fit}; ${spaced(order[0].factor)} changes it most, by ${number(order[0].size, 2)} rank on average.`),
    swarmPlot(model, name, order),
    levelLegends(model, order),
  ];
}

const modelColumns = [
  { label: "Measure", value: (model) => measures[model.measure].name },
  { label: "R² on held-out classes", numeric: true, value: (model) => model.r2, cell: (model) => number(model.r2, 2) },
  { label: "Verdict", value: (model) => (model.explained ? "explained in part" : "unexplained"),
    cell: (model) => element("span", { class: model.explained ? "" : "none" }, model.explained ? "explained in part" : "unexplained") },
  { label: "Changed most by", value: (model) => (model.explained ? spaced(importances(model)[0].factor) : ""),
    cell: (model) => (model.explained ? importances(model).slice(0, 3).map(({ factor, size }) => `${spaced(factor)} ${number(size, 2)}`).join(", ") : "–") },
];

function draw() {
  into("importance-tools", analysis.models.length ? menu("Measure", analysis.models.map((model) => [String(model.measure),
    `${measures[model.measure].name} (R² ${number(model.r2, 2)})`]), String(chosen.measure), (value) => keepFocus(() => {
    chosen.measure = Number(value);
    draw();
  }), "model measure") : []);
  into("swarm", modelBody());
}
into("importance-body", element("div", { id: "swarm" }), region("Models", { class: "tall", id: "model-table" },
  analysis.models.length ? sortable(modelColumns, [...analysis.models], unsorted()) : null));
draw();
