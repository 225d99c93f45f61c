// Numbers, names and links as the page writes them.
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
const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const spaced = (name) => name.replaceAll("_", " ");
// `text` between backticks becomes code.
const codeSpans = (text) => text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
const promptTypeTitle = (name) => terms.prompt_types[name]?.title ?? name;

const arrow = (measure) =>
  measure?.higher_is_better === true ? "↑" : measure?.higher_is_better === false ? "↓" : "";
const direction = (measure) =>
  measure?.higher_is_better === true ? "↑ higher is better"
    : measure?.higher_is_better === false ? "↓ lower is better" : "";
const VERDICT_TEXTS = { better: "better", small: "too small to matter", none: "no difference shown", worse: "worse", unknown: "" };
const verdictOptions = terms.verdicts.filter((name) => VERDICT_TEXTS[name]).map((name) => [name, VERDICT_TEXTS[name]]);

// What adapters are compared by: the difference to the base, or the distance from it.
const effectOf = (score, measure) => (measure.from_base
  ? { value: score.value, low: score.low, high: score.high }
  : { value: score.difference, low: score.difference_low, high: score.difference_high });
const algorithmTitle = (adapter) => adapter.label ?? algorithmTitles.get(adapter.algorithm) ?? adapter.algorithm ?? adapter.name ?? "?";
const adapterTitle = (adapter) => adapter.label ?? [
  algorithmTitle(adapter), adapter.captions, data.manySeeds ? `seed ${adapter.seed}` : null, adapter.checkpoint,
].filter(Boolean).join(" · ");

// The run behind a number: a link where MLflow has an address, else a title with its id and the command that opens MLflow.
function runTitle(adapter) {
  const { runs, command } = data.tracking ?? {};
  if (!adapter?.run_id) return null;
  return runs ? `run ${adapter.run_id} in MLflow` : `MLflow run ${adapter.run_id}${command ? `\nopen it with: ${command}` : ""}`;
}
// Under a heading or a label "Run".
function runLink(adapter, text) {
  if (!adapter?.run_id) return text ?? "–";
  const runs = data.tracking?.runs;
  return runs ? element("a", { href: runs + encodeURIComponent(adapter.run_id), rel: "noopener", title: runTitle(adapter) }, text ?? "run")
    : element("code", { class: "run", title: runTitle(adapter) }, text ?? "run");
}
// After a sentence or a name: only where there is something to open.
const runNote = (adapter) => (adapter?.run_id && data.tracking?.runs ? [" ", runLink(adapter, "MLflow run")] : null);
