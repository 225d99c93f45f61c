// The table of all effects, with filters.
const filters = { factor: "", measure: "dimension", verdict: "" };
const sort = unsorted();
const MAX_ROWS = 2000;
const columns = [
  { label: "Factor", value: ({ comparison }) => spaced(comparison.factor) },
  { label: "Level", value: ({ comparison }) => comparison.level },
  { label: "Against", value: ({ comparison }) => comparison.against },
  { label: "Measure", value: ({ measure }) => measureTitle(measure),
    cell: ({ measure }) => element("span", { title: measure.about }, measureTitle(measure)) },
  { label: "Effect", numeric: true, value: ({ effect }) => effect[0],
    cell: ({ effect }) => element("span", { class: verdictOf(effect) }, number(effect[0], 3, true)) },
  { label: "Interval", numeric: true, title: "sorts by width", value: ({ effect: [, low, high] }) => (low === null ? null : high - low),
    cell: ({ effect: [, low, high] }) => interval(low, high, 3) || "–" },
  { label: "q", numeric: true, value: ({ effect }) => effect[3],
    cell: ({ effect: [, , , q] }) => (q !== null && q < 0.001 ? "< .001" : number(q, 3)) },
  { label: "Pairs", numeric: true, value: ({ comparison }) => comparison.pairs },
  { label: "Groups", numeric: true, value: ({ effect }) => effect[4] },
];
const passes = {
  factor: ({ comparison }, value) => comparison.factor === value,
  measure: ({ measure }, value) => (value === "dimension" ? measure.metric === measure.dimension
    : value === "single" ? !measure.mean : measure.metric === value),
  verdict: ({ effect }, value) => verdictOf(effect) === value,
};
const all = analysis.comparisons.flatMap((comparison) => comparison.effects
  .map((effect, index) => effect && { comparison, effect, measure: measures[index] }).filter(Boolean));

function draw() {
  const rows = all.filter((row) => Object.entries(filters).every(([name, value]) => !value || passes[name](row, value)));
  const filter = (label, name, options) => menu(label, [["", "all"], ...options], filters[name], (value) => keepFocus(() => {
    filters[name] = value;
    draw();
  }), `effects ${name}`);
  into("effects-tools",
    filter("Factor", "factor", analysis.factors.map((name) => [name, spaced(name)])),
    filter("Measure", "measure", [["dimension", "dimensions"], ["single", "single measures"], ...metricOptions]),
    filter("Verdict", "verdict", verdictOptions.filter(([name]) => name !== "small")),
    element("span", { class: "count", role: "status" }, rows.length > MAX_ROWS
      ? `${MAX_ROWS} of ${rows.length} rows; effects.csv has all` : `${rows.length} of ${all.length} rows`));
  into("effects-body", rows.length
    ? region("All effects", { class: "tall" }, sortable(columns, rows, sort, MAX_ROWS)) : empty("No effect fits these filters."));
}
draw();
