// One score against another, with intervals; colour is the algorithm, shape the tag strategy.
const axes = { x: null, y: null };

function legend(captions) {
  return make("div", { class: "legend" },
    data.algorithms.map(([name, text]) => make("span", {},
      draw("svg", { width: 14, height: 14, "aria-hidden": "true" },
        draw("rect", { x: 1, y: 4, width: 12, height: 6, rx: 3, fill: colourOf.get(name) })), text)),
    captions.map((name) => make("span", {}, draw("svg", { width: 14, height: 14, "aria-hidden": "true" },
      mark(shapeOf(name), 7, 7, 5, { fill: "var(--soft)" })), name)));
}

// What an adapter costs stands among the scores, without an interval.
const costMeasures = COSTS.map((cost) => ({ name: cost.name, dimension: "cost", higher_is_better: false, digits: cost.digits, cost }));
const scoreOf = (adapter, { name, cost }) => (!cost ? adapter.scores[name]
  : Number.isFinite(cost.of(adapter)) && !adapter.checkpoint ? { value: cost.of(adapter) } : undefined);
const told = (score, measure) => (measure.cost ? measure.cost.say(score.value)
  : `${number(score.value, measure.digits)} ${interval(score.low, score.high, measure.digits)}`);

function pointCard({ adapter, x, y }, across, up) {
  const line = (measure, score) => [make("dt", {}, measure.name, " ", make("span", { class: "nowrap" }, direction(measure))),
    make("dd", {}, make("b", {}, told(score, measure)), score.difference === undefined ? "" : [make("span", { class: score.verdict },
      ` ${number(score.difference, measure.digits, true)} ${interval(score.difference_low, score.difference_high, measure.digits)}`),
    " against the base"])];
  into("tradeoff-card",
    make("h3", {}, key(adapter), " ", adapterTitle(adapter), adapter.champion ? make("span", { class: "star", title: "champion" }, "★") : null),
    behind(adapter, [across.kind, up.kind].filter(Boolean)),
    make("dl", {}, line(across, x), line(up, y), make("dt", {}, "Run"), make("dd", {}, runLink(adapter))));
}

// The checkpoints of one training, in order.
function trainings(points) {
  const found = new Map();
  for (const point of points) {
    const name = [point.adapter.algorithm, point.adapter.captions, point.adapter.seed].join("\n");
    found.set(name, [...(found.get(name) ?? []), point]);
  }
  return [...found.values()].filter((own) => own.length > 1)
    .map((own) => own.sort((a, b) => stageNumber(stageOf(a.adapter)) - stageNumber(stageOf(b.adapter))));
}

function drawTradeoff() {
  const adapters = chosenAdapters();
  const options = [...data.measures, ...costMeasures].filter((measure) => adapters.some((adapter) => scoreOf(adapter, measure)));
  into("tradeoff-card");
  if (options.filter((measure) => !measure.cost).length < 1 || options.length < 2) {
    into("tradeoff-tools");
    return into("tradeoff-plot", empty("A trade-off needs two scores."));
  }
  const first = Object.values(chosenConcept()?.headlines ?? {});
  const offered = (name) => options.find((measure) => measure.name === name);
  const x = offered(axes.x) ?? offered(first[0]) ?? options[0];
  const y = offered(axes.y) ?? offered(first[1]) ?? options.find((measure) => measure !== x);
  const select = (label, axis, current) => picker(label, options.map((measure) =>
    [measure.name, `${measure.dimension}: ${measure.name}`]), current.name, (name) => {
    axes[axis] = name;
    keepFocus(drawTradeoff);
  }, `axis ${axis}`);
  into("tradeoff-tools", select("Across", "x", x), select("Up", "y", y));

  const points = adapters.filter((adapter) => [x, y].every((one) => scoreOf(adapter, one)?.value !== undefined))
    .map((adapter) => ({ adapter, x: scoreOf(adapter, x), y: scoreOf(adapter, y) })).sort((a, b) => a.x.value - b.x.value);
  const bases = new Map(points.filter((point) => point.x.base !== undefined && point.y.base !== undefined)
    .map((point) => [`${point.x.base} ${point.y.base}`, point]));
  const span = (axis) => {
    const ends = points.flatMap((point) => [point[axis].value, point[axis].low, point[axis].high, point[axis].base])
      .filter((value) => value !== undefined);
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    const pad = (high - low || Math.abs(high) || 1) * 0.07;
    return [low - pad, high + pad];
  };
  if (!points.length) return into("tradeoff-plot", empty("No adapter has both scores."));
  const [W, H, left, bottom, top, right] = [760, 460, 64, 52, 16, 20];
  const [xs, ys] = [span("x"), span("y")];
  const px = (value) => left + ((value - xs[0]) / (xs[1] - xs[0])) * (W - left - right);
  const py = (value) => H - bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (H - bottom - top);
  const [tx, ty] = [ticks(...xs, 7), ticks(...ys, 6)];
  const bar = (a, b, c, d, stroke) => draw("line", { x1: a, y1: b, x2: c, y2: d, stroke, class: "whisker" });
  const whiskers = (point, stroke) => [
    point.x.low === undefined ? null : bar(px(point.x.low), py(point.y.value), px(point.x.high), py(point.y.value), stroke),
    point.y.low === undefined ? null : bar(px(point.x.value), py(point.y.low), px(point.x.value), py(point.y.high), stroke),
  ];
  const tip = (name, one, other) => draw("title", {}, `${name}\n${x.name}: ${one}\n${y.name}: ${other}`);
  const corner = x.higher_is_better !== null && y.higher_is_better !== null && draw("text", {
    x: x.higher_is_better ? W - right - 14 : left + 14, y: y.higher_is_better ? top + 20 : H - bottom - 10,
    class: "corner", "text-anchor": "middle" }, "★");
  const lines = trainings(points);
  const plot = draw("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "group",
    "aria-label": `${y.name} against ${x.name} of ${points.length} adapters; the arrows go from point to point` },
    tx.values.map((value) => [
      draw("line", { x1: px(value), x2: px(value), y1: top, y2: H - bottom, class: "rule" }),
      draw("text", { x: px(value), y: H - bottom + 18, "text-anchor": "middle" }, number(value, tx.digits))]),
    ty.values.map((value) => [
      draw("line", { x1: left, x2: W - right, y1: py(value), y2: py(value), class: "rule" }),
      draw("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, number(value, ty.digits))]),
    corner,
    draw("text", { x: (left + W - right) / 2, y: H - 10, "text-anchor": "middle", class: "axis" },
      `${x.name}  ${direction(x)}`),
    draw("text", { x: 16, y: (top + H - bottom) / 2, "text-anchor": "middle", class: "axis",
      transform: `rotate(-90 16 ${(top + H - bottom) / 2})` }, `${y.name}  ${direction(y)}`),
    lines.map((own) => draw("path", { class: "training", stroke: colourOf.get(own[0].adapter.algorithm),
      d: own.map((point, place) => `${place ? "L" : "M"}${px(point.x.value).toFixed(1)},${py(point.y.value).toFixed(1)}`).join("") })),
    points.map((point) => draw("g", { class: "whiskers" }, whiskers(point, colourOf.get(point.adapter.algorithm)))),
    points.map((point) => draw("g", { class: "point", role: "img",
      "aria-label": `${adapterTitle(point.adapter)}; ${x.name} ${told(point.x, x)}; ${y.name} ${told(point.y, y)}` },
      mark(shapeOf(point.adapter.captions), px(point.x.value), py(point.y.value), 6.5,
        { fill: colourOf.get(point.adapter.algorithm), stroke: "var(--paper)", "stroke-width": 1.5 }),
      point.adapter.champion ? draw("text", { x: px(point.x.value) + 9, y: py(point.y.value) - 7, class: "champion" }, "★") : null)),
    [...bases.values()].map((point) => {
      const [a, b] = [px(point.x.base), py(point.y.base)];
      return draw("g", { class: "point base" },
        draw("circle", { cx: a, cy: b, r: 7, fill: "var(--paper)" }),
        draw("path", { d: `M${a - 4},${b - 4}l8,8m0,-8l-8,8` }),
        draw("text", { x: a + 11, y: b + 4 }, "base"),
        tip("Base", number(point.x.base, x.digits), number(point.y.base, y.digits)));
    }));
  into("tradeoff-plot", legend([...new Set(points.map((point) => point.adapter.captions))]), plot);
  // Of very many points only the chosen one has its interval and its training's line drawn.
  const [ends, paths] = [[...plot.querySelectorAll(".whiskers")], [...plot.querySelectorAll(".training")]];
  plot.classList.toggle("crowded", points.length > 60 || lines.length > 8);
  const show = (place) => {
    ends.forEach((one, other) => one.classList.toggle("chosen", other === place));
    paths.forEach((one, other) => one.classList.toggle("chosen", lines[other].includes(points[place])));
    pointCard(points[place], x, y);
  };
  explored([...plot.querySelectorAll(".point:not(.base)")], show);
  show(Math.max(0, points.findIndex((point) => point.adapter.champion)));
}
