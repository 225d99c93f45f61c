// The effect of one choice on one measure, concept by concept.
const chosen = { comparison: 0, measure: dimensions[0]?.index ?? 0 };

const redraw = section("by-concept", () => {
  const one = analysis.comparisons[chosen.comparison];
  if (!one) return empty("There is nothing to compare.");
  const change = (name) => (value) => {
    chosen[name] = Number(value);
    redraw();
  };
  into("by-concept-tools",
    menu("Choice", analysis.comparisons.map((entry, index) => [String(index), `${spaced(entry.factor)}: ${comparisonTitle(entry)}`]),
      String(chosen.comparison), change("comparison"), "concept comparison"),
    menu("Measure", measureOptions, String(chosen.measure), change("measure"), "concept measure"));
  const values = one.groups.map((row) => [row[chosen.measure]]);
  const mean = one.effects[chosen.measure];
  const axisEnd = axisEndOf([...values, mean]);
  const row = (name, effect) => element("tr", {}, element("th", { scope: "row" }, name), effectCell(effect, axisEnd, name));
  return region("Concept by concept", {}, element("table", { class: "forest" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Concept"), element("th", { scope: "col" }, "Change in rank"))),
    element("tbody", {}, row("mean of all", mean), analysis.groups.map((name, index) => row(name || "the whole table", values[index])))));
});
