// HTML and SVG elements, and the controls made of them.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const element = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const into = (id, ...children) => document.getElementById(id).replaceChildren(...children.flat(2).filter(Boolean));
const empty = (text) => element("p", { class: "empty" }, text);
const star = () => element("span", { class: "star", title: "champion" }, "★");

// A scrolling region that the keyboard reaches.
const region = (label, attributes, ...children) => element("div", { tabindex: 0, role: "region", "aria-label": label,
  ...attributes, class: `scroll ${attributes?.class ?? ""}`.trim() }, ...children);

// A row of buttons of which one is pressed.
function buttons(label, options, current, pick, name = label) {
  return element("div", { class: "segments", role: "group", "aria-label": label },
    element("span", { class: "label" }, label),
    options.map(([value, text]) => element("button", {
      type: "button", "aria-pressed": String(value === current), "data-name": `${name} ${value}`, onclick: () => pick(value),
    }, text)));
}
function menu(label, options, current, pick, name = label) {
  const select = element("select", { "data-name": name, onchange: (event) => pick(event.target.value) },
    options.map(([value, text]) => element("option", { value, selected: value === current }, text)));
  return element("label", { class: "pick" }, label, " ", select);
}
