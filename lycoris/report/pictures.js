// The wall of pictures: a row a model, a column a prompt and seed.

// Tag strategies that were drawn with the same prompts and seeds share one grid.
function blocks() {
  const found = new Map();
  const own = compared();
  for (const captions of data.captions.filter((name) => view.compare || !view.captions || name === view.captions)) {
    const base = data.bases.find((one) => one.concept === view.concept && one.captions === captions)
      ?? data.bases.find((one) => one.concept === view.concept && !one.captions);
    const adapters = own.filter((adapter) => adapter.captions === captions);
    if (view.compare && !adapters.length) continue;
    const rows = [base, ...adapters].map((one) => one?.drawings?.[view.kind] ?? []);
    const columns = new Map(rows.flat().map((entry) => [pictureKey(entry), entry]));
    if (!adapters.length && !columns.size) continue;
    const name = [...columns.keys()].join(" ");
    const block = found.get(name) ?? { captions: [], columns, base, adapters: [] };
    block.captions.push(captions);
    block.adapters.push(...adapters);
    found.set(name, block);
  }
  return [...found.values()];
}

// The score that says most about pictures of this prompt type.
const TELLS = { train: "fidelity", trigger: "fidelity", alter: "controllability", style: "preservation" };
function tellingMeasure(adapter) {
  const own = data.measures.filter((measure) => measure.kind === view.kind && adapter.scores[measure.name]);
  return own.find((measure) => measure.dimension === TELLS[view.kind]) ?? own[0];
}
function gain(adapter) {
  const measure = tellingMeasure(adapter);
  const score = measure && adapter.scores[measure.name];
  return (score ? effect(score, measure).value ?? score.value : -Infinity) * (measure?.higher_is_better === false ? -1 : 1);
}
function ordered(adapters) {
  const place = (list, name) => list.indexOf(name);
  const algorithm = (a) => place([...titleOf.keys()], a.algorithm);
  const captions = (a) => place(data.captions, a.captions);
  const by = {
    algorithm: (a, b) => algorithm(a) - algorithm(b) || captions(a) - captions(b),
    captions: (a, b) => captions(a) - captions(b) || algorithm(a) - algorithm(b),
    score: (a, b) => (a.error ? 1 : 0) - (b.error ? 1 : 0) || gain(b) - gain(a),
  }[view.order];
  const stage = (a, b) => stageNumber(stageOf(a)) - stageNumber(stageOf(b)) || 0;
  return [...adapters].sort((a, b) => by(a, b) || stage(a, b));
}

function adapterHead(adapter) {
  const measure = tellingMeasure(adapter);
  const score = measure && adapter.scores[measure.name];
  const shown = score && (score.difference !== undefined && !measure.from_base
    ? number(score.difference, measure.digits, true) : number(score.value, measure.digits));
  return make("th", { scope: "row", class: "model" },
    make("span", { class: "name" }, key(adapter), algorithmTitle(adapter),
      adapter.champion ? make("span", { class: "star", title: "champion" }, "★") : null),
    make("span", { class: "sub" }, adapter.captions ?? "", data.manySeeds ? ` · seed ${adapter.seed}` : "",
      adapter.checkpoint ? ` · ${adapter.checkpoint}` : ""),
    score ? make("span", { class: `sub ${score.verdict}`, title: `${measure.name}, ${direction(measure)}` },
      `${measure.dimension} ${shown}`) : null);
}

function cells(columns, entries, name, rowPlace, block) {
  const own = new Map(entries.map((entry) => [pictureKey(entry), entry]));
  return [...columns.keys()].map((column, place) => {
    const entry = own.get(column);
    if (!entry) return make("td", {}, make("span", { class: "missing" }, "not drawn"));
    const [id, prompt, seed] = entry;
    if (id === null) return make("td", {}, make("span", { class: "missing" }, "unreadable"));
    return make("td", {}, make("button", {
      type: "button", class: "cell", title: `${data.prompts[prompt]}\nseed ${seed}`,
      tabindex: rowPlace === 0 && place === 0 ? "0" : "-1",
      onclick: () => closeup(block, rowPlace, place),
    }, picture(id, `${name}: ${data.prompts[prompt]}, seed ${seed}`, cellSize())));
  });
}

// Neighbouring columns of one prompt share its heading.
function promptHeads(columns) {
  const heads = [];
  for (const [, prompt] of columns.values()) {
    if (heads.length && heads.at(-1).prompt === prompt) heads.at(-1).span += 1;
    else heads.push({ prompt, span: 1 });
  }
  return heads.map(({ prompt, span }) => make("th", { colspan: span, class: "prompt", scope: "colgroup" },
    make("span", { style: `max-width:${Math.max(1, span) * (cellSize() + 4) - 8}px` }, data.prompts[prompt])));
}

function grid(block) {
  const { columns } = block;
  block.rows = [
    ...(block.base?.drawings?.[view.kind]?.length
      ? [{ name: "base", entries: block.base.drawings[view.kind] }] : []),
    ...ordered(block.adapters).map((adapter) => ({
      name: adapterTitle(adapter), adapter, entries: adapter.drawings[view.kind] ?? [] })),
  ];
  const table = make("table", { class: "pictures", style: `--cell:${cellSize()}px` },
    make("thead", {},
      make("tr", {}, make("td", { class: "corner" }), promptHeads(columns)),
      make("tr", { class: "seeds" }, make("th", { scope: "row", class: "corner" }, "seed"),
        [...columns.values()].map(([, , seed]) => make("th", { scope: "col" }, String(seed ?? ""))))),
    make("tbody", {}, block.rows.map((row, place) => make("tr", { class: row.adapter ? null : "base" },
      row.adapter ? adapterHead(row.adapter) : make("th", { scope: "row", class: "model" },
        make("span", { class: "name" }, "Base"), make("span", { class: "sub" }, "untouched")),
      row.adapter?.error
        ? make("td", { colspan: Math.max(1, columns.size), class: "failed" }, `Failed: ${row.adapter.error}`)
        : row.entries.length ? cells(columns, row.entries, row.name, place, block)
          : make("td", { colspan: Math.max(1, columns.size), class: "failed" }, "No pictures drawn.")))));
  table.addEventListener("keydown", walk);
  return table;
}

// One stop for the tab key; the arrows go from picture to picture.
function walk(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
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

function drawPictures() {
  for (const node of document.querySelectorAll(".of")) node.textContent = view.concept ?? "no concept";
  into("picture-tools",
    data.kinds.length > 1 && segments("Prompts", data.kinds.map((kind) => [kind, KINDS[kind] ?? kind]), view.kind,
      (kind) => choose({ kind })),
    compareTools(),
    !view.compare && data.captions.length > 1 && segments("Captions", [["", "every"],
      ...data.captions.filter(Boolean).map((name) => [name, name])], view.captions, (captions) => choose({ captions })),
    picker("Rows by", [["algorithm", "algorithm"], ["captions", "captions"], ["score", "score"]], view.order,
      (order) => choose({ order })),
    segments("Size", [[1, "S"], [2, "M"], [3, "L"]], view.zoom, (zoom) => choose({ zoom })));
  drawGrid();
}

function drawGrid() {
  const references = (chosenConcept()?.references ?? []).filter((id) => id !== null);
  const found = blocks();
  into("grid",
    references.length ? make("div", { class: "references" },
      make("div", { class: "model" }, make("span", { class: "name" }, "References"),
        make("span", { class: "sub" }, `${references.length} pictures`)),
      make("div", { class: "strip" },
        references.map((id, place) => picture(id, `reference ${place + 1} of ${view.concept}`, cellSize())))) : null,
    found.map((block) => make("div", {},
      found.length > 1 ? make("h3", {}, `Captions ${block.captions.map((name) => `“${name}”`).join(", ")}`) : null,
      make("div", { class: "scroll" }, grid(block)))),
    found.length ? null : empty("Nothing was drawn for this concept."));
}
