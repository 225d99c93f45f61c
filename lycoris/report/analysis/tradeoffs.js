// Mean ranks of two measures against each other, and the table of ranks.
const ORDER = ["circle", "square", "triangle", "diamond"];
const presets = [...new Set(analysis.arms.map((arm) => arm.preset))].sort();
const presetShape = (preset) => ORDER[presets.indexOf(preset) % ORDER.length];
const epochs = [...new Set(analysis.arms.map((arm) => arm.epoch))].filter((epoch) => epoch !== null).sort((a, b) => a - b);
const captionsKnown = [...new Set(analysis.arms.map((arm) => arm.captions))].filter(Boolean).sort();
const trade = { x: whole[0]?.place ?? 0, y: whole[1]?.place ?? Math.min(1, measures.length - 1),
  epoch: epochs.length > 1 ? String(epochs.at(-1)) : "", captions: "" };
const armName = (arm) => [titleOf.get(arm.algorithm) ?? arm.algorithm, arm.capacity === "default" ? "" : arm.capacity, arm.preset,
  arm.learning_rate === null ? "" : `rate ${arm.learning_rate}`, arm.captions, arm.epoch === null ? "" : `epoch ${arm.epoch}`,
  arm.strength].filter(Boolean).join(" · ");
const armsShown = (view) => analysis.arms.map((arm, place) => ({ arm, ranks: analysis.ranks[place] })).filter(({ arm }) =>
  (!view.epoch || String(arm.epoch) === view.epoch) && (!view.captions || arm.captions === view.captions));
const armPickers = (view, redraw, prefix) => {
  const change = (name) => (value) => {
    view[name] = value;
    keepFocus(redraw);
  };
  return [
    epochs.length > 1 && picker("Epoch", [["", "every one"], ...epochs.map((one) => [String(one), String(one)])], view.epoch, change("epoch"), `${prefix} epoch`),
    captionsKnown.length > 1 && picker("Captions", [["", "every one"], ...captionsKnown.map((one) => [one, one])], view.captions,
      change("captions"), `${prefix} captions`),
  ];
};

// The runs of a configuration: those of the chosen concept first, where pictures and runs are known.
const runsOf = (arm) => (arm.runs ?? []).map((place) => data.adapters[place])
  .sort((a, b) => (b.concept === view.concept) - (a.concept === view.concept));
function runLinks(arm, most = 8) {
  const own = runsOf(arm).filter((adapter) => adapter.run_id);
  return own.length ? [...own.slice(0, most).flatMap((adapter) => [runLink(adapter), " "]),
    own.length > most ? `and ${own.length - most} more` : ""] : null;
}
function armCard({ arm, x, y }, across, up) {
  const line = (name, [rank, low, high, error]) => [make("dt", {}, name, " ", make("span", { class: "nowrap" }, "↑ higher is better")),
    make("dd", {}, make("b", {}, number(rank, 2)), ` ${interval(low, high, 2)}`, error === null ? "" : `, ± ${number(error, 3)} over seeds`)];
  const first = runsOf(arm).find((adapter) => !adapter.error);
  const links = runLinks(arm);
  into("trade-card", make("h3", {}, armName(arm)),
    first ? [make("p", { class: "sub" }, `${first.concept}, as it draws it`), ...behind(first, ["alter"])] : null,
    make("dl", {}, line(across, x), line(up, y), links ? [make("dt", {}, "Runs"), make("dd", {}, links)] : null));
}

function drawTrade() {
  const change = (axis) => (value) => {
    trade[axis] = Number(value);
    keepFocus(drawTrade);
  };
  into("trade-tools",
    picker("Across", measureOptions(), String(trade.x), change("x"), "trade x"),
    picker("Up", measureOptions(), String(trade.y), change("y"), "trade y"),
    armPickers(trade, drawTrade, "trade"));
  const points = armsShown(trade).map(({ arm, ranks }) => ({ arm, x: ranks[trade.x], y: ranks[trade.y] })).filter((point) => point.x && point.y);
  points.sort((a, b) => a.x[0] - b.x[0]);
  into("trade-card");
  if (!points.length) return into("trade-plot", empty("No configuration has both ranks."));
  const [W, H, left, bottom, top, right] = [760, 520, 64, 52, 16, 20];
  const span = (axis) => [Math.max(0, Math.min(...points.map((point) => point[axis][0])) - 0.1),
    Math.min(1, Math.max(...points.map((point) => point[axis][0])) + 0.1)];
  const [xs, ys] = [span("x"), span("y")];
  const within = (value, [low, high]) => (Math.max(low, Math.min(high, value)) - low) / (high - low);
  const px = (value) => left + within(value, xs) * (W - left - right);
  const py = (value) => H - bottom - within(value, ys) * (H - bottom - top);
  const [tx, ty] = [ticks(...xs, 6), ticks(...ys, 6)];
  const colour = (arm) => colourOf.get(arm.algorithm) ?? "var(--grey)";
  const whisker = (a, b, c, d, arm) => draw("line", { x1: a, y1: b, x2: c, y2: d, stroke: colour(arm), class: "whisker faint" });
  const [x, y] = [told(measures[trade.x]), told(measures[trade.y])];
  const say = ([rank, low, high]) => `${number(rank, 2)} ${interval(low, high, 2)}`;
  into("trade-plot",
    make("div", { class: "legend" },
      analysis.algorithms.map(([name, text]) => make("span", {}, draw("svg", { width: 14, height: 14, "aria-hidden": "true" },
        draw("rect", { x: 1, y: 4, width: 12, height: 6, rx: 3, fill: colourOf.get(name) })), text)),
      presets.length > 1 ? presets.map((name) => make("span", {}, draw("svg", { width: 14, height: 14, "aria-hidden": "true" },
        mark(presetShape(name), 7, 7, 5, { fill: "var(--soft)" })), name || "not told")) : null),
    draw("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "group",
      "aria-label": `${y} against ${x} of ${points.length} configurations; the arrows go from point to point` },
      tx.values.map((value) => [
        draw("line", { x1: px(value), x2: px(value), y1: top, y2: H - bottom, class: "rule" }),
        draw("text", { x: px(value), y: H - bottom + 18, "text-anchor": "middle" }, number(value, tx.digits))]),
      ty.values.map((value) => [
        draw("line", { x1: left, x2: W - right, y1: py(value), y2: py(value), class: "rule" }),
        draw("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, number(value, ty.digits))]),
      draw("text", { x: W - right - 14, y: top + 20, class: "corner", "text-anchor": "middle" }, "★"),
      draw("text", { x: (left + W - right) / 2, y: H - 10, "text-anchor": "middle", class: "axis" }, `${x}, mean scaled rank`),
      draw("text", { x: 16, y: (top + H - bottom) / 2, "text-anchor": "middle", class: "axis",
        transform: `rotate(-90 16 ${(top + H - bottom) / 2})` }, `${y}, mean scaled rank`),
      points.length > 60 ? null : points.map((point) => draw("g", {},
        point.x[1] === null ? null : whisker(px(point.x[1]), py(point.y[0]), px(point.x[2]), py(point.y[0]), point.arm),
        point.y[1] === null ? null : whisker(px(point.x[0]), py(point.y[1]), px(point.x[0]), py(point.y[2]), point.arm))),
      points.map((point) => draw("g", { class: "point", role: "img",
        "aria-label": `${armName(point.arm)}; ${x} ${say(point.x)}; ${y} ${say(point.y)}` },
        mark(presetShape(point.arm.preset), px(point.x[0]), py(point.y[0]), 6.5,
          { fill: colour(point.arm), stroke: "var(--paper)", "stroke-width": 1.5 })))));
  explored([...document.querySelectorAll("#trade-plot .point")], (place) => armCard(points[place], x, y));
  armCard(points.at(-1), x, y);
}

const rankView = { shown: "", epoch: trade.epoch, captions: "" };
const rankSort = { column: null, up: true };
function drawRanks() {
  const metrics = [...new Set(measures.filter((one) => one.metric !== one.dimension).map((one) => one.metric))];
  const columns = rankView.shown ? placesOf((measure) => measure.metric === rankView.shown) : whole;
  into("rank-tools",
    picker("Shown", [["", "the dimensions"], ...metrics.map((name) => [name, plain(name)])], rankView.shown, (name) => {
      Object.assign(rankView, { shown: name });
      Object.assign(rankSort, { column: null });
      keepFocus(drawRanks);
    }, "rank shown"),
    armPickers(rankView, drawRanks, "rank"));
  const told = (name, label, numeric) => ({ label, numeric, value: (row) => row.arm[name], cell: (row) => String(row.arm[name] ?? "–") });
  const heads = [
    { label: "Configuration", value: (row) => row.arm.config },
    { label: "Algorithm", value: (row) => titleOf.get(row.arm.algorithm) ?? row.arm.algorithm,
      cell: (row) => [draw("svg", { class: "key", width: 14, height: 14, "aria-hidden": "true" },
        mark(presetShape(row.arm.preset), 7, 7, 5, { fill: colourOf.get(row.arm.algorithm) ?? "currentColor" })),
      titleOf.get(row.arm.algorithm) ?? row.arm.algorithm] },
    told("preset", "Preset"), told("captions", "Captions"), told("capacity", "Capacity"), told("learning_rate", "Rate", true),
    told("epoch", "Epoch", true),
  ].filter((column) => ["Configuration", "Algorithm"].includes(column.label)
    || new Set(analysis.arms.map((arm) => column.value({ arm }))).size > 1);
  const cells = columns.map(({ measure, place }) => ({
    label: rankView.shown ? [measure.prompt_type, measure.mean ? "mean" : measure.encoder].filter(Boolean).join(" ") : plain(measure.metric),
    numeric: true, value: (row) => row.ranks[place]?.[0],
    cell: (row) => (row.ranks[place] ? [make("b", {}, number(row.ranks[place][0], 2)), " ",
      make("span", { class: "none" }, interval(row.ranks[place][1], row.ranks[place][2], 2))] : "–") }));
  const runs = analysis.arms.some((arm) => arm.runs?.length) && { label: "Runs", numeric: true, value: (row) => row.arm.runs.length,
    cell: (row) => (row.arm.runs.length ? make("details", {}, make("summary", {}, row.arm.runs.length), runLinks(row.arm, 40)) : "–") };
  const all = [...heads, ...cells, runs].filter(Boolean);
  rankSort.column = all.find((column) => column.label === rankSort.column?.label) ?? null;
  into("rank-table", sortable(all, armsShown(rankView), rankSort));
}
