"use strict";
function sort(table, at, head) {
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of table.tHead.rows[table.tHead.rows.length - 1].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => {
    const cell = row.cells[at];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.classList.contains("missing") ? null : cell.textContent;
  };
  const body = table.tBodies[0], rows = [...body.rows].map(row => [key(row), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(b).localeCompare(String(a));
    return down ? -order : order;
  });
  body.append(...rows.map(([, row]) => row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  [...heads].forEach((head, at) => head.firstChild.addEventListener("click", () => sort(table, at, head)));
}
const tabs = [...document.querySelectorAll(".tabs button")], panels = [...document.querySelectorAll(".panel")];
function show(chosen) {
  tabs.forEach(tab => tab.setAttribute("aria-pressed", tab.dataset.panel === chosen));
  panels.forEach(panel => { panel.style.display = panel.dataset.panel === chosen ? "" : "none"; });
}
tabs.forEach(tab => tab.addEventListener("click", () => show(tab.dataset.panel)));
if (tabs.length) show(tabs[0].dataset.panel);
