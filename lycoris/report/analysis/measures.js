// What the sections of an analysis share: measures, comparisons and adapter settings by name.
const { analysis } = data;
const { measures } = analysis;
const isDimension = (measure) => measure.mean && measure.metric === measure.dimension;
const measureTitle = (measure) => (isDimension(measure) ? spaced(measure.metric)
  : measure.mean ? `${measure.metric}/${measure.prompt_type}, mean over encoders` : measure.name);
const measuresWhere = (keep) => measures.map((measure, index) => ({ measure, index })).filter(({ measure }) => keep(measure));
const dimensions = measuresWhere(isDimension);
const metricNames = [...new Set(measures.filter((one) => one.metric !== one.dimension).map((one) => one.metric))];
const metricOptions = metricNames.map((name) => [name, spaced(name)]);
const measureOptions = measures.map((measure, index) => [String(index),
  measure.metric === measure.dimension ? `${measureTitle(measure)}, all its metrics` : measureTitle(measure)]);

// An effect is [difference in rank, low, high, ...].
const verdictOf = ([, low, high]) =>
  (low === null || high === null ? "none" : low > 0 ? "better" : high < 0 ? "worse" : "none");
const comparisonTitle = (one) => `${one.level} instead of ${one.against}`;
function effectCell(effect, axisEnd, label) {
  if (!effect || effect[0] === null) return element("td", {}, "–");
  const [value, low, high] = effect;
  const verdict = verdictOf(effect);
  const x = (rank) => ((Math.max(-axisEnd, Math.min(axisEnd, rank)) + axisEnd) / (2 * axisEnd)) * 140 + 5;
  const [shown, ends] = [number(value, 2, true), interval(low, high, 2)];
  return intervalCell({ value, low, high, x, verdict, filled: verdict !== "none", label: `${label}: `, text: `${shown} ${ends}`, shown, ends });
}
const axisEndOf = (effects) => {
  const ends = effects.filter(Boolean).flatMap((effect) => effect.slice(0, 3)).filter(Number.isFinite).map(Math.abs);
  return Math.min(1, Math.max(0.1, ...ends) * 1.05);
};

// Adapter settings: names, filters by epoch and captions, and the runs with each.
const presets = [...new Set(analysis.settings.map((setting) => setting.preset))].sort();
const presetShape = (preset) => SHAPES[presets.indexOf(preset) % SHAPES.length];
const epochs = [...new Set(analysis.settings.map((setting) => setting.epoch))].filter((epoch) => epoch !== null).sort((a, b) => a - b);
const captionStrategies = [...new Set(analysis.settings.map((setting) => setting.captions))].filter(Boolean).sort();
const settingName = (setting) => [algorithmTitles.get(setting.algorithm) ?? setting.algorithm,
  setting.capacity === "default" ? "" : setting.capacity, setting.preset,
  setting.learning_rate === null ? "" : `learning rate ${setting.learning_rate}`, setting.captions,
  setting.epoch === null ? "" : `epoch ${setting.epoch}`, setting.strength].filter(Boolean).join(" · ");
const settingFilter = () => ({ epoch: epochs.length > 1 ? String(epochs.at(-1)) : "", captions: "" });
const settingsWhere = (filter) => analysis.settings.map((setting, index) => ({ setting, ranks: analysis.ranks[index] }))
  .filter(({ setting }) => (!filter.epoch || String(setting.epoch) === filter.epoch)
    && (!filter.captions || setting.captions === filter.captions));
const settingMenus = (filter, redraw, prefix) => {
  const change = (name) => (value) => {
    filter[name] = value;
    redraw();
  };
  return [
    epochs.length > 1 && menu("Epoch", [["", "all"], ...epochs.map((one) => [String(one), String(one)])], filter.epoch,
      change("epoch"), `${prefix} epoch`),
    captionStrategies.length > 1 && menu("Captions", [["", "all"], ...captionStrategies.map((one) => [one, one])], filter.captions,
      change("captions"), `${prefix} captions`),
  ];
};
// The adapters with a setting, those of the chosen concept first; empty on a page without adapters.
const adaptersOf = (setting) => (setting.adapters ?? []).map((index) => data.adapters[index])
  .sort((a, b) => (b.concept === view.concept) - (a.concept === view.concept));
function runLinks(setting, maxLinks = 8) {
  const runs = adaptersOf(setting).filter((adapter) => adapter.run_id);
  return runs.length ? [...runs.slice(0, maxLinks).flatMap((adapter) => [runLink(adapter), " "]),
    runs.length > maxLinks ? `and ${runs.length - maxLinks} more` : ""] : null;
}
