// A page of rows at a time; and only the pictures whose tags, captions or file name hold every word that is looked for.
const most = Number(document.getElementById("find").dataset.rows);
const sheets = [...document.querySelectorAll(".sheet")].map((node) => {
  const body = node.querySelector(".captions tbody");
  const others = node.querySelector("template")?.content.querySelectorAll("tr") ?? [];
  const rows = [...body.rows, ...others];
  return { node, body, pager: node.querySelector(".pager"), rows, found: rows, first: 0, texts: null };
});

function show(sheet) {
  const { node, body, pager, found, first } = sheet;
  const last = Math.min(first + most, found.length);
  body.replaceChildren(...found.slice(first, last));
  pager.hidden = found.length <= most;
  pager.querySelector("span").textContent = `${first + 1} to ${last} of ${found.length}`;
  pager.querySelector(".back").disabled = first === 0;
  pager.querySelector(".on").disabled = last === found.length;
  node.hidden = found.length === 0;
}

function turn(sheet, pages) {
  sheet.first += pages * most;
  show(sheet);
  sheet.node.querySelector(".captions").scrollIntoView();
}

for (const sheet of sheets) {
  sheet.pager.querySelector(".back").addEventListener("click", () => turn(sheet, -1));
  sheet.pager.querySelector(".on").addEventListener("click", () => turn(sheet, 1));
  show(sheet);
}

function textOf(row) {
  return `${row.querySelector("img")?.alt ?? ""} ${row.textContent}`.toLocaleLowerCase();
}

document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  for (const sheet of sheets) {
    sheet.texts ??= sheet.rows.map(textOf);
    sheet.found = sheet.rows.filter((_, place) => words.every((word) => sheet.texts[place].includes(word)));
    sheet.first = 0;
    show(sheet);
  }
  const count = (name) => sheets.reduce((sum, sheet) => sum + sheet[name].length, 0);
  document.getElementById("found").textContent = words.length ? `${count("found")} of ${count("rows")}` : "";
});
