// The cards at the top, the choice of a concept, and everything drawn once.
function drawCards() {
  into("cards", concepts.map((concept) => {
    const own = data.adapters.filter((adapter) => adapter.concept === concept.name);
    const champion = own.find((adapter) => adapter.champion && !adapter.error);
    const kind = champion && data.kinds.find((name) => champion.drawings[name]?.length);
    const drawn = (kind ? champion.drawings[kind] : []).map(([id]) => id).filter((id) => id !== null).slice(0, 3);
    const reference = concept.references.filter((id) => id !== null).slice(0, drawn.length ? 1 : 4);
    const finding = champion && concept.findings[0];
    const score = finding && champion.scores[finding.measure];
    return make("button", { type: "button", class: "card", "aria-pressed": String(concept.name === view.concept),
      "data-name": `card ${concept.name}`, onclick: () => choose({ concept: concept.name }) },
      make("span", { class: "faces" },
        reference.map((id) => picture(id, `reference of ${concept.name}`, 64)),
        drawn.length ? make("span", { class: "becomes", "aria-hidden": "true" }, "→") : null,
        drawn.map((id) => picture(id, `${concept.name} drawn by the champion`, 64))),
      make("span", { class: "name" }, concept.name,
        make("span", { class: "sub" }, champion
        ? [make("span", { class: "star" }, "★ "), adapterTitle(champion),
          score?.difference !== undefined ? make("span", { class: score.verdict },
            ` ${finding.dimension} ${number(score.difference, measureOf.get(finding.measure).digits, true)}`) : null]
        : "no champion")));
  }));
}

function drawConcepts() {
  const select = document.getElementById("concept");
  select.replaceChildren(...concepts.map((concept) =>
    make("option", { value: concept.name, selected: concept.name === view.concept }, concept.name)));
}
document.getElementById("concept").addEventListener("change", (event) => choose({ concept: event.target.value }));

[drawConcepts, drawCards, drawPictures, drawFindings, drawForest, drawTradeoff, drawLosses, drawWatched, drawCaptions].forEach(watch);
drawTable();
drawEfficiency();
into("adapter-table", data.adapters.length
  ? sortable(adapterColumns, [...data.adapters], { column: null, up: true }) : empty("No adapter was trained."));

// On paper nothing can be opened: what is folded in the answer and below a heading is shown, the settings of each adapter are not.
const folded = () => [...document.querySelectorAll("details:not([open])")].filter((one) => !one.closest("table"));
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = folded();
  for (const one of unfolded) one.open = true;
});
addEventListener("afterprint", () => { for (const one of unfolded) one.open = false; });
