// The table of all adapters: what each was trained on, what it costs, its run and its settings.
const skipped = (row) => Object.values(row.skippedImages ?? {});
// One line for each setting; those of a group as `training.steps: 20`.
const settingLines = (settings) => Object.entries(settings).flatMap(([name, value]) =>
  (value !== null && typeof value === "object" && !Array.isArray(value)
    ? settingLines(value).map((line) => `${name}.${line}`) : [`${name}: ${Array.isArray(value) ? value.join(", ") : value}`]));
const columns = [
  { label: "Concept", value: (row) => row.concept },
  { label: "Algorithm", value: algorithmTitle, cell: nameCell },
  { label: "Captions", value: (row) => row.captions },
  { label: "Seed", numeric: true, value: (row) => row.seed },
  data.checkpoints && { label: "Checkpoint", value: checkpointOf },
  { label: "Images", numeric: true, value: (row) => row.trainingImages },
  data.adapters.some((row) => skipped(row).length) && { label: "Skipped", numeric: true,
    title: "images that could not be used", value: (row) => skipped(row).length,
    cell: (row) => (skipped(row).length
      ? element("span", { class: "worse", title: skipped(row).join("\n") }, skipped(row).length) : "0") },
  { label: "Parameters", numeric: true, value: (row) => row.parameters,
    cell: (row) => row.parameters?.toLocaleString("en") ?? "–" },
  { label: "File", numeric: true, value: (row) => row.bytes,
    cell: (row) => element("span", { title: row.file }, row.bytes ? bytes(row.bytes) : "–") },
  { label: "Training, s", numeric: true, value: (row) => row.seconds?.train,
    cell: (row) => number(row.seconds?.train, 1) },
  { label: "Generation, s", numeric: true, value: (row) => row.seconds?.draw,
    cell: (row) => number(row.seconds?.draw, 1) },
  { label: "Outcome", value: (row) => (row.error ? "failed" : row.cached ? "cached" : "trained"),
    cell: (row) => (row.error ? element("span", { class: "worse", title: row.error }, "failed")
      : row.cached ? "cached" : "trained") },
  data.tracking?.runs && { label: "Run", value: (row) => row.run_id, cell: (row) => runLink(row) },
  { label: "Settings", value: (row) => JSON.stringify(row.settings ?? {}),
    cell: (row) => (Object.keys(row.settings ?? {}).length || row.file
      ? element("details", {}, element("summary", {}, "settings"),
        element("code", {}, settingLines({ ...row.settings, file: row.file, run: row.run_id }).join("\n"))) : "–") },
].filter(Boolean);

into("adapters-body", data.adapters.length
  ? region("All adapters", {}, sortable(columns, [...data.adapters], unsorted())) : empty("No adapter was trained."));
