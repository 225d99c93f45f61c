// What plots share: the numbers on an axis, points that answer to mouse and keyboard, and the pictures behind them.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
  return { values: found, digits: step < 1e-6 ? null : Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// Points of a plot: one stop for the tab key, arrows go on; hover and focus show what is behind one, a click holds it.
function explored(nodes, show) {
  let held = null;
  nodes.forEach((node, place) => {
    node.setAttribute("tabindex", place ? "-1" : "0");
    node.addEventListener("mouseenter", () => { if (held === null) show(place); });
    node.addEventListener("focus", () => show(place));
    node.addEventListener("click", () => {
      held = held === place ? null : place;
      nodes.forEach((one, other) => one.classList.toggle("held", other === held));
      node.focus();
      show(place);
    });
    node.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      const next = event.key === "Home" ? nodes[0] : event.key === "End" ? nodes.at(-1) : step && nodes[place + step];
      if (!next) return;
      event.preventDefault();
      node.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  });
}

// The pictures behind a point: the same prompt and seed of every adapter of a concept, and of the base.
function behind(adapter, kinds) {
  const kind = [...kinds, ...data.kinds].find((name) => adapter.drawings[name]?.some(([id]) => id !== null));
  const entry = kind && adapter.drawings[kind].find(([id]) => id !== null);
  if (!entry) return [empty("No picture was drawn.")];
  const base = data.bases.filter((one) => one.concept === adapter.concept).flatMap((one) => one.drawings[kind] ?? [])
    .find((one) => pictureKey(one) === pictureKey(entry) && one[0] !== null);
  return [make("div", { class: "sides" },
    base ? make("figure", {}, picture(base[0], "the base's", 128), make("figcaption", {}, "Base")) : null,
    make("figure", { class: "own" }, picture(entry[0], `${adapterTitle(adapter)}: ${data.prompts[entry[1]]}`, 128),
      make("figcaption", {}, algorithmTitle(adapter)))),
  make("p", { class: "sub" }, `${data.prompts[entry[1]] || "(empty prompt)"} · seed ${entry[2]}`)];
}
