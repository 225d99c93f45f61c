// Only the pictures whose tags, captions or file name hold every word that is looked for.
const rows = [...document.querySelectorAll(".captions tbody tr")];
const texts = rows.map((row) => `${row.querySelector("img")?.alt ?? ""} ${row.textContent}`.toLocaleLowerCase());
const sheets = [...document.querySelectorAll(".sheet")];
document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  rows.forEach((row, place) => {
    row.hidden = !words.every((word) => texts[place].includes(word));
    count += row.hidden ? 0 : 1;
  });
  for (const sheet of sheets) sheet.hidden = words.length > 0 && !sheet.querySelector("tbody tr:not([hidden]) img");
  document.getElementById("found").textContent = words.length ? `${count} of ${rows.length}` : "";
});
