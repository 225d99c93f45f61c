// The table of mean ranks.
const rankView = { metric: "", ...settingFilter() };
const sort = unsorted();

function settingColumns() {
  const column = (name, label, numeric) => ({ label, numeric, value: ({ setting }) => setting[name],
    cell: ({ setting }) => String(setting[name] ?? "–") });
  const title = ({ setting }) => algorithmTitles.get(setting.algorithm) ?? setting.algorithm;
  return [
    { label: "Configuration", value: ({ setting }) => setting.config },
    { label: "Algorithm", value: title, cell: (row) => [
      fill(swatch(mark(presetShape(row.setting.preset), 7, 7, 5,
        { fill: algorithmColors.get(row.setting.algorithm) ?? "currentColor" })), { class: "key" }, []), title(row)] },
    column("preset", "Preset"), column("captions", "Captions"), column("capacity", "Capacity"),
    column("learning_rate", "Learning rate", true), column("epoch", "Epoch", true),
  ].filter(({ label, value }) => ["Configuration", "Algorithm"].includes(label)
    || new Set(analysis.settings.map((setting) => value({ setting }))).size > 1);
}

function rankColumns() {
  const shown = rankView.metric ? measuresWhere((measure) => measure.metric === rankView.metric) : dimensions;
  return shown.map(({ measure, index }) => ({
    label: rankView.metric ? [measure.prompt_type, measure.mean ? "mean" : measure.encoder].filter(Boolean).join(" ") : spaced(measure.metric),
    numeric: true, value: (row) => row.ranks[index]?.[0],
    cell: (row) => (row.ranks[index] ? [element("b", {}, number(row.ranks[index][0], 2)), " ",
      element("span", { class: "none" }, interval(row.ranks[index][1], row.ranks[index][2], 2))] : "–") }));
}

const redraw = section("ranks", () => {
  into("ranks-tools",
    menu("Columns", [["", "the dimensions"], ...metricOptions], rankView.metric, (name) => {
      rankView.metric = name;
      sort.column = null;
      redraw();
    }, "rank columns"),
    settingMenus(rankView, () => redraw(), "rank"));
  const runs = analysis.settings.some((setting) => setting.adapters?.length) && { label: "Runs", numeric: true,
    value: ({ setting }) => setting.adapters.length,
    cell: ({ setting }) => (setting.adapters.length
      ? element("details", {}, element("summary", {}, setting.adapters.length), runLinks(setting, 40)) : "–") };
  const columns = [...settingColumns(), ...rankColumns(), runs].filter(Boolean);
  sort.column = columns.find((column) => column.label === sort.column?.label) ?? null;
  return region("Ranks", { class: "tall" }, sortable(columns, settingsWhere(rankView), sort));
});
