// Images of the page: by number, and with the base's image of the same prompt and seed.
const MAX_EXACT_SIDE = 128; // Smaller images are shown pixel by pixel, at whole multiples of their size.
const cellUnit = data.images.some(([, width, height]) => Math.max(width, height) <= MAX_EXACT_SIDE) ? 64 : 80;
const cellSize = () => cellUnit * view.zoom;
const imageKey = ([, prompt, seed]) => `${prompt}/${seed}`;

function image(id, alt, width) {
  if (id === null || !data.images[id]) return element("span", { class: "missing" }, "unreadable");
  const [source, natural, height] = data.images[id];
  const exact = Math.max(natural, height) <= MAX_EXACT_SIDE;
  const shown = exact ? natural * Math.max(1, Math.round(width / natural)) : width;
  return element("img", {
    src: source, alt, width: shown, height: Math.round((shown * height) / natural), class: exact ? "crisp" : null,
  });
}

// One image of an adapter beside the base's with the same prompt and seed; of the first prompt type that has any.
function exampleImages(adapter, promptTypes) {
  const type = [...promptTypes, ...data.promptTypes].find((name) => adapter.images[name]?.some(([id]) => id !== null));
  const entry = type && adapter.images[type].find(([id]) => id !== null);
  if (!entry) return [empty("No image was generated.")];
  const base = data.bases.filter((one) => one.concept === adapter.concept).flatMap((one) => one.images[type] ?? [])
    .find((one) => imageKey(one) === imageKey(entry) && one[0] !== null);
  return [element("div", { class: "sides" },
    base ? element("figure", {}, image(base[0], "image of the base", 128), element("figcaption", {}, "Base")) : null,
    element("figure", { class: "own" }, image(entry[0], `${adapterTitle(adapter)}: ${data.prompts[entry[1]]}`, 128),
      element("figcaption", {}, algorithmTitle(adapter)))),
  element("p", { class: "sub" }, `${data.prompts[entry[1]] || "(empty prompt)"} · seed ${entry[2]}`)];
}
