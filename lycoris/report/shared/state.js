// The page's data, what the reader has chosen, and redrawing after a choice.
const data = JSON.parse(document.getElementById("data").textContent);
const { concepts, terms } = data;
const measureByName = new Map(data.measures.map((measure) => [measure.name, measure]));
const algorithmTitles = new Map(data.algorithms);
const algorithmColors = new Map(data.algorithms.map(([name], index) => [name, `var(--c${index % 8})`]));
for (const adapter of data.adapters) {
  adapter.settings = data.settings[adapter.settings] ?? {};
  adapter.scores = Object.fromEntries(adapter.scores.map((row, index) => row && [data.measures[index].name, decodeScore(row)])
    .filter(Boolean));
}

// A score is stored as [index of its verdict, the numbers of `scoreFields` in order, note if there is one].
function decodeScore([verdict, ...values]) {
  return { verdict: terms.verdicts[verdict], note: values[data.scoreFields.length],
    ...Object.fromEntries(data.scoreFields.map((name, index) => [name, values[index] ?? undefined])) };
}

const view = {
  concept: concepts[0]?.name,
  promptType: data.promptTypes[0],
  captions: "",
  order: "algorithm",
  compare: "",
  fixed: {},
  checkpoint: null,
  zoom: matchMedia("(max-width: 640px)").matches ? 1 : 2,
};
const watchers = [];
function watch(draw) { watchers.push(draw); draw(); }
function choose(change) {
  keepFocus(() => {
    Object.assign(view, change);
    watchers.forEach((draw) => draw());
  });
}
// A redrawn control keeps the focus: controls are matched by `data-name`.
function keepFocus(redraw) {
  const name = document.activeElement?.dataset?.name;
  redraw();
  if (name) document.querySelector(`[data-name="${CSS.escape(name)}"]`)?.focus();
}

// A section of the page, drawn now and after every choice. `draw` returns what stands in `#<name>-body`; null hides the section.
// Returns a function that redraws it for a choice inside the section.
function section(name, draw) {
  const redraw = () => {
    const body = draw();
    for (const node of document.querySelectorAll(`#${name}, .bar a[href="#${name}"]`)) node.hidden = body === null;
    into(`${name}-body`, body ?? []);
  };
  watch(redraw);
  return () => keepFocus(redraw);
}

const selectedConcept = () => concepts.find((concept) => concept.name === view.concept);
const selectedAdapters = () => data.adapters.filter((adapter) => adapter.concept === view.concept);
