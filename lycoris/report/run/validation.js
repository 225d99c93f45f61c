// The final loss by noise level, and the validation loss.
const sort = unsorted();
const NOISE_QUARTERS = ["nearly clean", "quarter 2", "quarter 3", "nearly noise"];
const threeDigits = (value) => number(value, value ? Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))) : 2);
const lowest = (adapter) => adapter.validation.reduce((best, point) => (best && best[1] <= point[1] ? best : point), null);
const columns = [
  { label: "Adapter", value: (row) => adapterTitle(row), cell: (row) => [adapterKey(row), adapterTitle(row), row.champion ? star() : null] },
  ...NOISE_QUARTERS.map((label, index) => ({ label, numeric: true, title: "mean loss of the last tenth of the run at this noise level",
    value: (row) => row.lossByNoise[index], cell: (row) => threeDigits(row.lossByNoise[index]) })),
  data.adapters.some((adapter) => adapter.validation.length) && [
    { label: "Validation, first", numeric: true, title: "the first validation loss",
      value: (row) => row.validation[0]?.[1], cell: (row) => threeDigits(row.validation[0]?.[1]) },
    { label: "lowest", numeric: true, title: "the lowest validation loss, and its step",
      value: (row) => lowest(row)?.[1],
      cell: (row) => (lowest(row) ? `${threeDigits(lowest(row)[1])}, step ${lowest(row)[0]}` : "–") },
    { label: "last", numeric: true, title: "the last validation loss",
      value: (row) => row.validation.at(-1)?.[1], cell: (row) => threeDigits(row.validation.at(-1)?.[1]) }],
].flat().filter(Boolean);

section("validation", () => {
  const adapters = selectedAdapters().filter((adapter) => adapter.lossByNoise.length || adapter.validation.length);
  return adapters.length ? region("Loss by noise level", {}, sortable(columns, adapters, sort)) : null;
});
