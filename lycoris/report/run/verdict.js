// The verdict on a concept in three sentences, what to do with the adapter, and how to read the rest of the page.
const reading = () => element("details", { class: "reading" }, element("summary", {}, "How to read this page"),
  element("ul", {}, [
    "A score is a number that images get; five dimensions have scores. Fidelity: how close images are to the training images. "
      + "Controllability: how well they follow the prompt. Diversity: how much they vary. Preservation: what is left of the base. "
      + "Quality: how close they are to the training images as a set.",
    "Brackets are 95 % intervals: with other prompts and seeds the number would lie there about 19 times in 20.",
    "What counts is the difference to the base on the same prompts and seeds. “Better” and “worse” are about the interval of "
      + "that difference, never about the interval of the score itself, which is wider: if 0 is inside, no difference is shown.",
    "A difference below a hundredth of its metric's scale (for a similarity: below .01) is grey: it can be shown and still be too small to matter.",
    "When a concept is learned, fidelity rises and controllability falls a little. That is normal.",
    "Star: the adapter to take. It beats the base in fidelity in every encoder, and of those that do it has the best mean over all dimensions, so "
      + "another may lead in fidelity alone.",
    "Captions none, all, adjusted, sentence are ways to write the training captions: the trigger alone, with all tags, with the "
      + "tags that do not belong to the concept, as a sentence.",
  ].map((text) => element("li", {}, text))));

section("verdict", () => {
  const verdict = selectedConcept()?.verdict;
  if (!verdict) return [empty("No adapter was finished for this concept."), reading()];
  const adapter = data.adapters.find((one) => one.best && one.concept === verdict.concept && !one.error);
  return [
    verdict.cautions.length ? element("p", { class: "remark" }, element("b", {}, "This says little yet"), ": ",
      codeSpans(verdict.cautions.join("; ")), ".") : null,
    element("div", { class: `verdict ${verdict.outcome === "learned" ? "good" : ""}` },
      verdict.sentences.map((sentence) => element("p", {}, codeSpans(sentence)))),
    adapter?.champion && (concepts.length > 1 || data.manySeeds) ? element("p", { class: "fine rule" }, codeSpans(
      `Chosen for ${verdict.concept} alone, as \`lycoris pull\` does. \`lycoris recommend\` takes one setting for all concepts and seeds, `
      + "the best mean over them, and says where it differs from this choice.")) : null,
    adapter ? usage(verdict, adapter) : null,
    reading(),
  ];
});
