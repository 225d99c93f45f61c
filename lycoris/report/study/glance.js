// At a glance: a row per concept, a column per level of what the study compares; one prompt and seed, all else fixed.
const AXIS_OF_FACTOR = { algorithm: "algorithm", captions: "captions", epoch: "checkpoint", preset: "algorithm",
  capacity: "algorithm", learning_rate: "algorithm" };
const glance = { axis: AXIS_OF_FACTOR[data.factors[0]] ?? "algorithm",
  promptType: data.promptTypes.includes("alter") ? "alter" : data.promptTypes[0], index: 0 };
if (valuesOf(glance.axis).length > 1) view.compare = glance.axis;

function glanceRow(concept, levels) {
  const adapters = differingOnlyIn(glance.axis, data.adapters.filter((adapter) => adapter.concept === concept.name));
  const imagesOf = (one) => one.images[glance.promptType] ?? [];
  const first = adapters.map(imagesOf).find((entries) => entries.length) ?? [];
  const key = first.length ? imageKey(first[glance.index % first.length]) : null;
  const entryOf = (entries) => entries.find((entry) => imageKey(entry) === key && entry[0] !== null);
  const atLevel = levels.map((level) => adapters.find((adapter) => valueOf(adapter, glance.axis) === level));
  const rows = [{ name: "base", entries: data.bases.filter((one) => one.concept === concept.name).flatMap(imagesOf) },
    ...atLevel.filter(Boolean).map((adapter) => ({ name: adapterTitle(adapter), adapter, entries: imagesOf(adapter) }))];
  const columns = new Map(first.map((entry) => [imageKey(entry), entry]));
  const cell = (row) => {
    const entry = row && entryOf(row.entries);
    if (!entry) return element("td", {}, element("span", { class: "missing" }, row?.adapter?.error ? "failed" : "no image"));
    return element("td", {}, element("button", { type: "button", class: "cell",
      title: `${row.name}\n${data.prompts[entry[1]]}\nseed ${entry[2]}`,
      onclick: () => {
        choose({ concept: concept.name, promptType: glance.promptType });
        openCloseup({ columns, rows }, rows.indexOf(row), [...columns.keys()].indexOf(key));
      } }, image(entry[0], `${concept.name}, ${row.name}: ${data.prompts[entry[1]]}`, cellSize())));
  };
  const reference = concept.references.find((id) => id !== null);
  return element("tr", {}, element("th", { scope: "row" }, concept.name),
    element("td", {}, reference === undefined ? "–" : image(reference, `reference of ${concept.name}`, cellSize())),
    cell(rows[0]), atLevel.map((adapter) => (adapter ? cell(rows.find((row) => row.adapter === adapter)) : element("td", {}, "–"))));
}

function controls() {
  const change = (name) => (value) => {
    glance[name] = value;
    redraw();
  };
  const axes = Object.keys(AXES).filter((axis) => valuesOf(axis, data.adapters).length > 1);
  const count = Math.max(0, ...data.adapters.map((adapter) => adapter.images[glance.promptType]?.length ?? 0));
  return [
    axes.length > 1 && buttons("Columns", axes.map((axis) => [axis, AXES[axis]]), glance.axis, change("axis")),
    data.promptTypes.length > 1 && buttons("Prompts", data.promptTypes.map((name) => [name, promptTypeTitle(name)]),
      glance.promptType, change("promptType"), "glance prompts"),
    count > 1 && menu("Image", Array.from({ length: count }, (_, index) => [String(index), `${index + 1} of ${count}`]),
      String(glance.index % count), (value) => change("index")(Number(value)), "glance image"),
  ];
}

const redraw = section("glance", () => {
  into("glance-tools", controls());
  const levels = valuesOf(glance.axis, data.adapters);
  const shown = concepts.filter((concept) => data.adapters.some((adapter) => adapter.concept === concept.name));
  if (!shown.length || !glance.promptType) return empty("No images were generated.");
  const categories = [...new Set(shown.map((concept) => concept.category ?? ""))];
  const head = ["Concept", "Reference", "Base", ...levels.map((level) => axisLabel(glance.axis, level))];
  return region("At a glance", {}, element("table", { class: "glance", style: `--cell:${cellSize()}px` },
    element("thead", {}, element("tr", {}, head.map((text) => element("th", { scope: "col" }, text)))),
    categories.map((category) => element("tbody", {},
      categories.length > 1 ? element("tr", { class: "category" },
        element("th", { colspan: head.length, scope: "rowgroup" }, spaced(category || "no category"))) : null,
      shown.filter((concept) => (concept.category ?? "") === category).map((concept) => glanceRow(concept, levels))))));
});
