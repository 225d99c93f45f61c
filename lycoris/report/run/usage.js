// What to do with an adapter: its file, its trigger, and a line for each program that reads it.
function usage(verdict, adapter) {
  const name = adapter.file?.split(/[\\/]/).at(-1) ?? `${adapter.name}.safetensors`;
  const code = (text) => element("code", {}, text);
  const prompt = verdict.prompt ?? "a prompt with the trigger";
  const rows = [
    ["File", adapter.link ? element("a", { href: adapter.link, download: name }, name) : code(name),
      adapter.bytes ? ` (${bytes(adapter.bytes)})` : "", adapter.file ? [", in ", code(adapter.file.slice(0, -name.length) || ".")] : ""],
    ["Trigger", code(verdict.trigger ?? "not recorded"), verdict.prompt ? [": write for example ", code(prompt)] : ""],
    ["ComfyUI", "copy the file to ", code("ComfyUI/models/loras"), ", add the node Load LoRA, and write ", code(prompt), " in the prompt"],
    ["A1111, Forge", "copy the file to ", code("models/Lora"), ", and write ",
      code(`<lora:${name.replace(/\.safetensors$/, "")}:1> ${prompt}`), " as the prompt"],
    ["diffusers", code(`import lycoris; lycoris.load("${adapter.file ?? name}", pipeline)`)],
  ];
  return element("div", { class: "usage" },
    element("h3", {}, adapter.champion ? "Use it" : "To look at it all the same"),
    data.isPocket ? element("p", { class: "fine" }, "Adapters fit their base: this one works on the pocket only. "
      + "The lines below are for adapters of a real base.") : null,
    element("dl", {}, rows.map(([label, ...parts]) => [element("dt", {}, label), element("dd", {}, ...parts)])));
}
