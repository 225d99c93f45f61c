// Mean ranks of two measures against each other; color is the algorithm, shape the preset.
const trade = { x: dimensions[0]?.index ?? 0, y: dimensions[1]?.index ?? Math.min(1, measures.length - 1), ...settingFilter() };

function showCard({ setting, x, y }, across, up) {
  const line = (name, [rank, low, high, error]) => [element("dt", {}, name, " ", element("span", { class: "nowrap" }, "↑ higher is better")),
    element("dd", {}, element("b", {}, number(rank, 2)), ` ${interval(low, high, 2)}`, error === null ? "" : `, ± ${number(error, 3)} over seeds`)];
  const adapter = adaptersOf(setting).find((one) => !one.error);
  const links = runLinks(setting);
  into("rank-tradeoffs-card", element("h3", {}, settingName(setting)),
    adapter ? [element("p", { class: "sub" }, `example: ${adapter.concept}`), ...exampleImages(adapter, ["alter"])] : null,
    element("dl", {}, line(across, x), line(up, y), links ? [element("dt", {}, "Runs"), element("dd", {}, links)] : null));
}

function axis(points, name, label) {
  const ranks = points.map((point) => point[name][0]);
  return { low: Math.max(0, Math.min(...ranks) - 0.1), high: Math.min(1, Math.max(...ranks) + 0.1), higherIsBetter: true,
    label: `${label}, mean scaled rank` };
}

function draw() {
  const change = (name) => (value) => {
    trade[name] = Number(value);
    keepFocus(draw);
  };
  into("rank-tradeoffs-tools",
    menu("Across", measureOptions, String(trade.x), change("x"), "trade x"),
    menu("Up", measureOptions, String(trade.y), change("y"), "trade y"),
    settingMenus(trade, () => keepFocus(draw), "trade"));
  const points = settingsWhere(trade).map(({ setting, ranks }) => ({ setting, x: ranks[trade.x], y: ranks[trade.y] }))
    .filter((point) => point.x && point.y).sort((a, b) => a.x[0] - b.x[0]);
  into("rank-tradeoffs-card");
  if (!points.length) return into("rank-tradeoffs-plot", empty("No configuration has both ranks."));
  const [width, height] = [760, 520];
  const [x, y] = [measureTitle(measures[trade.x]), measureTitle(measures[trade.y])];
  const { px, py, nodes } = scatterFrame({ width, height, left: 64, bottom: 52, top: 16, right: 20,
    x: axis(points, "x", x), y: axis(points, "y", y) });
  const color = (setting) => algorithmColors.get(setting.algorithm) ?? "var(--grey)";
  const whisker = (x1, y1, x2, y2, setting) => svg("line", { x1, y1, x2, y2, stroke: color(setting), class: "whisker" });
  const text = ([rank, low, high]) => `${number(rank, 2)} ${interval(low, high, 2)}`;
  into("rank-tradeoffs-plot",
    legend(analysis.algorithms, presets.length > 1 ? presets.map((name) => [presetShape(name), name || "not specified"]) : []),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "group",
      "aria-label": `${y} against ${x} of ${points.length} configurations; the arrow keys go from point to point` },
      nodes,
      points.length > 60 ? null : points.map((point) => svg("g", {},
        point.x[1] === null ? null : whisker(px(point.x[1]), py(point.y[0]), px(point.x[2]), py(point.y[0]), point.setting),
        point.y[1] === null ? null : whisker(px(point.x[0]), py(point.y[1]), px(point.x[0]), py(point.y[2]), point.setting))),
      points.map((point) => svg("g", { class: "point", role: "img",
        "aria-label": `${settingName(point.setting)}; ${x} ${text(point.x)}; ${y} ${text(point.y)}` },
        mark(presetShape(point.setting.preset), px(point.x[0]), py(point.y[0]), 6.5,
          { fill: color(point.setting), stroke: "var(--paper)", "stroke-width": 1.5 })))));
  explorePoints([...document.querySelectorAll("#rank-tradeoffs-plot .point")], (index) => showCard(points[index], x, y));
  showCard(points.at(-1), x, y);
}
into("rank-tradeoffs-body", plotWithCard("rank-tradeoffs", "The configuration of the point"));
draw();
