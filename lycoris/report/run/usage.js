// What to do with an adapter: its file, its trigger, and a line for each program that reads it.
function usage(verdict, adapter) {
  const name = adapter.file?.split(/[\\/]/).at(-1) ?? `${adapter.name}.safetensors`;
  const code = (text) => element("code", {}, text);
  const prompt = verdict.prompt ?? "a prompt with the trigger";
  const strength = adapter.strength?.value ?? 1;
  const rows = [
    ["File", adapter.link ? element("a", { href: adapter.link, download: name }, name) : code(name),
      adapter.bytes ? ` (${bytes(adapter.bytes)})` : "", adapter.file ? [", in ", code(adapter.file.slice(0, -name.length) || ".")] : ""],
    ["Trigger", code(verdict.trigger ?? "not recorded"), verdict.prompt ? [": write for example ", code(prompt)] : ""],
    ["Strength", adapter.strength ? strengthRange(adapter.strength) : "not measured: begin with 1"],
    ["ComfyUI", "copy the file to ", code("ComfyUI/models/loras"), ", add the node Load LoRA with strength ", code(String(strength)), ", and write ", code(prompt), " in the prompt"],
    ["A1111, Forge", "copy the file to ", code("models/Lora"), ", and write ",
      code(`<lora:${name.replace(/\.safetensors$/, "")}:${strength}> ${prompt}`), " as the prompt"],
    ["diffusers", code(`import lycoris; lycoris.load("${adapter.file ?? name}", pipeline)${strength === 1 ? "" : `.scale = ${strength}`}`)],
  ];
  return element("div", { class: "usage" },
    element("h3", {}, adapter.champion ? "Use it" : "To look at it all the same"),
    data.isPocket ? element("p", { class: "fine" }, "Adapters fit their base: this one works on the pocket only. "
      + "The lines below are for adapters of a real base.") : null,
    element("dl", {}, rows.map(([label, ...parts]) => [element("dt", {}, label), element("dd", {}, ...parts)])),
    adapter.strength ? strengthFigure(adapter) : null);
}

const strengthRange = ({ value, low, high }) => `${value} [${low}, ${high}]`;

// The champion at each strength: one image of the same prompt and seed, and the scores that the recommendation rests on.
function strengthFigure(adapter) {
  const { points, value, low, high, rule } = adapter.strength;
  const tried = points.filter((point) => point.strength > 0);
  const cells = (name, content) => element("tr", { class: name === "score" ? "total" : null }, element("th", { scope: "row" }, name),
    points.map((point) => element("td", { class: point.strength === value ? "chosen" : null }, content(point))));
  return element("figure", { class: "strengths" },
    element("figcaption", {}, `Best at strength ${strengthRange(adapter.strength)} of ${tried.map((point) => point.strength).join(", ")}. `,
      low <= 1 && 1 <= high && value !== 1 ? "Strength 1 is not separated from it." : ""),
    element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "strength"), points.map((point) =>
        element("th", { scope: "col", class: point.strength === value ? "chosen" : null }, point.strength ? String(point.strength) : "base")))),
      element("tbody", {},
        points.some((point) => point.image !== null) ? cells("image", (point) => point.image === null ? "–"
          : image(point.image, `strength ${point.strength}, same prompt and seed`, 64)) : null,
        Object.keys(points[0]?.dimensions ?? {}).map((name) => cells(name, (point) => point.dimensions[name].toFixed(3))),
        cells("score", (point) => point.score.toFixed(2))))),
    element("details", { class: "fine" }, element("summary", {}, "How it is chosen"), element("p", {}, rule)));
}
