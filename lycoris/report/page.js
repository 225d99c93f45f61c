// What every part of the page uses: the data, what is chosen, elements, numbers, names and marks.
const data = JSON.parse(document.getElementById("data").textContent);
const measureOf = new Map(data.measures.map((measure) => [measure.name, measure]));
const titleOf = new Map(data.algorithms);
const colourOf = new Map(data.algorithms.map(([name], place) => [name, `var(--c${place % 8})`]));
for (const adapter of data.adapters) {
  adapter.settings = data.settings[adapter.settings] ?? {};
  adapter.scores = Object.fromEntries(adapter.scores.map((score, place) => score && [data.measures[place].name, {
    verdict: data.verdicts[score[0]], note: score[data.ofScore.length + 1],
    ...Object.fromEntries(data.ofScore.map((name, at) => [name, score[at + 1] ?? undefined])) }]).filter(Boolean));
}
const KINDS = { train: "Training captions", trigger: "Trigger alone", alter: "New situations", style: "Art styles" };
const SHAPES = { none: "circle", all: "square", adjusted: "triangle", sentence: "diamond" };
const DASHES = { none: "", all: "6 3", adjusted: "2 3", sentence: "8 3 2 3" };

const { concepts } = data;
// Drawings of 64 pixels are shown at whole multiples of their size, others at any.
const unit = data.pictures.some(([, width, height]) => Math.max(width, height) <= 128) ? 64 : 80;

const view = {
  concept: concepts[0]?.name,
  kind: data.kinds[0],
  captions: "",
  order: "algorithm",
  compare: "",
  fixed: {},
  stage: null,
  zoom: matchMedia("(max-width: 640px)").matches ? 1 : 2,
};
const cellSize = () => unit * view.zoom;
const watchers = [];
function watch(draw) { watchers.push(draw); draw(); }
function choose(change) {
  keepFocus(() => {
    Object.assign(view, change);
    watchers.forEach((draw) => draw());
  });
}
// A control that is drawn anew keeps the focus, by the name it carries.
function keepFocus(redraw) {
  const name = document.activeElement?.dataset?.name;
  redraw();
  if (name) document.querySelector(`[data-name="${CSS.escape(name)}"]`)?.focus();
}

const chosenConcept = () => concepts.find((concept) => concept.name === view.concept);
const chosenAdapters = () => data.adapters.filter((adapter) => adapter.concept === view.concept);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const into = (id, ...children) => document.getElementById(id).replaceChildren(...children.flat().filter(Boolean));
const empty = (text) => make("p", { class: "empty" }, text);

function number(value, digits, signed = false) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const text = digits === null ? Math.abs(value).toExponential(1) : Math.abs(value).toFixed(digits);
  const sign = Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "";
  return sign + text.replace(/^0\./, ".");
}
function interval(low, high, digits) {
  return low === undefined || low === null || high === undefined || high === null
    ? "" : `[${number(low, digits)}, ${number(high, digits)}]`;
}
function bytes(count) {
  for (const unit of ["B", "kB", "MB"]) {
    if (count < 1000) return `${unit === "B" ? count : Number(count.toPrecision(3))} ${unit}`;
    count /= 1000;
  }
  return `${Number(count.toPrecision(3))} GB`;
}

const arrow = (measure) =>
  measure?.higher_is_better === true ? "↑" : measure?.higher_is_better === false ? "↓" : "";
const direction = (measure) =>
  measure?.higher_is_better === true ? "↑ higher is better"
    : measure?.higher_is_better === false ? "↓ lower is better" : "";
const pictureKey = ([, prompt, seed]) => `${prompt}/${seed}`;
const plain = (name) => name.replaceAll("_", " ");
// What an adapter is compared by: its difference to the base, or its distance from it.
const effect = (score, measure) => (measure.from_base
  ? { value: score.value, low: score.low, high: score.high }
  : { value: score.difference, low: score.difference_low, high: score.difference_high });
const algorithmTitle = (adapter) => titleOf.get(adapter.algorithm) ?? adapter.algorithm ?? adapter.name ?? "?";
const adapterTitle = (adapter) => [
  algorithmTitle(adapter), adapter.captions, data.manySeeds ? `seed ${adapter.seed}` : null, adapter.checkpoint,
].filter(Boolean).join(" · ");

// The run of a number: a link where MLflow has an address, else its id with the command that opens MLflow's pages.
function runLink(adapter, text) {
  const id = adapter?.run_id;
  if (!id) return text ?? "–";
  const { runs, command } = data.tracking ?? {};
  return runs ? make("a", { href: runs + encodeURIComponent(id), rel: "noopener", title: `run ${id} in MLflow` }, text ?? id.slice(0, 8))
    : make("code", { class: "run", title: `MLflow run ${id}${command ? `\nto look at it: ${command}` : ""}` }, text ?? id.slice(0, 8));
}

function picture(id, alt, width) {
  if (id === null || !data.pictures[id]) return make("span", { class: "missing" }, "unreadable");
  const [source, natural, tall] = data.pictures[id];
  const small = Math.max(natural, tall) <= 128;
  const shown = small ? natural * Math.max(1, Math.round(width / natural)) : width;
  return make("img", {
    src: source, alt, width: shown, height: Math.round((shown * tall) / natural), class: small ? "crisp" : null,
  });
}

function mark(shape, x, y, r, attributes) {
  if (shape === "circle") return draw("circle", { cx: x, cy: y, r, ...attributes });
  const points = {
    square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    triangle: [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
    diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
  }[shape];
  return draw("polygon", { points: points.map(([a, b]) => `${x + a * r},${y + b * r}`).join(" "), ...attributes });
}
const shapeOf = (captions) => SHAPES[captions] ?? "diamond";
const key = (adapter) => draw("svg", { class: "key", width: 14, height: 14, "aria-hidden": "true" },
  mark(shapeOf(adapter.captions), 7, 7, 5, { fill: colourOf.get(adapter.algorithm) ?? "currentColor" }));

// A row of buttons of which one is pressed.
function segments(label, options, current, pick) {
  return make("div", { class: "segments", role: "group", "aria-label": label },
    make("span", { class: "label" }, label),
    options.map(([value, text]) => make("button", {
      type: "button", "aria-pressed": String(value === current), "data-name": `${label} ${value}`, onclick: () => pick(value),
    }, text)));
}
function picker(label, options, current, pick, name = label) {
  const select = make("select", { "data-name": name, onchange: (event) => pick(event.target.value) },
    options.map(([value, text]) => make("option", { value, selected: value === current }, text)));
  return make("label", { class: "pick" }, label, " ", select);
}
