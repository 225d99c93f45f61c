// The effect of each choice: a dot with its interval for every pair of levels of a factor.
const choice = { factor: analysis.factors[0], metric: "" };

// The columns: the dimensions, or one metric on each prompt type, averaged over encoders where there are several.
function columnsShown() {
  if (!choice.metric) return dimensions;
  const own = measuresWhere((measure) => measure.metric === choice.metric);
  const means = own.filter(({ measure }) => measure.mean);
  const types = new Set(means.map(({ measure }) => measure.prompt_type));
  return [...means, ...own.filter(({ measure }) => !measure.mean && !types.has(measure.prompt_type))];
}

function controls() {
  const change = (name) => (value) => {
    choice[name] = value;
    redraw();
  };
  return [
    buttons("Factor", analysis.factors.map((factor) => [factor, spaced(factor)]), choice.factor, change("factor")),
    menu("Columns", [["", "the dimensions"], ...metricOptions], choice.metric, change("metric"), "choice columns"),
  ];
}

const redraw = section("choices", () => {
  if (!analysis.factors.length) return empty("No two configurations differ in one factor only.");
  into("choices-tools", controls());
  const rows = analysis.comparisons.filter((one) => one.factor === choice.factor);
  const columns = columnsShown();
  const axisEnd = axisEndOf(rows.flatMap((one) => columns.map(({ index }) => one.effects[index])));
  const head = ({ measure }) => element("th", { scope: "col" },
    element("span", { class: "name" }, choice.metric ? measure.prompt_type || spaced(measure.metric) : spaced(measure.metric)),
    element("span", { class: "sub" }, choice.metric ? (measure.mean ? "mean over encoders" : measure.encoder)
      : `±${number(axisEnd, 2)} rank at the ends`));
  return [
    region("What each choice does", {}, element("table", { class: "forest" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, spaced(choice.factor)), columns.map(head))),
      element("tbody", {}, rows.map((one) => element("tr", {},
        element("th", { scope: "row" }, comparisonTitle(one),
          element("span", { class: "sub" }, `${one.pairs} matched pair${one.pairs === 1 ? "" : "s"}`)),
        columns.map(({ measure, index }) =>
          effectCell(one.effects[index], axisEnd, `${comparisonTitle(one)}, ${measureTitle(measure)}`))))))),
    analysis.sentences.length ? element("details", {}, element("summary", {}, "In words"),
      element("ul", { class: "words" }, analysis.sentences.map((line) => element("li", {}, codeSpans(line))))) : null,
  ];
});
