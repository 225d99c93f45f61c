// The table of all scores, with filters.
const verdictText = (row) => (row.measure.from_base ? "a distance" : VERDICT_TEXTS[row.score.verdict]);
// A distance from the base is its own difference.
const difference = (row) => (row.measure.from_base ? {} : row.score);
const columns = [
  concepts.length > 1 && { label: "Concept", value: (row) => row.adapter.concept },
  { label: "Algorithm", value: (row) => algorithmTitle(row.adapter), cell: (row) => nameCell(row.adapter) },
  { label: "Captions", value: (row) => row.adapter.captions },
  data.manySeeds && { label: "Seed", numeric: true, value: (row) => row.adapter.seed },
  data.checkpoints && { label: "Checkpoint", value: (row) => checkpointOf(row.adapter) },
  { label: "Dimension", value: (row) => row.measure.dimension },
  { label: "Score", value: (row) => row.measure.name,
    cell: (row) => element("span", { title: [direction(row.measure), row.measure.about].join("\n") },
      row.measure.name, " ", element("b", {}, arrow(row.measure))) },
  { label: "Value", numeric: true, value: (row) => row.score.value,
    cell: (row) => number(row.score.value, row.measure.digits) },
  { label: "Interval", numeric: true, title: "sorts by width",
    value: (row) => (row.score.low === undefined ? null : row.score.high - row.score.low),
    cell: (row) => interval(row.score.low, row.score.high, row.measure.digits) || row.score.note || "–" },
  { label: "Base", numeric: true, value: (row) => row.score.base,
    cell: (row) => number(row.score.base, row.measure.digits) },
  { label: "Difference", numeric: true, title: "to the base, on the same prompts and seeds", value: (row) => difference(row).difference,
    cell: (row) => element("span", { class: row.score.verdict }, number(difference(row).difference, row.measure.digits, true)) },
  { label: "Its interval", numeric: true, title: "sorts by width",
    value: (row) => (difference(row).difference_low === undefined
      ? null : difference(row).difference_high - difference(row).difference_low),
    cell: (row) => interval(difference(row).difference_low, difference(row).difference_high, row.measure.digits) || "–" },
  { label: "Verdict", title: "against the base; a distance from the base is neither better nor worse than it", value: (row) => terms.verdicts.indexOf(row.score.verdict),
    cell: (row) => element("span", { class: row.score.verdict }, verdictText(row)) },
  data.tracking?.runs && { label: "Run", value: (row) => row.adapter.run_id, cell: (row) => runLink(row.adapter) },
].filter(Boolean);

const headlineNames = new Set(concepts.flatMap((concept) => Object.values(concept.headlines)));
const MAX_ROWS = 1000;
const filters = { concept: "", algorithm: "", captions: "", dimension: "", score: "headline", verdict: "" };
const sort = unsorted();
const passes = {
  concept: (row, value) => row.adapter.concept === value,
  algorithm: (row, value) => row.adapter.algorithm === value,
  captions: (row, value) => row.adapter.captions === value,
  dimension: (row, value) => row.measure.dimension === value,
  score: (row, value) => (value === "headline" ? headlineNames.has(row.measure.name)
    : row.measure.metric === value || row.measure.name === value),
  verdict: (row, value) => row.score.verdict === value,
};

function draw() {
  const all = data.adapters.flatMap((adapter) => data.measures
    .filter((measure) => adapter.scores[measure.name])
    .map((measure) => ({ adapter, measure, score: adapter.scores[measure.name] })));
  if (!all.length) return into("table-body", empty("No scores were computed."));
  const rows = all.filter((row) =>
    Object.entries(filters).every(([name, value]) => !value || passes[name](row, value)));
  const filter = (label, name, options) => menu(label, [["", "all"], ...options], filters[name],
    (value) => keepFocus(() => {
      filters[name] = value;
      draw();
    }), `filter ${name}`);
  const options = (names) => [...new Set(names)].map((name) => [name, spaced(name)]);
  into("table-tools",
    filter("Concept", "concept", concepts.map((concept) => [concept.name, concept.name])),
    filter("Algorithm", "algorithm", data.algorithms),
    filter("Captions", "captions", options(data.captions.filter(Boolean))),
    filter("Dimension", "dimension", options(data.measures.map((measure) => measure.dimension))),
    filter("Score", "score", [["headline", "one per dimension"], ...options(data.measures.map((measure) => measure.metric)),
      ...data.measures.map((measure) => [measure.name, measure.name])]),
    filter("Verdict", "verdict", verdictOptions),
    element("span", { class: "count", role: "status" }, rows.length > MAX_ROWS
      ? `${MAX_ROWS} of ${rows.length} rows; scores.csv has all` : `${rows.length} of ${all.length} rows`));
  into("table-body", rows.length
    ? region("All scores", { class: "tall" }, sortable(columns, rows, sort, MAX_ROWS)) : empty("No score fits these filters."));
}
draw();
