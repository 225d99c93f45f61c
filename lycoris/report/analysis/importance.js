// SHAP values: a swarm a factor for one measure, and every measure's R².
const best = analysis.models.reduce((one, other) => ((other.r2 ?? -1) > (one?.r2 ?? -1) ? other : one), null);
const model = { measure: best?.measure ?? null };
const factors = Object.keys(analysis.factorValues);
const levelsOf = new Map(factors.map((factor) => [factor,
  [...new Set(analysis.factorValues[factor])].sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))))]));
const levelColour = (factor, value) => {
  const levels = levelsOf.get(factor);
  if (factor === "algorithm") return colourOf.get(value) ?? "var(--grey)";
  const place = levels.indexOf(value);
  return typeof value === "number"
    ? `color-mix(in srgb, var(--c1) ${Math.round((100 * place) / Math.max(1, levels.length - 1))}%, var(--c0))` : `var(--c${(place + 2) % 8})`;
};
const importanceOf = (one) => factors.map((factor, place) => ({ factor, place,
  size: one.sizes?.[place] ?? 0 }))
  .sort((a, b) => b.size - a.size);
const meanAt = (one, place, level) => one.means[place].find(([own]) => own === level)?.[1];
const STEPS = { capacity: "steps above the default", learning_rate: "steps above the default", scale: "alpha / dim" };

function drawSwarm() {
  if (!analysis.models.length) {
    into("model-tools");
    return into("swarm", empty("There are no SHAP values; the notes at the top say why, or no setting varies in this table."));
  }
  const one = analysis.models.find((entry) => entry.measure === model.measure);
  into("model-tools", picker("Measure", analysis.models.map((entry) => [String(entry.measure),
    `${measures[entry.measure].name} (R² ${number(entry.r2, 2)})`]), String(model.measure), (value) => {
    model.measure = Number(value);
    keepFocus(drawSwarm);
  }, "model measure"));
  const name = measures[one.measure].name;
  const score = one.r2 === null ? "there is one class only, so that no R² can be had" : `R² on classes not seen is ${number(one.r2, 2)}`;
  if (!one.explained) return into("swarm", empty(`Unexplained: ${score}. No setting of this table says where ${name} ranks.`));
  const order = importanceOf(one);
  const [W, left, right, row, top] = [760, 150, 20, 54, 10];
  const H = top + row * order.length + 34;
  const reach = Math.max(0.02, ...one.values.flat().map(Math.abs)) * 1.08;
  const px = (value) => left + ((value + reach) / (2 * reach)) * (W - left - right);
  const { values: marks, digits } = ticks(-reach, reach, 7);
  const swarm = ({ factor, place }, y) => {
    const taken = new Map();
    return one.values[place].map((value, at) => [value, analysis.swarm[at]]).sort((a, b) => a[0] - b[0]).map(([value, arm]) => {
      const bin = Math.round(px(value) / 5);
      const count = taken.get(bin) ?? 0;
      taken.set(bin, count + 1);
      const off = Math.max(-row / 2 + 5, Math.min(row / 2 - 5, (count % 2 ? 1 : -1) * Math.ceil(count / 2) * 4.5));
      const level = analysis.factorValues[factor][arm];
      return draw("circle", { cx: px(value), cy: y + off, r: 3.6, fill: levelColour(factor, level), stroke: "var(--paper)", "stroke-width": 0.6 },
        draw("title", {}, `${plain(factor)} ${level}: ${number(value, 3, true)}\n${armName(analysis.arms[arm])}`));
    });
  };
  into("swarm",
    make("p", { class: "lead" }, `${name}: ${score}; ${plain(order[0].factor)} moves it most, by ${number(order[0].size, 2)} rank on average.`),
    draw("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img", "aria-label": `SHAP values for ${name}; shap.csv has the numbers` },
      marks.map((value) => [draw("line", { x1: px(value), x2: px(value), y1: top, y2: H - 34, class: "rule" }),
        draw("text", { x: px(value), y: H - 18, "text-anchor": "middle" }, number(value, digits, true))]),
      draw("line", { x1: px(0), x2: px(0), y1: top, y2: H - 34, class: "zero" }),
      draw("text", { x: (left + W - right) / 2, y: H - 2, "text-anchor": "middle", class: "axis" }, "SHAP value, scaled rank"),
      order.map((entry, place) => {
        const y = top + row * place + row / 2;
        return [draw("text", { x: left - 12, y: y - 2, "text-anchor": "end", class: "axis" }, plain(entry.factor)),
          draw("text", { x: left - 12, y: y + 13, "text-anchor": "end" }, `mean ${number(entry.size, 3)}`),
          draw("g", {}, swarm(entry, y))];
      })),
    order.filter(({ size, place }) => size > 0 && one.means[place].length).map(({ factor, place }) => make("div", { class: "legend" },
      make("b", {}, plain(factor), ", mean SHAP of each level", STEPS[factor] ? make("span", { class: "none" }, `, ${STEPS[factor]}`) : null),
      levelsOf.get(factor).map((value) => make("span", {}, draw("svg", { width: 12, height: 12, "aria-hidden": "true" },
        draw("circle", { cx: 6, cy: 6, r: 5, fill: levelColour(factor, value) })), factor === "algorithm" ? titleOf.get(value) ?? value : String(value ?? "–"),
        make("span", { class: "none", title: "mean SHAP value" }, number(meanAt(one, place, value), 3, true)))))));
}

const modelColumns = [
  { label: "Measure", value: (one) => measures[one.measure].name },
  { label: "R² on classes not seen", numeric: true, value: (one) => one.r2, cell: (one) => number(one.r2, 2) },
  { label: "Verdict", value: (one) => (one.explained ? "explained in part" : "unexplained"),
    cell: (one) => make("span", { class: one.explained ? "" : "none" }, one.explained ? "explained in part" : "unexplained") },
  { label: "Moved most by", value: (one) => (one.explained ? plain(importanceOf(one)[0].factor) : ""),
    cell: (one) => (one.explained ? importanceOf(one).slice(0, 3).map(({ factor, size }) => `${plain(factor)} ${number(size, 2)}`).join(", ") : "–") },
];
