// What was watched of the trainings: the loss by noise, the validation loss, and samples drawn on the way.
const watchedSort = { column: null, up: true };
const QUARTERS = ["nearly clean", "quarter 2", "quarter 3", "nearly noise"];
const level = (value) => number(value, value ? Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))) : 2);
const lowest = (adapter) => adapter.validation.reduce((best, point) => (best && best[1] <= point[1] ? best : point), null);

const watchedColumns = [
  { label: "Adapter", value: (row) => adapterTitle(row), cell: (row) => named(row).concat(` · ${row.captions ?? ""}`,
    data.manySeeds ? ` · seed ${row.seed}` : "") },
  ...QUARTERS.map((label, place) => ({ label, numeric: true, title: "mean loss of the last tenth of the run, by noise",
    value: (row) => row.levels[place], cell: (row) => level(row.levels[place]) })),
  data.adapters.some((adapter) => adapter.validation.length) && [
    { label: "Held out, first", numeric: true, title: "validation loss when first measured",
      value: (row) => row.validation[0]?.[1], cell: (row) => level(row.validation[0]?.[1]) },
    { label: "lowest", numeric: true, title: "the lowest validation loss, and after which step",
      value: (row) => lowest(row)?.[1],
      cell: (row) => (lowest(row) ? `${level(lowest(row)[1])}, step ${lowest(row)[0]}` : "–") },
    { label: "last", numeric: true, title: "validation loss when last measured",
      value: (row) => row.validation.at(-1)?.[1], cell: (row) => level(row.validation.at(-1)?.[1]) }],
].flat().filter(Boolean);

function drawWatched() {
  const adapters = chosenAdapters().filter((adapter) => adapter.levels.length || adapter.validation.length);
  into("watched", adapters.length ? make("p", { class: "fine" },
    "The loss of the last tenth of each run by how noisy its pictures were, in quarters of the way to pure noise",
    adapters.some((adapter) => adapter.validation.length) ? "; and the loss on pictures held out from training." : ".") : null,
  adapters.length ? make("div", { class: "scroll" }, sortable(watchedColumns, adapters, watchedSort)) : null);
  const sampled = chosenAdapters().filter((adapter) => adapter.samples.length);
  into("samples", sampled.length ? make("h3", {}, "Drawn while they were trained") : null,
    sampled.map((adapter) => make("figure", {}, make("figcaption", {}, key(adapter), adapterTitle(adapter)),
      make("div", { class: "scroll" }, make("table", { class: "samples" },
        make("thead", {}, make("tr", {}, adapter.samples.map(({ count }) =>
          make("th", { scope: "col" }, `${adapter.unit ?? "step"} ${count}`)))),
        make("tbody", {}, adapter.samples[0].pictures.map((_, row) => make("tr", {},
          adapter.samples.map(({ count, pictures }) => make("td", {}, pictures[row] === null ? "–"
            : picture(pictures[row], `${adapterTitle(adapter)}, sample ${row + 1} after ${count}`, 64)))))))))));
}
