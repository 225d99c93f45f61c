// A table that sorts by its headings; of a long table it shows the first rows in the chosen order.
const collator = new Intl.Collator("en", { numeric: true });
// A column: {label, numeric, value(row) to sort by, cell(row) to show, title}.
function sortable(columns, rows, sort, maxRows = Infinity) {
  const body = element("tbody", {});
  const heads = columns.map((column) => element("th", { scope: "col", class: column.numeric ? "number" : null },
    element("button", { type: "button", title: column.title, onclick: () => press(column) }, column.label)));
  const compare = (a, b) => {
    const [one, other] = [sort.column.value(a), sort.column.value(b)];
    const missing = (value) => value === null || value === undefined || value === "";
    if (missing(one) || missing(other)) return missing(one) - missing(other); // Missing values stay at the end.
    const order = typeof one === "number" && typeof other === "number"
      ? one - other : collator.compare(String(one), String(other));
    return sort.ascending ? order : -order;
  };
  const show = () => {
    if (sort.column) rows.sort(compare);
    heads.forEach((head, index) => head.setAttribute("aria-sort",
      columns[index] === sort.column ? (sort.ascending ? "ascending" : "descending") : "none"));
    body.replaceChildren(...rows.slice(0, maxRows).map((row) => element("tr", {}, columns.map((column) =>
      element("td", { class: column.numeric ? "number" : null }, column.cell ? column.cell(row) : column.value(row) ?? "–")))));
  };
  const press = (column) => {
    if (sort.column === column) sort.ascending = !sort.ascending;
    else Object.assign(sort, { column, ascending: true });
    show();
  };
  show();
  return element("table", { class: "sortable" }, element("thead", {}, element("tr", {}, heads)), body);
}
const unsorted = () => ({ column: null, ascending: true });
