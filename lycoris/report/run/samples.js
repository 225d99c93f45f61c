// Images generated during training.
section("samples", () => {
  const adapters = selectedAdapters().filter((adapter) => adapter.samples.length);
  return adapters.length ? adapters.map((adapter) => element("figure", {}, element("figcaption", {}, adapterKey(adapter), adapterTitle(adapter)),
    element("div", { class: "scroll" }, element("table", { class: "samples" },
      element("thead", {}, element("tr", {}, adapter.samples.map((sample) =>
        element("th", { scope: "col" }, `${adapter.unit ?? "step"} ${sample.count}`)))),
      element("tbody", {}, adapter.samples[0].images.map((_, row) => element("tr", {},
        adapter.samples.map((sample) => element("td", {}, sample.images[row] === null ? "–"
          : image(sample.images[row], `${adapterTitle(adapter)}, image ${row + 1} after ${sample.count}`, 64)))))))))) : null;
});
