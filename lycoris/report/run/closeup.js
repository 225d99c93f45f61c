// One image enlarged, beside the base's with the same prompt and seed and a reference.
const dialog = document.getElementById("closeup");
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

// A grid has `columns`, a map by image key, and `rows` of {name, adapter, entries}; the row without an adapter is the base's.
function openCloseup(grid, row, column) {
  const columns = [...grid.columns.keys()];
  const entryOf = (one) => one?.entries.find((entry) => imageKey(entry) === columns[column]);
  const current = grid.rows[row];
  const entry = entryOf(current);
  const base = current.adapter ? entryOf(grid.rows.find((one) => !one.adapter)) : null;
  const reference = selectedConcept()?.references.find((id) => id !== null);
  const [, prompt, seed] = entry;
  const shown = [
    reference !== undefined && { id: reference, name: "A reference" },
    base && base[0] !== null && { id: base[0], name: "Base" },
    { id: entry[0], name: current.adapter ? current.name : "Base", own: true },
  ].filter(Boolean);
  const width = Math.max(64, Math.min(448, (innerWidth - 80) / shown.length - 16));
  const enlarged = (id) => {
    const [, natural, height] = data.images[id];
    const side = Math.max(natural, height);
    return side <= MAX_EXACT_SIDE ? Math.floor(Math.max(1, width / side)) * natural
      : Math.min(width, (natural * (innerHeight - 240)) / height);
  };
  const go = (down, right) => {
    for (let r = row + down, c = column + right; grid.rows[r] && columns[c]; r += down, c += right) {
      const next = grid.rows[r].entries.find((one) => imageKey(one) === columns[c]);
      if (next && next[0] !== null) return openCloseup(grid, r, c);
    }
  };
  dialog.onkeydown = (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    go(...step);
  };
  const turn = (text, label, ...step) =>
    element("button", { type: "button", "aria-label": label, title: label, onclick: () => go(...step) }, text);
  dialog.replaceChildren(
    element("div", { class: "sides" }, shown.map(({ id, name, own }) => element("figure", { class: own ? "own" : null },
      image(id, name, enlarged(id)), element("figcaption", {}, name)))),
    element("p", { class: "prompt-text" }, data.prompts[prompt] || "(empty prompt)"),
    element("p", { class: "sub" }, `${promptTypeTitle(view.promptType)} · seed ${seed}`,
      runNote(current.adapter)),
    element("div", { class: "turns" },
      turn("←", "previous seed", 0, -1), turn("→", "next seed", 0, 1),
      turn("↑", "model above", -1, 0), turn("↓", "model below", 1, 0),
      element("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close")));
  if (!dialog.open) dialog.showModal();
  dialog.focus();
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
