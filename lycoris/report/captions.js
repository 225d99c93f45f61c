// The captions of every picture under each tag strategy, inherent tags struck out.
function drawCaptions() {
  const concept = chosenConcept();
  const strategies = Object.entries(concept?.captions ?? {}).filter(([, captions]) => captions.length);
  if (!strategies.length) return into("caption-table", empty("No captions were recorded."));
  const count = Math.max(...strategies.map(([, captions]) => captions.length));
  const written = (caption) => (caption ?? []).flatMap(([part, inherent], place) => [
    place ? ", " : null, inherent ? make("s", { title: "inherent to the concept" }, part) : part]);
  const row = (_, place) => make("tr", {},
    make("td", {}, Number.isInteger(concept.references[place])
      ? picture(concept.references[place], `reference ${place + 1}`, 64) : String(place + 1)),
    strategies.map(([name, captions]) => make("td", { "data-label": name }, written(captions[place]))));
  const table = (rows) => make("table", { class: "captions" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Picture"),
      strategies.map(([name]) => make("th", { scope: "col" }, make("code", {}, name))))),
    make("tbody", {}, rows));
  const rows = Array.from({ length: count }, row);
  into("caption-table",
    make("p", { class: "lead" }, "Trigger ", make("code", {}, concept.trigger ?? "–"), ", a ",
      make("b", {}, concept.class_noun ?? concept.name),
      concept.description ? `; for evaluation it is called “${concept.description}”` : "", ". ",
      concept.inherent.length ? ["Inherent to it: ", concept.inherent.flatMap((tag, place) =>
        [place ? ", " : null, make("s", {}, plain(tag))]), "."] : "No tag was found inherent to it."),
    table(rows.slice(0, 4)),
    rows.length > 4 ? make("details", {}, make("summary", {}, `${rows.length - 4} more`), table(rows.slice(4))) : null);
}
