// What each choice does: a forest of effects by factor, the same concept by concept, and the table of all effects.
const { analysis } = data;
const { measures } = analysis;
const told = (measure) => (measure.mean && measure.metric === measure.dimension ? plain(measure.metric)
  : measure.mean ? `${measure.metric}/${measure.prompt_type}, mean over encoders` : measure.name);
const comparisonTitle = (one) => `${one.level} instead of ${one.against}`;
const placesOf = (keep) => measures.map((measure, place) => ({ measure, place })).filter(({ measure }) => keep(measure));
const whole = placesOf((measure) => measure.mean && measure.metric === measure.dimension);
const verdictOf = ([, low, high]) =>
  (low === null || high === null ? "none" : low > 0 ? "better" : high < 0 ? "worse" : "none");
const COLOURS = { better: "var(--better)", worse: "var(--worse)", none: "var(--grey)" };
const choice = { factor: analysis.factors[0], shown: "", comparison: 0, measure: whole[0]?.place ?? 0 };
const measureOptions = (keep = () => true) => placesOf(keep).map(({ measure, place }) =>
  [String(place), measure.metric === measure.dimension ? `${told(measure)}, all its metrics` : told(measure)]);

// The columns of the forest: the dimensions, or one metric on its prompt types (and in its encoders).
function columnsShown() {
  if (!choice.shown) return whole;
  const own = placesOf((measure) => measure.metric === choice.shown);
  const means = own.filter(({ measure }) => measure.mean);
  const types = new Set(means.map(({ measure }) => measure.prompt_type));
  return [...means, ...own.filter(({ measure }) => !measure.mean && !types.has(measure.prompt_type))];
}

// One effect on its axis: [effect, low, high] within [-reach, reach].
function dot(told, reach, label) {
  if (!told || told[0] === null) return make("td", {}, "–");
  const [effect, low, high] = told;
  const said = verdictOf(told);
  const [width, height] = [150, 22];
  const x = (value) => ((Math.max(-reach, Math.min(reach, value)) + reach) / (2 * reach)) * (width - 10) + 5;
  const shown = number(effect, 2, true);
  const text = `${shown} ${interval(low, high, 2)}`;
  return make("td", { title: `${label}: ${text}` },
    draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text },
      draw("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      low === null || low === undefined ? null : draw("line", { x1: x(low), x2: x(high), y1: height / 2, y2: height / 2,
        stroke: COLOURS[said], "stroke-width": 2.5, "stroke-linecap": "round" }),
      draw("circle", { cx: x(effect), cy: height / 2, r: 4.5, fill: said === "none" ? "var(--paper)" : COLOURS[said],
        stroke: COLOURS[said], "stroke-width": 2 })),
    make("span", { class: `value ${said}` }, shown),
    make("span", { class: "sub ends" }, interval(low, high, 2)));
}
const reachOf = (effects) => {
  const ends = effects.filter(Boolean).flatMap((told) => told.slice(0, 3)).filter(Number.isFinite).map(Math.abs);
  return Math.min(1, Math.max(0.1, ...ends) * 1.05);
};

function drawChoices() {
  if (!analysis.factors.length) {
    return into("choice-forest", empty("No two configurations differ in one factor only."));
  }
  const rows = analysis.comparisons.filter((one) => one.factor === choice.factor);
  const columns = columnsShown();
  const metrics = [...new Set(measures.filter((one) => one.metric !== one.dimension).map((one) => one.metric))];
  into("choice-tools",
    segments("Factor", analysis.factors.map((factor) => [factor, plain(factor)]), choice.factor, (factor) => {
      choice.factor = factor;
      keepFocus(drawChoices);
    }),
    picker("Shown", [["", "the dimensions"], ...metrics.map((name) => [name, plain(name)])], choice.shown, (name) => {
      choice.shown = name;
      keepFocus(drawChoices);
    }));
  const reach = reachOf(rows.flatMap((one) => columns.map(({ place }) => one.effects[place])));
  into("choice-forest", make("table", { class: "forest" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, plain(choice.factor)),
      columns.map(({ measure }) => make("th", { scope: "col" },
        make("span", { class: "name" }, choice.shown ? measure.prompt_type || plain(measure.metric) : plain(measure.metric)),
        make("span", { class: "sub" }, choice.shown ? (measure.mean ? "mean over encoders" : measure.encoder)
          : `±${number(reach, 2)} rank at the ends`))))),
    make("tbody", {}, rows.map((one) => make("tr", {},
      make("th", { scope: "row" }, comparisonTitle(one),
        make("span", { class: "sub" }, `${one.pairs} matched pair${one.pairs === 1 ? "" : "s"}`)),
      columns.map(({ measure, place }) => dot(one.effects[place], reach, `${comparisonTitle(one)}, ${told(measure)}`)))))));
}

function drawGroups() {
  const one = analysis.comparisons[choice.comparison];
  if (!one) return into("group-forest", empty("There is nothing to compare."));
  const change = (name) => (value) => {
    choice[name] = Number(value);
    keepFocus(drawGroups);
  };
  into("group-tools",
    picker("Choice", analysis.comparisons.map((entry, place) => [String(place), `${plain(entry.factor)}: ${comparisonTitle(entry)}`]),
      String(choice.comparison), change("comparison"), "group comparison"),
    picker("Measure", measureOptions(), String(choice.measure), change("measure"), "group measure"));
  const values = one.groups.map((row) => [row[choice.measure]]);
  const all = one.effects[choice.measure];
  const reach = reachOf([...values, all]);
  const row = (name, told) => make("tr", {}, make("th", { scope: "row" }, name), dot(told, reach, name));
  into("group-forest", make("table", { class: "forest" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Concept"), make("th", { scope: "col" }, "Change in rank"))),
    make("tbody", {}, row("mean of all", all), analysis.groups.map((name, place) => row(name || "the whole table", values[place])))));
}

const effectView = { factor: "", measure: "dimension", verdict: "" };
const effectSort = { column: null, up: true };
const effectColumns = [
  { label: "Factor", value: (row) => plain(row.one.factor) },
  { label: "Level", value: (row) => row.one.level },
  { label: "Against", value: (row) => row.one.against },
  { label: "Measure", value: (row) => told(row.measure),
    cell: (row) => make("span", { title: row.measure.about }, told(row.measure)) },
  { label: "Effect", numeric: true, value: (row) => row.told[0],
    cell: (row) => make("span", { class: verdictOf(row.told) }, number(row.told[0], 3, true)) },
  { label: "Interval", numeric: true, title: "sorts by width", value: (row) => (row.told[1] === null ? null : row.told[2] - row.told[1]),
    cell: (row) => interval(row.told[1], row.told[2], 3) || "–" },
  { label: "q", numeric: true, value: (row) => row.told[3],
    cell: (row) => (row.told[3] !== null && row.told[3] < 0.001 ? "< .001" : number(row.told[3], 3)) },
  { label: "Pairs", numeric: true, value: (row) => row.one.pairs },
  { label: "Groups", numeric: true, value: (row) => row.told[4] },
];
const MOST = 2000;
function drawEffects() {
  const all = analysis.comparisons.flatMap((one) => one.effects.map((told, place) => told && { one, told, measure: measures[place], place })
    .filter(Boolean));
  const tests = {
    factor: (row, value) => row.one.factor === value,
    measure: (row, value) => (value === "dimension" ? row.measure.metric === row.measure.dimension
      : value === "single" ? !row.measure.mean : row.measure.metric === value),
    verdict: (row, value) => verdictOf(row.told) === value,
  };
  const rows = all.filter((row) => Object.entries(effectView).every(([name, value]) => !value || tests[name](row, value)));
  const filter = (label, name, options) => picker(label, [["", "all"], ...options], effectView[name], (value) => keepFocus(() => {
    effectView[name] = value;
    drawEffects();
  }), `effects ${name}`);
  const metrics = [...new Set(measures.filter((one) => one.metric !== one.dimension).map((one) => one.metric))];
  into("effect-tools",
    filter("Factor", "factor", analysis.factors.map((name) => [name, plain(name)])),
    filter("Measure", "measure", [["dimension", "dimensions"], ["single", "single measures"], ...metrics.map((name) => [name, plain(name)])]),
    filter("Verdict", "verdict", [["better", "better"], ["worse", "worse"], ["none", "no difference shown"]]),
    make("span", { class: "count", role: "status" }, rows.length > MOST
      ? `${MOST} of ${rows.length} rows; effects.csv has all` : `${rows.length} of ${all.length} rows`));
  into("effect-table", rows.length ? sortable(effectColumns, rows, effectSort, MOST) : empty("No effect fits these filters."));
}
