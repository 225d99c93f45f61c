// Which adapters stand in the wall: all of a concept, or those that differ in one thing; and the slider through training.
const AXES = { algorithm: "algorithms", captions: "captions", checkpoint: "training", seed: "seeds" };
const stageOf = (adapter) => adapter.checkpoint ?? "end";
const stageNumber = (stage) => (stage === "end" ? Infinity : parseFloat(stage.replace(/^\D+/, "")) || 0);
const valueOf = (adapter, axis) => (axis === "checkpoint" ? stageOf(adapter) : adapter[axis]);
const axisLabel = (axis, value) => (axis === "algorithm" ? titleOf.get(value) ?? value : axis === "seed" ? `seed ${value}` : String(value));

function valuesOf(axis, adapters = chosenAdapters()) {
  const found = [...new Set(adapters.map((adapter) => valueOf(adapter, axis)))]
    .filter((value) => value !== undefined && value !== null && value !== "");
  const order = { algorithm: [...titleOf.keys()], captions: data.captions }[axis];
  if (order) return found.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return axis === "checkpoint" ? found.sort((a, b) => stageNumber(a) - stageNumber(b)) : found.sort((a, b) => a - b);
}
const stages = () => valuesOf("checkpoint");
const stageShown = () => (stages().includes(view.stage) ? view.stage : stages().at(-1));

// What the other things are held at: the reader's choice, or the champion's, or the first there is.
function heldAt(axis, adapters = chosenAdapters()) {
  const values = valuesOf(axis, adapters);
  const first = adapters.find((adapter) => adapter.champion && !adapter.error) ?? adapters.find((adapter) => !adapter.error);
  return [view.fixed[axis], first && valueOf(first, axis), values[0]].find((value) => values.includes(value));
}

// Of some adapters of one concept those that differ in `axis` alone.
function differing(axis, adapters, stage) {
  return adapters.filter((adapter) => Object.keys(AXES).every((other) => {
    if (other === axis) return true;
    return valueOf(adapter, other) === (other === "checkpoint" ? stage ?? valuesOf(other, adapters).at(-1) : heldAt(other, adapters))
      || valuesOf(other, adapters).length === 0;
  }));
}

function compared() {
  const own = chosenAdapters();
  if (view.compare) return differing(view.compare, own, stageShown());
  return own.filter((adapter) => stageOf(adapter) === stageShown());
}

function compareTools() {
  const offered = Object.keys(AXES).filter((axis) => valuesOf(axis).length > 1);
  if (view.compare && !offered.includes(view.compare)) view.compare = "";
  const others = view.compare ? offered.filter((axis) => axis !== view.compare && axis !== "checkpoint") : [];
  return [
    offered.length > 1 && segments("Compare", [["", "everything"], ...offered.map((axis) => [axis, AXES[axis]])], view.compare,
      (compare) => choose({ compare })),
    ...others.map((axis) => picker(`with ${axis}`, valuesOf(axis).map((value) => [String(value), axisLabel(axis, value)]),
      String(heldAt(axis)), (text) => choose({ fixed: { ...view.fixed,
        [axis]: valuesOf(axis).find((value) => String(value) === text) } }), `held ${axis}`)),
    view.compare !== "checkpoint" && stages().length > 1 && slider(),
  ];
}

// The slider draws the pictures only, so that it stays under the finger.
function slider() {
  const every = stages();
  const shown = make("output", {}, stageShown());
  const input = make("input", { type: "range", min: 0, max: every.length - 1, step: 1, value: every.indexOf(stageShown()),
    "data-name": "Training", "aria-valuetext": stageShown(), oninput: (event) => {
      view.stage = every[Number(event.target.value)];
      event.target.setAttribute("aria-valuetext", view.stage);
      shown.textContent = view.stage;
      drawGrid();
    } });
  return make("label", { class: "pick slide" }, "Training", input, shown);
}
