// How far measures agree: by the attribute that they differ in, and every pair of them.
const ATTRIBUTES = { prompt_type: "prompt type", encoder: "encoder", resize_mode: "resize mode", metric: "metric" };
const { agreement, measures: order, matrix, pairs } = analysis.correlations;
const filter = { metric: "", prompt_type: "" };
const MAX_PAIRS = 500;

function agreementTable() {
  if (!agreement.length) return empty("No two measures differ in one attribute only.");
  const head = ["Measures that differ only in", "Mean correlation", "Lowest", "Highest", "Pairs"];
  return region("Agreement", { id: "agreement" }, element("table", {},
    element("thead", {}, element("tr", {}, head.map((text, index) =>
      element("th", { scope: "col", class: index ? "number" : null }, text)))),
    element("tbody", {}, agreement.map((row) => element("tr", {}, element("th", { scope: "row" }, ATTRIBUTES[row.differ]),
      [row.correlation, row.lowest, row.highest].map((value) => element("td", { class: "number" }, number(value, 2))),
      element("td", { class: "number" }, row.pairs))))));
}

const tint = (value) => (value === null ? "transparent"
  : `color-mix(in srgb, ${value < 0 ? "var(--worse)" : "var(--accent)"} ${Math.round(Math.abs(value) * 85)}%, var(--panel))`);

function drawHeatMap() {
  const all = order.map((index, row) => ({ measure: measures[index], row }));
  const shown = all.filter(({ measure }) => Object.entries(filter).every(([name, value]) => !value || measure[name] === value));
  const filterMenu = (label, name) => menu(label, [["", "all"],
    ...[...new Set(all.map(({ measure }) => measure[name]))].filter(Boolean).map((value) => [value, spaced(value)])], filter[name],
  (value) => keepFocus(() => {
    filter[name] = value;
    drawHeatMap();
  }), `correlation ${name}`);
  into("heat-tools", filterMenu("Metric", "metric"), filterMenu("Prompts", "prompt_type"),
    element("span", { class: "count", role: "status" }, `${shown.length} measures`));
  const many = shown.length > 27;
  const cell = (one, other) => {
    const value = matrix[one.row][other.row];
    return element("td", { style: `background: ${tint(value)}${Math.abs(value) > 0.6 ? "; color: var(--paper)" : ""}`,
      title: `${one.measure.name}\n${other.measure.name}\n${number(value, 2)}` }, many ? "" : number(value, 2));
  };
  into("heat", shown.length < 2 ? empty("A correlation needs two measures.") : element("table", { class: many ? "heat many" : "heat" },
    element("thead", {}, element("tr", {}, element("th", {}), shown.map(({ measure }) =>
      element("th", { scope: "col" }, element("span", {}, measure.name))))),
    element("tbody", {}, shown.map((one) => element("tr", {}, element("th", { scope: "row" }, one.measure.name),
      shown.map((other) => cell(one, other)))))));
}

const pairColumns = [
  { label: "Measure", value: ([one]) => measures[one].name }, { label: "and", value: ([, other]) => measures[other].name },
  { label: "Differ in", value: ([, , attribute]) => ATTRIBUTES[attribute] ?? "several attributes" },
  { label: "Correlation", numeric: true, value: ([, , , value]) => value, cell: ([, , , value]) => number(value, 2) },
  { label: "Interval", numeric: true, title: "sorts by width", value: ([, , , , low, high]) => (low === null ? null : high - low),
    cell: ([, , , , low, high]) => interval(low, high, 2) || "–" },
];
const pairTable = () => [
  pairs.length > MAX_PAIRS
    ? element("p", { class: "fine" }, `${MAX_PAIRS} of ${pairs.length} pairs in the chosen order; correlations.csv has all.`) : null,
  pairs.length ? sortable(pairColumns, [...pairs], unsorted(), MAX_PAIRS) : empty("There is only one measure."),
];

into("correlations-body", agreementTable(), element("div", { class: "tools", id: "heat-tools" }),
  region("Correlations", { class: "tall", id: "heat" }),
  element("details", { id: "pairs", ontoggle: () => { // There may be thousands of pairs: the table is made when it is opened.
    if (!document.getElementById("pair-table").childElementCount) into("pair-table", pairTable());
  } }, element("summary", {}, "Every pair of measures with its interval"),
  region("Every pair of measures", { class: "tall", id: "pair-table" })));
drawHeatMap();
