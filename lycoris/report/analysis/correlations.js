// How far measures agree: by what they differ in, and every two of them.
const AGREE = { prompt_type: "prompt type", encoder: "encoder", resize_mode: "resize mode", metric: "metric" };
const heat = { metric: "", prompt_type: "" };

function drawAgreement() {
  const { agreement } = analysis.correlations;
  if (!agreement.length) return into("agreement", empty("There are no two measures that differ in one thing only."));
  into("agreement", make("table", {},
    make("thead", {}, make("tr", {}, ["Measures that differ only in", "Mean correlation", "Lowest", "Highest", "Pairs"].map((text, place) =>
      make("th", { scope: "col", class: place ? "number" : null }, text)))),
    make("tbody", {}, agreement.map((row) => make("tr", {}, make("th", { scope: "row" }, AGREE[row.differ]),
      [row.correlation, row.lowest, row.highest].map((value) => make("td", { class: "number" }, number(value, 2))),
      make("td", { class: "number" }, row.pairs))))));
}

const tint = (value) => (value === null ? "transparent"
  : `color-mix(in srgb, ${value < 0 ? "var(--worse)" : "var(--accent)"} ${Math.round(Math.abs(value) * 85)}%, var(--panel))`);

function drawHeat() {
  const { measures: places, matrix } = analysis.correlations;
  const every = places.map((place, row) => ({ measure: measures[place], row }));
  const shown = every.filter(({ measure }) => Object.entries(heat).every(([name, value]) => !value || measure[name] === value));
  const pick = (label, name) => picker(label, [["", "all"],
    ...[...new Set(every.map(({ measure }) => measure[name]))].filter(Boolean).map((value) => [value, plain(value)])], heat[name],
  (value) => {
    heat[name] = value;
    keepFocus(drawHeat);
  }, `heat ${name}`);
  into("correlation-tools", pick("Metric", "metric"), pick("Prompts", "prompt_type"),
    make("span", { class: "count", role: "status" }, `${shown.length} measures`));
  const many = shown.length > 27;
  into("heat", shown.length < 2 ? empty("A correlation needs two measures.") : make("table", { class: many ? "heat many" : "heat" },
    make("thead", {}, make("tr", {}, make("th", {}), shown.map(({ measure }) =>
      make("th", { scope: "col" }, make("span", {}, measure.name))))),
    make("tbody", {}, shown.map((one) => make("tr", {}, make("th", { scope: "row" }, one.measure.name),
      shown.map((other) => {
        const value = matrix[one.row][other.row];
        return make("td", { style: `background: ${tint(value)}${Math.abs(value) > 0.6 ? "; color: var(--paper)" : ""}`,
          title: `${one.measure.name}\n${other.measure.name}\n${number(value, 2)}` }, many ? "" : number(value, 2));
      }))))));
}

const pairColumns = [
  { label: "Measure", value: ([one]) => measures[one].name }, { label: "and", value: ([, other]) => measures[other].name },
  { label: "Differ in", value: ([, , differ]) => AGREE[differ] ?? "several things" },
  { label: "Correlation", numeric: true, value: ([, , , value]) => value, cell: ([, , , value]) => number(value, 2) },
  { label: "Interval", numeric: true, title: "sorts by width", value: ([, , , , low, high]) => (low === null ? null : high - low),
    cell: ([, , , , low, high]) => interval(low, high, 2) || "–" },
];
const MOST_PAIRS = 500;
// Two thousand pairs are drawn when they are asked for.
document.getElementById("pairs").addEventListener("toggle", () => {
  const { pairs } = analysis.correlations;
  if (document.getElementById("pair-table").childElementCount) return;
  into("pair-table", pairs.length > MOST_PAIRS
    ? make("p", { class: "fine" }, `${MOST_PAIRS} of ${pairs.length} pairs in the order that is chosen; correlations.csv has all.`) : null,
  pairs.length ? sortable(pairColumns, [...pairs], { column: null, up: true }, MOST_PAIRS) : empty("There are no two measures."));
});
