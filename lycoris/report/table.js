// The two tables of the page: every score, and every adapter.
const named = (adapter) => [key(adapter), algorithmTitle(adapter),
  adapter.champion ? make("span", { class: "star", title: "champion" }, "★") : null];
const SAID = { better: "better", worse: "worse", none: "no difference shown", unknown: "" };
const said = (row) => (row.measure.from_base ? "distance from the base" : SAID[row.score.verdict]);

const scoreColumns = [
  { label: "Concept", value: (row) => row.adapter.concept },
  { label: "Algorithm", value: (row) => algorithmTitle(row.adapter), cell: (row) => named(row.adapter) },
  { label: "Captions", value: (row) => row.adapter.captions },
  data.manySeeds && { label: "Seed", numeric: true, value: (row) => row.adapter.seed },
  data.checkpoints && { label: "Checkpoint", value: (row) => row.adapter.checkpoint ?? "end" },
  { label: "Dimension", value: (row) => row.measure.dimension },
  { label: "Score", value: (row) => row.measure.name,
    cell: (row) => make("span", { title: [direction(row.measure), row.measure.about].join("\n") },
      row.measure.name, " ", make("b", {}, arrow(row.measure))) },
  { label: "Value", numeric: true, value: (row) => row.score.value,
    cell: (row) => number(row.score.value, row.measure.digits) },
  { label: "Interval", numeric: true, title: "sorts by width",
    value: (row) => (row.score.low === undefined ? null : row.score.high - row.score.low),
    cell: (row) => interval(row.score.low, row.score.high, row.measure.digits) || row.score.note || "–" },
  { label: "Base", numeric: true, value: (row) => row.score.base,
    cell: (row) => number(row.score.base, row.measure.digits) },
  { label: "Difference", numeric: true, value: (row) => row.score.difference,
    cell: (row) => make("span", { class: row.score.verdict }, number(row.score.difference, row.measure.digits, true)) },
  { label: "Its interval", numeric: true, title: "sorts by width",
    value: (row) => (row.score.difference_low === undefined
      ? null : row.score.difference_high - row.score.difference_low),
    cell: (row) => interval(row.score.difference_low, row.score.difference_high, row.measure.digits) || "–" },
  { label: "Verdict", title: "against the base", value: (row) => ["better", "none", "worse", "unknown"].indexOf(row.score.verdict),
    cell: (row) => make("span", { class: row.score.verdict }, said(row)) },
  { label: "Run", value: (row) => row.adapter.run_id, cell: (row) => runLink(row.adapter) },
].filter(Boolean);

const headlineNames = new Set(concepts.flatMap((concept) => Object.values(concept.headlines)));
const MOST_ROWS = 1000;
const tableView = { concept: "", algorithm: "", captions: "", dimension: "", score: "headline", verdict: "" };
const tableSort = { column: null, up: true };

function drawTable() {
  const all = data.adapters.flatMap((adapter) => data.measures
    .filter((measure) => adapter.scores[measure.name])
    .map((measure) => ({ adapter, measure, score: adapter.scores[measure.name] })));
  if (!all.length) return into("score-table", empty("No scores were computed."));
  const tests = {
    concept: (row, value) => row.adapter.concept === value,
    algorithm: (row, value) => row.adapter.algorithm === value,
    captions: (row, value) => row.adapter.captions === value,
    dimension: (row, value) => row.measure.dimension === value,
    score: (row, value) => (value === "headline" ? headlineNames.has(row.measure.name)
      : row.measure.metric === value || row.measure.name === value),
    verdict: (row, value) => row.score.verdict === value,
  };
  const rows = all.filter((row) =>
    Object.entries(tableView).every(([name, value]) => !value || tests[name](row, value)));
  const filter = (label, name, options) => picker(label, [["", "all"], ...options], tableView[name],
    (value) => keepFocus(() => {
      tableView[name] = value;
      drawTable();
    }), `filter ${name}`);
  const same = (names) => names.map((name) => [name, plain(name)]);
  const dimensions = [...new Set(data.measures.map((measure) => measure.dimension))];
  const metrics = [...new Set(data.measures.map((measure) => measure.metric))];
  into("table-tools",
    filter("Concept", "concept", concepts.map((concept) => [concept.name, concept.name])),
    filter("Algorithm", "algorithm", data.algorithms),
    filter("Captions", "captions", same(data.captions.filter(Boolean))),
    filter("Dimension", "dimension", same(dimensions)),
    filter("Score", "score", [["headline", "one a dimension"], ...same(metrics),
      ...data.measures.map((measure) => [measure.name, measure.name])]),
    filter("Verdict", "verdict", [
      ["better", "better"], ["none", "no difference shown"], ["worse", "worse"]]),
    make("span", { class: "count", role: "status" }, rows.length > MOST_ROWS
      ? `${MOST_ROWS} of ${rows.length} rows; scores.csv has all` : `${rows.length} of ${all.length} rows`));
  into("score-table", rows.length ? sortable(scoreColumns, rows, tableSort, MOST_ROWS) : empty("No score fits these filters."));
}

const asideOf = (row) => Object.values(row.set_aside ?? {});
const adapterColumns = [
  { label: "Concept", value: (row) => row.concept },
  { label: "Algorithm", value: algorithmTitle, cell: named },
  { label: "Captions", value: (row) => row.captions },
  { label: "Seed", numeric: true, value: (row) => row.seed },
  data.checkpoints && { label: "Checkpoint", value: (row) => row.checkpoint ?? "end" },
  { label: "Pictures", numeric: true, value: (row) => row.pictures },
  data.adapters.some((row) => asideOf(row).length) && { label: "Set aside", numeric: true,
    title: "pictures that could not be used", value: (row) => asideOf(row).length,
    cell: (row) => (asideOf(row).length
      ? make("span", { class: "worse", title: asideOf(row).join("\n") }, asideOf(row).length) : "0") },
  { label: "Parameters", numeric: true, value: (row) => row.parameters,
    cell: (row) => row.parameters?.toLocaleString("en") ?? "–" },
  { label: "File", numeric: true, value: (row) => row.bytes,
    cell: (row) => make("span", { title: row.file }, row.bytes ? bytes(row.bytes) : "–") },
  { label: "Training, s", numeric: true, value: (row) => row.seconds?.train,
    cell: (row) => number(row.seconds?.train, 1) },
  { label: "Drawing, s", numeric: true, value: (row) => row.seconds?.draw,
    cell: (row) => number(row.seconds?.draw, 1) },
  { label: "Outcome", value: (row) => (row.error ? "failed" : row.cached ? "cached" : "run"),
    cell: (row) => (row.error ? make("span", { class: "worse", title: row.error }, "failed")
      : row.cached ? "cached" : "run") },
  { label: "Run", value: (row) => row.run_id, cell: runLink },
  { label: "Settings", value: (row) => JSON.stringify(row.settings ?? {}),
    cell: (row) => (Object.keys(row.settings ?? {}).length || row.file
      ? make("details", {}, make("summary", {}, "settings"),
        make("code", {}, Object.entries({ ...row.settings, file: row.file }).map(([name, value]) =>
          `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join("\n"))) : "–") },
].filter(Boolean);
