// The findings in words, and every adapter's difference to the base as a dot with its interval.
const forestScore = {}; // dimension -> the score that the reader chose instead of the first one

function drawFindings() {
  const concept = chosenConcept();
  into("findings", (concept?.findings ?? []).map((found) => {
    const measure = measureOf.get(found.measure);
    const counts = [["better", "better"], ["none", "no difference shown"], ["worse", "worse"]]
      .filter(([name]) => found.count[name]);
    const said = found.sentence;
    return make("article", {},
      make("h3", {}, plain(found.dimension)),
      make("p", { class: "sub" }, measure.name, " ", make("span", { class: "nowrap" }, direction(measure))),
      said ? make("p", {}, coded(said.lead), " ",
        make("b", { class: `nowrap ${said.verdict}` }, `${said.number} ${said.interval}`), " ", coded(said.tail),
        said.run_id ? [" ", runLink(said)] : null) : null,
      counts.length ? make("p", { class: "tally" }, counts.map(([name, text]) =>
        make("span", { class: name }, `${found.count[name]} ${text}`))) : null);
  }), concept?.findings.length ? null : empty("No scores were computed for this concept."));
}
// `name` in a sentence becomes code.
const coded = (text) => text.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));

function drawForest() {
  const adapters = ordered(chosenAdapters().filter((adapter) => !adapter.error && Object.keys(adapter.scores).length));
  const dimensions = Object.entries(chosenConcept()?.headlines ?? {});
  if (!adapters.length || !dimensions.length) return into("forest", empty("There is nothing to compare."));
  const columns = dimensions.map(([dimension, first]) => {
    const options = data.measures.filter((measure) => measure.dimension === dimension
      && adapters.some((adapter) => adapter.scores[measure.name]));
    const measure = options.find((one) => one.name === forestScore[dimension]) ?? measureOf.get(first);
    const flip = measure.higher_is_better === false ? -1 : 1;
    const ends = adapters.map((adapter) => adapter.scores[measure.name]).filter(Boolean)
      .flatMap((score) => Object.values(effect(score, measure))).filter(Number.isFinite).map((value) => value * flip);
    const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
    const pad = (high - low || 1) * 0.06;
    return { dimension, options, measure, flip, low: low - pad, high: high + pad };
  });
  const width = 150, height = 22;
  const cell = ({ measure, flip, low, high }, adapter) => {
    const score = adapter.scores[measure.name];
    if (!score) return make("td", {}, "–");
    const { value: change, low: from, high: to } = effect(score, measure);
    if (change === undefined) {
      return make("td", {}, make("span", { class: "value" }, `value ${number(score.value, measure.digits)}`));
    }
    const x = (value) => ((value * flip - low) / (high - low)) * width;
    const colour = { better: "var(--better)", worse: "var(--worse)", none: "var(--grey)" }[score.verdict] ?? "var(--ink)";
    const shown = number(change, measure.digits, !measure.from_base);
    const text = `${shown} ${interval(from, to, measure.digits)}`;
    const known = from !== undefined && to !== undefined;
    return make("td", { title: `${adapterTitle(adapter)}: ${measure.name} ${text}` },
      draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text },
        draw("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
        known ? draw("line", { x1: x(from), x2: x(to), y1: height / 2, y2: height / 2,
          stroke: colour, "stroke-width": 2.5, "stroke-linecap": "round" }) : null,
        draw("circle", { cx: x(change), cy: height / 2, r: 4.5,
          fill: score.verdict === "none" || !known ? "var(--paper)" : colour, stroke: colour, "stroke-width": 2 })),
      make("span", { class: `value ${score.verdict}` }, shown),
      known ? make("span", { class: "sub ends" }, interval(from, to, measure.digits)) : null);
  };
  into("forest", make("table", { class: "forest" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Adapter"),
      columns.map(({ dimension, options, measure }) => make("th", { scope: "col" },
        make("span", { class: "name" }, plain(dimension)),
        options.length > 1 ? picker("", options.map((one) => [one.name, one.name]), measure.name, (name) => {
          forestScore[dimension] = name;
          keepFocus(drawForest);
        }, `forest ${dimension}`) : make("span", { class: "sub" }, measure.name),
        make("span", { class: "sub" }, measure.from_base ? "distance, 0 at the line" : direction(measure)))),
      make("th", { scope: "col" }, "Run"))),
    make("tbody", {}, adapters.map((adapter) => make("tr", {},
      make("th", { scope: "row" }, key(adapter), adapterTitle(adapter),
        adapter.champion ? make("span", { class: "star", title: "champion" }, "★") : null),
      columns.map((column) => cell(column, adapter)), make("td", {}, runLink(adapter)))))));
}
