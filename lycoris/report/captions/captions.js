// Shows one page of rows at a time, and only the images whose tags, captions or file name contain every word of the search.
const rowsPerPage = Number(document.getElementById("find").dataset.rows);
const classes = [...document.querySelectorAll(".concept")].map((node) => {
  const body = node.querySelector(".captions tbody");
  const others = node.querySelector("template")?.content.querySelectorAll("tr") ?? [];
  const rows = [...body.rows, ...others];
  return { node, body, pager: node.querySelector(".pager"), rows, matches: rows, first: 0, texts: null };
});

function show({ node, body, pager, matches, first }) {
  const last = Math.min(first + rowsPerPage, matches.length);
  body.replaceChildren(...matches.slice(first, last));
  pager.hidden = matches.length <= rowsPerPage;
  pager.querySelector("span").textContent = `${first + 1} to ${last} of ${matches.length}`;
  pager.querySelector(".previous").disabled = first === 0;
  pager.querySelector(".next").disabled = last === matches.length;
  node.hidden = matches.length === 0;
}

function turn(entry, pages) {
  entry.first += pages * rowsPerPage;
  show(entry);
  entry.node.querySelector(".captions").scrollIntoView();
}

for (const entry of classes) {
  entry.pager.querySelector(".previous").addEventListener("click", () => turn(entry, -1));
  entry.pager.querySelector(".next").addEventListener("click", () => turn(entry, 1));
  show(entry);
}

const textOf = (row) => `${row.querySelector("img")?.alt ?? ""} ${row.textContent}`.toLocaleLowerCase();

document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  for (const entry of classes) {
    entry.texts ??= entry.rows.map(textOf);
    entry.matches = entry.rows.filter((_, index) => words.every((word) => entry.texts[index].includes(word)));
    entry.first = 0;
    show(entry);
  }
  const count = (name) => classes.reduce((sum, entry) => sum + entry[name].length, 0);
  document.getElementById("match-count").textContent = words.length ? `${count("matches")} of ${count("rows")}` : "";
});
