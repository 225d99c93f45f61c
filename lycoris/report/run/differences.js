// Every adapter's difference to the base as a dot with its interval, a column a dimension.
const chosenMeasures = {}; // Dimension -> the measure that the reader chose instead of the first.

function differenceColumns(adapters) {
  return Object.entries(selectedConcept()?.headlines ?? {}).map(([dimension, first]) => {
    const options = data.measures.filter((measure) => measure.dimension === dimension
      && adapters.some((adapter) => adapter.scores[measure.name]));
    const measure = options.find((one) => one.name === chosenMeasures[dimension]) ?? measureByName.get(first);
    const sign = measure.higher_is_better === false ? -1 : 1;
    const ends = adapters.map((adapter) => adapter.scores[measure.name]).filter(Boolean)
      .flatMap((score) => Object.values(effectOf(score, measure))).filter(Number.isFinite).map((value) => value * sign);
    const [smallest, largest] = [Math.min(0, ...ends), Math.max(0, ...ends)];
    const pad = (largest - smallest || 1) * 0.06;
    const [low, high] = [smallest - pad, largest + pad];
    const x = (value) => ((value * sign - low) / (high - low)) * 150;
    return { dimension, options, measure, x };
  });
}

function differenceCell({ measure, x }, adapter) {
  const score = adapter.scores[measure.name];
  if (!score) return element("td", {}, "–");
  const { value, low, high } = effectOf(score, measure);
  if (value === undefined) {
    return element("td", {}, element("span", { class: "value" }, `value ${number(score.value, measure.digits)}`));
  }
  const shown = number(value, measure.digits, !measure.from_base);
  const ends = interval(low, high, measure.digits);
  return intervalCell({ value, low, high, x, verdict: score.verdict, filled: !["none", "small"].includes(score.verdict) && ends !== "",
    label: `${adapterTitle(adapter)}: ${measure.name} `, text: `${shown} ${ends}`, shown, ends: ends || null });
}

const redraw = section("differences", () => {
  const adapters = inChosenOrder(selectedAdapters().filter((adapter) => !adapter.error && Object.keys(adapter.scores).length));
  const columns = adapters.length ? differenceColumns(adapters) : [];
  if (!columns.length) return empty("There is nothing to compare.");
  const head = ({ dimension, options, measure }) => element("th", { scope: "col" },
    element("span", { class: "name" }, spaced(dimension)),
    options.length > 1 ? menu("", options.map((one) => [one.name, one.name]), measure.name, (name) => {
      chosenMeasures[dimension] = name;
      redraw();
    }, `difference ${dimension}`) : element("span", { class: "sub" }, measure.name),
    element("span", { class: "sub" }, measure.from_base ? "distance, 0 at the line" : direction(measure)));
  return region("Difference to the base", {}, element("table", { class: "forest" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Adapter"), columns.map(head))),
    element("tbody", {}, adapters.map((adapter) => element("tr", {},
      element("th", { scope: "row" }, adapterKey(adapter), adapterTitle(adapter), adapter.champion ? star() : null,
        element("span", { class: "sub" }, runNote(adapter))),
      columns.map((column) => differenceCell(column, adapter)))))));
});
