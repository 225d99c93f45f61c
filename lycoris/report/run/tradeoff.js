// One score against another, with intervals; color is the algorithm, shape the caption strategy.
const axes = { x: null, y: null };

// Costs are offered beside the scores; they have no interval.
const costMeasures = COSTS.map((cost) => ({ name: cost.name, dimension: "cost", higher_is_better: false, digits: cost.digits, cost }));
const scoreOf = (adapter, { name, cost }) => (!cost ? adapter.scores[name]
  : Number.isFinite(cost.of(adapter)) && !adapter.checkpoint ? { value: cost.of(adapter) } : undefined);
const scoreText = (score, measure) => (measure.cost ? measure.cost.text(score.value)
  : `${number(score.value, measure.digits)} ${interval(score.low, score.high, measure.digits)}`);

function showCard({ adapter, x, y }, across, up) {
  const line = (measure, score) => [element("dt", {}, measure.name, " ", element("span", { class: "nowrap" }, direction(measure))),
    element("dd", {}, element("b", {}, scoreText(score, measure)), score.difference === undefined ? "" : [element("span", { class: score.verdict },
      ` ${number(score.difference, measure.digits, true)} ${interval(score.difference_low, score.difference_high, measure.digits)}`),
    " against the base"])];
  into("tradeoff-card",
    element("h3", {}, adapterKey(adapter), " ", adapterTitle(adapter), adapter.champion ? star() : null),
    exampleImages(adapter, [across.prompt_type, up.prompt_type].filter(Boolean)),
    element("dl", {}, line(across, x), line(up, y), element("dt", {}, "Run"), element("dd", {}, runLink(adapter))));
}

// The points of each training that has several checkpoints, in order.
function trainings(points) {
  const byTraining = new Map();
  for (const point of points) {
    const name = [point.adapter.algorithm, point.adapter.captions, point.adapter.seed].join("\n");
    byTraining.set(name, [...(byTraining.get(name) ?? []), point]);
  }
  return [...byTraining.values()].filter((own) => own.length > 1)
    .map((own) => own.sort((a, b) => checkpointNumber(checkpointOf(a.adapter)) - checkpointNumber(checkpointOf(b.adapter))));
}

function axis(points, name, measure, ticks) {
  const ends = points.flatMap((point) => [point[name].value, point[name].low, point[name].high, point[name].base])
    .filter((value) => value !== undefined);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const pad = (high - low || Math.abs(high) || 1) * 0.07;
  return { low: low - pad, high: high + pad, ticks, higherIsBetter: measure.higher_is_better, label: `${measure.name}  ${direction(measure)}` };
}

// Points without the base's, with the plot: an interval, a line through each training, a mark for each adapter, and the base.
function drawPlot(points, x, y) {
  const bases = new Map(points.filter((point) => point.x.base !== undefined && point.y.base !== undefined)
    .map((point) => [`${point.x.base} ${point.y.base}`, point]));
  const [width, height] = [760, 460];
  const { px, py, nodes } = scatterFrame({ width, height, left: 64, bottom: 52, top: 16, right: 20,
    x: axis(points, "x", x, 7), y: axis(points, "y", y, 6) });
  const color = ({ adapter }) => algorithmColors.get(adapter.algorithm);
  const whisker = (x1, y1, x2, y2, stroke) => svg("line", { x1, y1, x2, y2, stroke, class: "whisker" });
  const whiskers = (point) => [
    point.x.low === undefined ? null : whisker(px(point.x.low), py(point.y.value), px(point.x.high), py(point.y.value), color(point)),
    point.y.low === undefined ? null : whisker(px(point.x.value), py(point.y.low), px(point.x.value), py(point.y.high), color(point)),
  ];
  const lines = trainings(points);
  const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "group",
    "aria-label": `${y.name} against ${x.name} of ${points.length} adapters; the arrow keys go from point to point` },
    nodes,
    lines.map((own) => svg("path", { class: "training", stroke: color(own[0]),
      d: own.map((point, index) => `${index ? "L" : "M"}${px(point.x.value).toFixed(1)},${py(point.y.value).toFixed(1)}`).join("") })),
    points.map((point) => svg("g", { class: "whiskers" }, whiskers(point))),
    points.map((point) => svg("g", { class: "point", role: "img",
      "aria-label": `${adapterTitle(point.adapter)}; ${x.name} ${scoreText(point.x, x)}; ${y.name} ${scoreText(point.y, y)}` },
      mark(shapeOf(point.adapter.captions), px(point.x.value), py(point.y.value), 6.5,
        { fill: color(point), stroke: "var(--paper)", "stroke-width": 1.5 }),
      point.adapter.champion ? svg("text", { x: px(point.x.value) + 9, y: py(point.y.value) - 7, class: "champion" }, "★") : null)),
    [...bases.values()].map((point) => {
      const [a, b] = [px(point.x.base), py(point.y.base)];
      return svg("g", { class: "point base" },
        svg("circle", { cx: a, cy: b, r: 7, fill: "var(--paper)" }),
        svg("path", { d: `M${a - 4},${b - 4}l8,8m0,-8l-8,8` }),
        svg("text", { x: a + 11, y: b + 4 }, "base"),
        svg("title", {}, `Base\n${x.name}: ${number(point.x.base, x.digits)}\n${y.name}: ${number(point.y.base, y.digits)}`));
    }));
  return { plot, lines };
}

function draw() {
  const adapters = selectedAdapters();
  const options = [...data.measures, ...costMeasures].filter((measure) => adapters.some((adapter) => scoreOf(adapter, measure)));
  into("tradeoff-card");
  if (options.filter((measure) => !measure.cost).length < 1 || options.length < 2) {
    into("tradeoff-tools");
    return into("tradeoff-plot", empty("A trade-off needs two scores."));
  }
  const headlines = Object.values(selectedConcept()?.headlines ?? {});
  const offered = (name) => options.find((measure) => measure.name === name);
  const x = offered(axes.x) ?? offered(headlines[0]) ?? options[0];
  const y = offered(axes.y) ?? offered(headlines[1]) ?? options.find((measure) => measure !== x);
  const axisMenu = (label, name, current) => menu(label, options.map((measure) =>
    [measure.name, `${measure.dimension}: ${measure.name}`]), current.name, (chosen) => {
    axes[name] = chosen;
    keepFocus(draw);
  }, `axis ${name}`);
  into("tradeoff-tools", axisMenu("Across", "x", x), axisMenu("Up", "y", y));

  const points = adapters.filter((adapter) => [x, y].every((one) => scoreOf(adapter, one)?.value !== undefined))
    .map((adapter) => ({ adapter, x: scoreOf(adapter, x), y: scoreOf(adapter, y) })).sort((a, b) => a.x.value - b.x.value);
  if (!points.length) return into("tradeoff-plot", empty("No adapter has both scores."));
  const { plot, lines } = drawPlot(points, x, y);
  const captions = [...new Set(points.map((point) => point.adapter.captions))];
  into("tradeoff-plot", legend(data.algorithms, captions.map((name) => [shapeOf(name), name ? `captions ${name}` : "no captions"])), plot);
  // In a crowded plot only the chosen point has its interval and the line of its training.
  const [whiskers, paths] = [[...plot.querySelectorAll(".whiskers")], [...plot.querySelectorAll(".training")]];
  plot.classList.toggle("crowded", points.length > 60 || lines.length > 8);
  const show = (index) => {
    whiskers.forEach((one, other) => one.classList.toggle("chosen", other === index));
    paths.forEach((one, other) => one.classList.toggle("chosen", lines[other].includes(points[index])));
    showCard(points[index], x, y);
  };
  explorePoints([...plot.querySelectorAll(".point:not(.base)")], show);
  show(Math.max(0, points.findIndex((point) => point.adapter.champion)));
}
into("tradeoff-body", plotWithCard("tradeoff", "The adapter of the point"));
watch(draw);
