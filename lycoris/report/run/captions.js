// The captions of every reference under each strategy, with the concept's own tags struck out.
section("captions", () => {
  const concept = selectedConcept();
  const strategies = Object.entries(concept?.captions ?? {}).filter(([, captions]) => captions.length);
  if (!strategies.length) return empty("No captions were recorded.");
  const count = Math.max(...strategies.map(([, captions]) => captions.length));
  const parts = (caption) => (caption ?? []).flatMap(([part, isConceptTag], index) => [
    index ? ", " : null, isConceptTag ? element("s", { title: "belongs to the concept" }, part) : part]);
  const row = (_, index) => element("tr", {},
    element("td", {}, Number.isInteger(concept.references[index])
      ? image(concept.references[index], `reference ${index + 1}`, 64) : String(index + 1)),
    strategies.map(([name, captions]) => element("td", { "data-label": name }, parts(captions[index]))));
  const table = (rows) => element("table", { class: "captions" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Image"),
      strategies.map(([name]) => element("th", { scope: "col" }, element("code", {}, name))))),
    element("tbody", {}, rows));
  const rows = Array.from({ length: count }, row);
  return [
    element("p", { class: "lead" }, "Trigger ", element("code", {}, concept.trigger ?? "–"), ", a ",
      element("b", {}, concept.class_noun ?? concept.name),
      concept.description ? `; evaluation prompts describe it as “${concept.description}”` : "", ". ",
      !concept.conceptTags ? "No strategy here has tags, so the images were not tagged." : concept.conceptTags.length ? ["Tags that belong to it: ", concept.conceptTags.flatMap((tag, index) =>
        [index ? ", " : null, element("s", {}, spaced(tag))]), "."] : "No tag belongs to it."),
    table(rows.slice(0, 4)),
    rows.length > 4 ? element("details", {}, element("summary", {}, `${rows.length - 4} more`), table(rows.slice(4))) : null,
  ];
});
