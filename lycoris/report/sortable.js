// A table that sorts by its headings; of very many rows it shows the first in the order that is chosen.
const collator = new Intl.Collator("en", { numeric: true });
// A column: {label, numeric, value(row) to sort by, cell(row) to show, title}.
function sortable(columns, rows, sort, most = Infinity) {
  const body = make("tbody", {});
  const heads = columns.map((column) => make("th", { scope: "col", class: column.numeric ? "number" : null },
    make("button", { type: "button", title: column.title, onclick: () => press(column) }, column.label)));
  const compare = (a, b) => {
    const [one, other] = [sort.column.value(a), sort.column.value(b)];
    const gone = (value) => value === null || value === undefined || value === "";
    if (gone(one) || gone(other)) return gone(one) - gone(other); // what is missing stays below
    const order = typeof one === "number" && typeof other === "number"
      ? one - other : collator.compare(String(one), String(other));
    return sort.up ? order : -order;
  };
  const show = () => {
    if (sort.column) rows.sort(compare);
    heads.forEach((head, place) => head.setAttribute("aria-sort",
      columns[place] === sort.column ? (sort.up ? "ascending" : "descending") : "none"));
    body.replaceChildren(...rows.slice(0, most).map((row) => make("tr", {}, columns.map((column) =>
      make("td", { class: column.numeric ? "number" : null }, column.cell ? column.cell(row) : column.value(row) ?? "–")))));
  };
  const press = (column) => {
    if (sort.column === column) sort.up = !sort.up;
    else Object.assign(sort, { column, up: true });
    show();
  };
  show();
  return make("table", { class: "sortable" }, make("thead", {}, make("tr", {}, heads)), body);
}
