// The grid of images: a row is a model, a column a prompt and seed.

// Caption strategies whose images share prompts and seeds share one grid.
function imageGrids() {
  const grids = new Map();
  const compared = comparedAdapters();
  for (const captions of data.captions.filter((name) => view.compare || !view.captions || name === view.captions)) {
    const base = data.bases.find((one) => one.concept === view.concept && one.captions === captions)
      ?? data.bases.find((one) => one.concept === view.concept && !one.captions);
    const adapters = compared.filter((adapter) => adapter.captions === captions);
    if (view.compare && !adapters.length) continue;
    const rows = [base, ...adapters].map((one) => one?.images?.[view.promptType] ?? []);
    const columns = new Map(rows.flat().map((entry) => [imageKey(entry), entry]));
    if (!adapters.length && !columns.size) continue;
    const name = [...columns.keys()].join(" ");
    const grid = grids.get(name) ?? { captions: [], columns, base, adapters: [] };
    grid.captions.push(captions);
    grid.adapters.push(...adapters);
    grids.set(name, grid);
  }
  return [...grids.values()];
}

function adapterHead(adapter) {
  const measure = decisiveMeasure(adapter);
  const score = measure && adapter.scores[measure.name];
  const shown = score && (score.difference !== undefined && !measure.from_base
    ? number(score.difference, measure.digits, true) : number(score.value, measure.digits));
  return element("th", { scope: "row", class: "model" },
    element("span", { class: "name" }, nameCell(adapter)),
    element("span", { class: "sub" }, adapter.captions ?? "", data.manySeeds ? ` · seed ${adapter.seed}` : "",
      adapter.checkpoint ? ` · ${adapter.checkpoint}` : ""),
    score ? element("span", { class: `sub ${score.verdict}`, title: `${measure.name}, ${direction(measure)}` },
      `${measure.dimension} ${shown}`) : null);
}

function imageCells(grid, row, rowIndex) {
  const entries = new Map(row.entries.map((entry) => [imageKey(entry), entry]));
  return [...grid.columns.keys()].map((column, index) => {
    const entry = entries.get(column);
    if (!entry) return element("td", {}, element("span", { class: "missing" }, "no image"));
    const [id, prompt, seed] = entry;
    if (id === null) return element("td", {}, element("span", { class: "missing" }, "unreadable"));
    return element("td", {}, element("button", {
      type: "button", class: "cell", title: `${data.prompts[prompt]}\nseed ${seed}`,
      tabindex: rowIndex === 0 && index === 0 ? "0" : "-1",
      onclick: () => openCloseup(grid, rowIndex, index),
    }, image(id, `${row.name}: ${data.prompts[prompt]}, seed ${seed}`, cellSize())));
  });
}

// Neighboring columns of one prompt share its heading.
function promptHeads(columns) {
  const heads = [];
  for (const [, prompt] of columns.values()) {
    if (heads.length && heads.at(-1).prompt === prompt) heads.at(-1).span += 1;
    else heads.push({ prompt, span: 1 });
  }
  return heads.map(({ prompt, span }) => element("th", { colspan: span, class: "prompt", scope: "colgroup" },
    element("span", { style: `max-width:${Math.max(1, span) * (cellSize() + 4) - 8}px` }, data.prompts[prompt])));
}

function gridTable(grid) {
  const { columns } = grid;
  grid.rows = [
    ...(grid.base?.images?.[view.promptType]?.length
      ? [{ name: "base", entries: grid.base.images[view.promptType] }] : []),
    ...inChosenOrder(grid.adapters).map((adapter) => ({
      name: adapterTitle(adapter), adapter, entries: adapter.images[view.promptType] ?? [] })),
  ];
  const note = (text) => element("td", { colspan: Math.max(1, columns.size), class: "failed" }, text);
  const table = element("table", { class: "images", style: `--cell:${cellSize()}px` },
    element("thead", {},
      element("tr", {}, element("td", { class: "corner" }), promptHeads(columns)),
      element("tr", { class: "seeds" }, element("th", { scope: "row", class: "corner" }, "seed"),
        [...columns.values()].map(([, , seed]) => element("th", { scope: "col" }, String(seed ?? ""))))),
    element("tbody", {}, grid.rows.map((row, index) => element("tr", { class: row.adapter ? null : "base" },
      row.adapter ? adapterHead(row.adapter) : element("th", { scope: "row", class: "model" },
        element("span", { class: "name" }, "Base"), element("span", { class: "sub" }, "without an adapter")),
      row.adapter?.error ? note(`Failed: ${row.adapter.error}`)
        : row.entries.length ? imageCells(grid, row, index) : note("No images were generated.")))));
  table.addEventListener("keydown", moveFocus);
  return table;
}

// The grid is one stop for the tab key; the arrow keys go from image to image.
function moveFocus(event) {
  const step = ARROWS[event.key];
  const cell = event.target.closest?.("td");
  if (!step || !cell) return;
  const row = cell.parentElement;
  const rows = [...row.parentElement.rows];
  const next = rows[rows.indexOf(row) + step[0]]?.cells[cell.cellIndex + step[1]]?.querySelector("button");
  if (!next) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function comparisonControls() {
  const offered = Object.keys(AXES).filter((axis) => valuesOf(axis).length > 1);
  if (view.compare && !offered.includes(view.compare)) view.compare = "";
  const others = view.compare ? offered.filter((axis) => axis !== view.compare && axis !== "checkpoint") : [];
  return [
    offered.length > 1 && buttons("Compare", [["", "everything"], ...offered.map((axis) => [axis, AXES[axis]])], view.compare,
      (compare) => choose({ compare })),
    ...others.map((axis) => menu(`with ${axis}`, valuesOf(axis).map((value) => [String(value), axisLabel(axis, value)]),
      String(fixedValue(axis)), (text) => choose({ fixed: { ...view.fixed,
        [axis]: valuesOf(axis).find((value) => String(value) === text) } }), `fixed ${axis}`)),
    view.compare !== "checkpoint" && checkpoints().length > 1 && slider(),
  ];
}

// The slider redraws the grid only, so that it keeps the pointer while it is dragged.
function slider() {
  const all = checkpoints();
  const output = element("output", {}, selectedCheckpoint());
  const input = element("input", { type: "range", min: 0, max: all.length - 1, step: 1, value: all.indexOf(selectedCheckpoint()),
    "data-name": "Training", "aria-valuetext": selectedCheckpoint(), oninput: (event) => {
      view.checkpoint = all[Number(event.target.value)];
      event.target.setAttribute("aria-valuetext", view.checkpoint);
      output.textContent = view.checkpoint;
      drawGrids();
    } });
  return element("label", { class: "pick slide" }, "Training", input, output);
}

function drawGrids() {
  const references = (selectedConcept()?.references ?? []).filter((id) => id !== null);
  const grids = imageGrids();
  into("images-body",
    references.length ? element("div", { class: "references" },
      element("div", { class: "model" }, element("span", { class: "name" }, "References"),
        element("span", { class: "sub" }, counted(references.length, "image"))),
      element("div", { class: "strip" },
        references.map((id, index) => image(id, `reference ${index + 1} of ${view.concept}`, cellSize())))) : null,
    grids.map((grid) => element("div", {},
      grids.length > 1 ? element("h3", {}, `Captions ${grid.captions.map((name) => `“${name}”`).join(", ")}`) : null,
      element("div", { class: "scroll" }, gridTable(grid)))),
    grids.length ? null : empty("No images were generated for this concept."));
}

watch(() => {
  into("images-tools",
    data.promptTypes.length > 1 && buttons("Prompts", data.promptTypes.map((name) => [name, promptTypeTitle(name)]), view.promptType,
      (promptType) => choose({ promptType })),
    comparisonControls(),
    !view.compare && data.captions.length > 1 && buttons("Captions", [["", "all strategies"],
      ...data.captions.filter(Boolean).map((name) => [name, name])], view.captions, (captions) => choose({ captions })),
    menu("Rows by", [["algorithm", "algorithm"], ["captions", "captions"], ["score", "score"]], view.order,
      (order) => choose({ order })),
    buttons("Size", [[1, "S"], [2, "M"], [3, "L"]], view.zoom, (zoom) => choose({ zoom })));
  drawGrids();
});
