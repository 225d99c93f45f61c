// One picture large, beside the base's with the same prompt and seed and a reference.
const dialog = document.getElementById("closeup");

function closeup(block, row, column) {
  const columns = [...block.columns.keys()];
  const entryOf = (one) => one?.entries.find((entry) => pictureKey(entry) === columns[column]);
  const current = block.rows[row];
  const entry = entryOf(current);
  const base = current.adapter ? entryOf(block.rows.find((one) => !one.adapter)) : null;
  const reference = chosenConcept()?.references.find((id) => id !== null);
  const [, prompt, seed] = entry;
  const shown = [
    reference !== undefined && { id: reference, name: "A reference" },
    base && base[0] !== null && { id: base[0], name: "Base" },
    { id: entry[0], name: current.adapter ? current.name : "Base", own: true },
  ].filter(Boolean);
  const width = Math.max(64, Math.min(448, (innerWidth - 80) / shown.length - 16));
  const large = (id) => {
    const side = Math.max(data.pictures[id][1], data.pictures[id][2]);
    return side <= 128 ? Math.floor(Math.max(1, width / side)) * data.pictures[id][1]
      : Math.min(width, (data.pictures[id][1] * (innerHeight - 240)) / data.pictures[id][2]);
  };
  const go = (down, right) => {
    for (let r = row + down, c = column + right; block.rows[r] && columns[c]; r += down, c += right) {
      const next = block.rows[r].entries.find((one) => pictureKey(one) === columns[c]);
      if (next && next[0] !== null) return closeup(block, r, c);
    }
  };
  dialog.onkeydown = (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    go(...step);
  };
  const turn = (text, label, ...step) =>
    make("button", { type: "button", "aria-label": label, title: label, onclick: () => go(...step) }, text);
  dialog.replaceChildren(
    make("div", { class: "sides" }, shown.map(({ id, name, own }) => make("figure", { class: own ? "own" : null },
      picture(id, name, large(id)), make("figcaption", {}, name)))),
    make("p", { class: "said" }, data.prompts[prompt] || "(empty prompt)"),
    make("p", { class: "sub" }, `${KINDS[view.kind] ?? view.kind} · seed ${seed}`, current.adapter?.run_id ? [" · run ", runLink(current.adapter)] : null),
    make("div", { class: "turns" },
      turn("←", "previous seed", 0, -1), turn("→", "next seed", 0, 1),
      turn("↑", "model above", -1, 0), turn("↓", "model below", 1, 0),
      make("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close")));
  if (!dialog.open) dialog.showModal();
  dialog.focus();
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
