// The scores of a concept in words: who leads each dimension, and whether the lead is shown.
section("scores", () => {
  const summaries = selectedConcept()?.summaries ?? [];
  if (!summaries.length) return empty("No scores were computed for this concept.");
  return element("div", { class: "dimensions" }, summaries.map(({ dimension, measure: name, sentence, counts }) => {
    const measure = measureByName.get(name);
    const tally = selectedAdapters().length > 1 ? verdictOptions.filter(([verdict]) => counts[verdict]) : [];
    return element("article", {},
      element("h3", {}, spaced(dimension)),
      element("p", { class: "sub" }, measure.name, " ", element("span", { class: "nowrap" }, direction(measure))),
      sentence ? element("p", {}, codeSpans(sentence.lead), " ",
        element("b", { class: `nowrap ${sentence.verdict}`, title: runTitle(sentence) }, `${sentence.number} ${sentence.interval}`),
        " ", codeSpans(sentence.tail), runNote(sentence)) : null,
      tally.length ? element("p", { class: "tally" }, tally.map(([verdict, text]) =>
        element("span", { class: verdict }, `${counts[verdict]} ${text}`))) : null);
  }));
});
