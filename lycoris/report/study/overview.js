// A row a concept, a column a level of what the study compares: the same prompt and seed, all else held.
const compares = { algorithm: "algorithm", captions: "captions", epoch: "checkpoint", preset: "algorithm", capacity: "algorithm",
  learning_rate: "algorithm" };
const overview = { axis: compares[data.factors[0]] ?? "algorithm", kind: data.kinds.includes("alter") ? "alter" : data.kinds[0], place: 0 };
if (valuesOf(overview.axis).length > 1) view.compare = overview.axis;

function glanceRow(concept, levels) {
  const own = data.adapters.filter((adapter) => adapter.concept === concept.name);
  const line = differing(overview.axis, own);
  const base = data.bases.filter((one) => one.concept === concept.name);
  const drawn = line.map((adapter) => adapter.drawings[overview.kind] ?? []).find((entries) => entries.length) ?? [];
  const key = drawn.length ? pictureKey(drawn[overview.place % drawn.length]) : null;
  const entryOf = (entries) => entries?.find((entry) => pictureKey(entry) === key && entry[0] !== null);
  const at = levels.map((level) => line.find((adapter) => valueOf(adapter, overview.axis) === level));
  const rows = [{ name: "base", entries: base.flatMap((one) => one.drawings[overview.kind] ?? []) },
    ...at.filter(Boolean).map((adapter) => ({ name: adapterTitle(adapter), adapter, entries: adapter.drawings[overview.kind] ?? [] }))];
  const columns = new Map(drawn.map((entry) => [pictureKey(entry), entry]));
  const cell = (row) => {
    const entry = row && entryOf(row.entries);
    if (!entry) return make("td", {}, make("span", { class: "missing" }, row?.adapter?.error ? "failed" : "not drawn"));
    return make("td", {}, make("button", { type: "button", class: "cell", title: `${row.name}\n${data.prompts[entry[1]]}\nseed ${entry[2]}`,
      onclick: () => {
        choose({ concept: concept.name, kind: overview.kind });
        closeup({ columns, rows }, rows.indexOf(row), [...columns.keys()].indexOf(key));
      } }, picture(entry[0], `${concept.name}, ${row.name}: ${data.prompts[entry[1]]}`, cellSize())));
  };
  const reference = concept.references.find((id) => id !== null);
  const head = make("th", { scope: "row" }, concept.name);
  return make("tr", {}, head,
    make("td", {}, reference === undefined ? "–" : picture(reference, `reference of ${concept.name}`, cellSize())),
    cell(rows[0]), at.map((adapter) => (adapter ? cell(rows.find((row) => row.adapter === adapter)) : make("td", {}, "–"))));
}

function drawGlance() {
  const axes = Object.keys(AXES).filter((axis) => valuesOf(axis, data.adapters).length > 1);
  const levels = valuesOf(overview.axis, data.adapters);
  const change = (what) => (value) => {
    overview[what] = value;
    keepFocus(drawGlance);
  };
  const most = Math.max(0, ...data.adapters.map((adapter) => adapter.drawings[overview.kind]?.length ?? 0));
  into("glance-tools",
    axes.length > 1 && segments("Columns", axes.map((axis) => [axis, AXES[axis]]), overview.axis, change("axis")),
    data.kinds.length > 1 && segments("Of", data.kinds.map((kind) => [kind, KINDS[kind] ?? kind]), overview.kind, change("kind")),
    most > 1 && picker("Picture", Array.from({ length: most }, (_, place) => [String(place), `${place + 1} of ${most}`]),
      String(overview.place % most), (value) => change("place")(Number(value)), "glance picture"));
  const drawn = concepts.filter((concept) => data.adapters.some((adapter) => adapter.concept === concept.name));
  if (!drawn.length || !overview.kind) return into("glance-wall", empty("Nothing was drawn."));
  const categories = [...new Set(drawn.map((concept) => concept.category ?? ""))];
  into("glance-wall", make("table", { class: "glance", style: `--cell:${cellSize()}px` },
    make("thead", {}, make("tr", {}, ["Concept", "Reference", "Base", ...levels.map((level) => axisLabel(overview.axis, level))]
      .map((text) => make("th", { scope: "col" }, text)))),
    categories.map((category) => make("tbody", {},
      categories.length > 1 ? make("tr", { class: "category" }, make("th", { colspan: levels.length + 3, scope: "rowgroup" }, plain(category || "no category"))) : null,
      drawn.filter((concept) => (concept.category ?? "") === category).map((concept) => glanceRow(concept, levels))))));
}
watch(drawGlance);
