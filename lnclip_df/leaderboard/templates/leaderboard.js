"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// What is folded is a template until it is opened.
function unfold(element) {
  const template = element.querySelector(":scope > template");
  if (!template) return;
  template.replaceWith(template.content);
  search(element);
}
document.addEventListener("toggle", event => { if (event.target.open) unfold(event.target); }, true);
addEventListener("beforeprint", () => all("details, .panel").forEach(unfold));

// A click on a heading sorts by that column; cells without a value come last.
document.addEventListener("click", event => {
  const head = event.target.closest("table.sortable thead button")?.parentElement;
  if (!head) return;
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => {
    const cell = row.cells[head.cellIndex];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.classList.contains("missing") ? null : cell.textContent;
  };
  const body = head.closest("table").tBodies[0], rows = [...body.rows].map(row => [key(row), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(b).localeCompare(String(a));
    return down ? -order : order;
  });
  body.append(...rows.map(([, row]) => row));
});

// The search shows the rows of the runs whose name contains every word.
const box = document.querySelector("input[type=search]"), count = document.querySelector("output");
function search(root = document) {
  if (!box) return;
  const words = box.value.toLowerCase().split(" ");
  const found = element => words.every(word => element.textContent.toLowerCase().includes(word));
  for (const row of all("tbody tr", root)) {
    const runs = all(".run", row);
    row.hidden = runs.length > 0 && !runs.some(found);
  }
  for (const item of all("li.run", root)) item.hidden = !found(item);
  if (root === document) {
    const runs = all("table.big .run"), shown = runs.filter(found).length;
    count.textContent = box.value.trim() ? `${shown} of ${runs.length}` : "";
  }
}
if (box) box.addEventListener("input", () => search());

// Columns that no run was tested on, and published rows without a figure here, are shown on demand.
for (const tick of all("input[data-shows]")) {
  tick.addEventListener("change", () => {
    document.querySelector("table.big").classList.toggle(`with-${tick.dataset.shows}`, tick.checked);
    if (tick.dataset.shows !== "untested") return;
    for (const head of all("th[data-all]")) head.colSpan = (!tick.checked && head.dataset.tested > 0) ? head.dataset.tested : head.dataset.all;
  });
}

const tabs = all(".tabs button"), panels = all(".panel");
function show(chosen) {
  tabs.forEach(tab => tab.setAttribute("aria-pressed", tab.dataset.panel === chosen));
  panels.forEach(panel => { panel.hidden = panel.dataset.panel !== chosen; if (!panel.hidden) unfold(panel); });
}
tabs.forEach(tab => tab.addEventListener("click", () => show(tab.dataset.panel)));
if (tabs.length) show(tabs[0].dataset.panel);
