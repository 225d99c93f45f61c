// Which adapters of a concept are compared: all of them, or those that differ in one attribute only.
const AXES = { algorithm: "algorithms", captions: "captions", checkpoint: "checkpoints", seed: "seeds" };
const checkpointOf = (adapter) => adapter.checkpoint ?? "end";
const checkpointNumber = (checkpoint) => (checkpoint === "end" ? Infinity : parseFloat(checkpoint.replace(/^\D+/, "")) || 0);
const valueOf = (adapter, axis) => (axis === "checkpoint" ? checkpointOf(adapter) : adapter[axis]);
const axisLabel = (axis, value) => (axis === "algorithm" ? algorithmTitles.get(value) ?? value : axis === "seed" ? `seed ${value}` : String(value));

function valuesOf(axis, adapters = selectedAdapters()) {
  const values = [...new Set(adapters.map((adapter) => valueOf(adapter, axis)))]
    .filter((value) => value !== undefined && value !== null && value !== "");
  const order = { algorithm: [...algorithmTitles.keys()], captions: data.captions }[axis];
  if (order) return values.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  return axis === "checkpoint" ? values.sort((a, b) => checkpointNumber(a) - checkpointNumber(b)) : values.sort((a, b) => a - b);
}
const checkpoints = () => valuesOf("checkpoint");
const selectedCheckpoint = () => (checkpoints().includes(view.checkpoint) ? view.checkpoint : checkpoints().at(-1));

// The value that an attribute is held at: the reader's choice, else the champion's, else the first.
function fixedValue(axis, adapters = selectedAdapters()) {
  const values = valuesOf(axis, adapters);
  const first = adapters.find((adapter) => adapter.champion && !adapter.error) ?? adapters.find((adapter) => !adapter.error);
  return [view.fixed[axis], first && valueOf(first, axis), values[0]].find((value) => values.includes(value));
}

// Of the adapters of one concept those that differ in `axis` only.
function differingOnlyIn(axis, adapters, checkpoint) {
  return adapters.filter((adapter) => Object.keys(AXES).every((other) => {
    if (other === axis) return true;
    return valueOf(adapter, other) === (other === "checkpoint" ? checkpoint ?? valuesOf(other, adapters).at(-1) : fixedValue(other, adapters))
      || valuesOf(other, adapters).length === 0;
  }));
}

function comparedAdapters() {
  const adapters = selectedAdapters();
  if (view.compare) return differingOnlyIn(view.compare, adapters, selectedCheckpoint());
  return adapters.filter((adapter) => checkpointOf(adapter) === selectedCheckpoint());
}

// The measure that says most about images of the chosen prompt type.
function decisiveMeasure(adapter) {
  const measures = data.measures.filter((measure) => measure.prompt_type === view.promptType && adapter.scores[measure.name]);
  return measures.find((measure) => measure.dimension === terms.prompt_types[view.promptType]?.dimension) ?? measures[0];
}
function decisiveValue(adapter) {
  const measure = decisiveMeasure(adapter);
  const score = measure && adapter.scores[measure.name];
  return (score ? effectOf(score, measure).value ?? score.value : -Infinity) * (measure?.higher_is_better === false ? -1 : 1);
}
function inChosenOrder(adapters) {
  const algorithm = (a) => [...algorithmTitles.keys()].indexOf(a.algorithm);
  const captions = (a) => data.captions.indexOf(a.captions);
  const by = {
    algorithm: (a, b) => algorithm(a) - algorithm(b) || captions(a) - captions(b),
    captions: (a, b) => captions(a) - captions(b) || algorithm(a) - algorithm(b),
    score: (a, b) => (a.error ? 1 : 0) - (b.error ? 1 : 0) || decisiveValue(b) - decisiveValue(a),
  }[view.order];
  const checkpoint = (a, b) => checkpointNumber(checkpointOf(a)) - checkpointNumber(checkpointOf(b)) || 0;
  return [...adapters].sort((a, b) => by(a, b) || checkpoint(a, b));
}
const nameCell = (adapter) => [adapterKey(adapter), algorithmTitle(adapter), adapter.champion ? star() : null];
