// On paper nothing can be opened: folded parts are shown, except the settings inside tables.
const foldedParts = () => [...document.querySelectorAll("details:not([open])")].filter((one) => !one.closest("table"));
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = foldedParts();
  for (const one of unfolded) one.open = true;
});
addEventListener("afterprint", () => { for (const one of unfolded) one.open = false; });
