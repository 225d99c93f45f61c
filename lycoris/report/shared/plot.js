// What plots share: marks, axes, dots with intervals, and points that answer to mouse and keyboard.
const SHAPES = ["circle", "square", "triangle", "diamond"];
const VERDICT_COLORS = { better: "var(--better)", worse: "var(--worse)", small: "var(--grey)", none: "var(--grey)" };
const shapeOf = (captions) => SHAPES[terms.strategies.indexOf(captions)] ?? "diamond";

function mark(shape, x, y, r, attributes) {
  if (shape === "circle") return svg("circle", { cx: x, cy: y, r, ...attributes });
  const points = {
    square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    triangle: [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
    diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
  }[shape];
  return svg("polygon", { points: points.map(([a, b]) => `${x + a * r},${y + b * r}`).join(" "), ...attributes });
}
const swatch = (...children) => svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, ...children);
const adapterKey = (adapter) => fill(swatch(mark(shapeOf(adapter.captions), 7, 7, 5,
  { fill: algorithmColors.get(adapter.algorithm) ?? "currentColor" })), { class: "key" }, []);
// The colors of algorithms, and the shapes of something else: [shape, text] pairs.
function legend(algorithms, shapes) {
  return element("div", { class: "legend" },
    algorithms.map(([name, text]) => element("span", {},
      swatch(svg("rect", { x: 1, y: 4, width: 12, height: 6, rx: 3, fill: algorithmColors.get(name) })), text)),
    shapes.map(([shape, text]) => element("span", {}, swatch(mark(shape, 7, 7, 5, { fill: "var(--soft)" })), text)));
}

// Round values on an axis, and the decimals to print them with.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) values.push(value);
  return { values, digits: step < 1e-6 ? null : Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// The frame of a scatter plot: scales, rules, labels and, where one corner is the best, an arrow to it.
function scatterFrame({ width, height, left, bottom, top, right, x, y }) {
  const part = (value, { low, high }) => (Math.max(low, Math.min(high, value)) - low) / (high - low);
  const px = (value) => left + part(value, x) * (width - left - right);
  const py = (value) => height - bottom - part(value, y) * (height - bottom - top);
  const [tx, ty] = [ticks(x.low, x.high, x.ticks ?? 6), ticks(y.low, y.high, y.ticks ?? 6)];
  const nodes = [
    tx.values.map((value) => [
      svg("line", { x1: px(value), x2: px(value), y1: top, y2: height - bottom, class: "rule" }),
      svg("text", { x: px(value), y: height - bottom + 18, "text-anchor": "middle" }, number(value, tx.digits))]),
    ty.values.map((value) => [
      svg("line", { x1: left, x2: width - right, y1: py(value), y2: py(value), class: "rule" }),
      svg("text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, number(value, ty.digits))]),
    x.higherIsBetter === null || y.higherIsBetter === null ? null : svg("text", {
      x: x.higherIsBetter ? width - right - 6 : left + 6, y: y.higherIsBetter ? top + 20 : height - bottom - 10,
      class: "corner", "text-anchor": x.higherIsBetter ? "end" : "start" },
      `${x.higherIsBetter ? "" : y.higherIsBetter ? "↖ " : "↙ "}better${x.higherIsBetter ? (y.higherIsBetter ? " ↗" : " ↘") : ""}`),
    svg("text", { x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle", class: "axis" }, x.label),
    svg("text", { x: 16, y: (top + height - bottom) / 2, "text-anchor": "middle", class: "axis",
      transform: `rotate(-90 16 ${(top + height - bottom) / 2})` }, y.label),
  ];
  return { px, py, nodes: nodes.flat(3).filter(Boolean) };
}

// A value with its interval as a table cell; `x` places a value on an axis of `width` pixels.
function intervalCell({ value, low, high, x, verdict, filled, label, text, shown, ends, width = 150, height = 22 }) {
  const color = VERDICT_COLORS[verdict] ?? "var(--ink)";
  const known = low !== null && low !== undefined && high !== null && high !== undefined;
  return element("td", { title: `${label}${text}` },
    svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text },
      svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height, class: "zero" }),
      known ? svg("line", { x1: x(low), x2: x(high), y1: height / 2, y2: height / 2,
        stroke: color, "stroke-width": 2.5, "stroke-linecap": "round" }) : null,
      svg("circle", { cx: x(value), cy: height / 2, r: 4.5, fill: filled ? color : "var(--paper)", stroke: color, "stroke-width": 2 })),
    element("span", { class: `value ${verdict}` }, shown),
    ends === null ? null : element("span", { class: "sub ends" }, ends));
}

// Points of a plot: one stop for the tab key, then the arrow keys. Hover and focus show a point's card; a click pins it.
function explorePoints(nodes, show) {
  let pinned = null;
  nodes.forEach((node, index) => {
    node.setAttribute("tabindex", index ? "-1" : "0");
    node.addEventListener("mouseenter", () => { if (pinned === null) show(index); });
    node.addEventListener("focus", () => show(index));
    node.addEventListener("click", () => {
      pinned = pinned === index ? null : index;
      nodes.forEach((one, other) => one.classList.toggle("pinned", other === pinned));
      node.focus();
      show(index);
    });
    node.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      const next = event.key === "Home" ? nodes[0] : event.key === "End" ? nodes.at(-1) : step && nodes[index + step];
      if (!next) return;
      event.preventDefault();
      node.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  });
}
// The plot on the left and the card of a point on the right; made once, so that the card is announced when it changes.
const plotWithCard = (name, label) => element("div", { class: "plot-with-card" }, element("div", { id: `${name}-plot` }),
  element("aside", { class: "point-card", id: `${name}-card`, "aria-live": "polite", "aria-label": label }));
