"""The page's style sheet and script."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#5b6570;--line:#d9dee4;--head:#f3f5f8;--row:#f8fafc;
--accent:#0b5cad;--up:#0a7a3f;--down:#b3261e;--real:#0072b2;--fake:#d55e00}
@media(prefers-color-scheme:dark){:root{--back:#14171b;--text:#e6e9ed;--soft:#a3adb8;--line:#333a43;--head:#1e2329;
--row:#191d22;--accent:#7ab7ff;--up:#5fd08f;--down:#ff8a80;--real:#4aa8e0;--fake:#f08a3c}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);
font:15px/1.45 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
header,main{padding:0 28px}
header{border-bottom:1px solid var(--line);padding-top:20px;padding-bottom:12px}
h1{font-size:26px;margin:0 0 6px}
h2{font-size:19px;margin:30px 0 10px}
h3{font-size:17px;margin:4px 0 10px}
h3 small{font-weight:400;color:var(--soft);margin-left:10px;font-size:14px}
h4{font-size:14px;margin:20px 0 6px}
p{max-width:110ch;color:var(--soft);margin:8px 0;font-size:14px}
ul.runs{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:4px 20px}
.swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px;vertical-align:-1px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:5px 9px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
tbody tr:last-child>*{border-bottom:0}
tbody tr:nth-child(even)>*{background:var(--row)}
tbody tr:hover>*{background:var(--head)}
thead th{background:var(--head);font-weight:600;vertical-align:bottom}
thead th.group{text-align:center;color:var(--soft);font-weight:500;border-left:1px solid var(--line)}
th:first-child{text-align:left;position:sticky;left:0;background:var(--back);z-index:1}
thead th:first-child{background:var(--head)}
tbody th{font-weight:600}
td.text,thead th.text{text-align:left}
tr.published th small{display:inline;margin-left:5px}
.record td{white-space:normal;min-width:6em}
thead th button{all:unset;cursor:pointer;padding:1px 2px;white-space:nowrap}
thead th button:hover{color:var(--accent)}
thead th button:focus-visible{outline:2px solid var(--accent);border-radius:3px}
thead th button::after{content:"↕";opacity:.35;margin-left:4px;font-weight:400}
th[aria-sort=descending] button::after{content:"↓";opacity:1}
th[aria-sort=ascending] button::after{content:"↑";opacity:1}
td b{font-weight:600}
td b.best{text-decoration:underline 2px var(--accent);text-underline-offset:3px}
td small,th small{display:block;color:var(--soft);font-size:12px;font-weight:400}
td small.few{color:var(--down)}
i.up,i.down{font-style:normal;color:var(--up)}
i.down{color:var(--down)}
td.missing{color:var(--soft)}
tr.published th,tr.published td{color:var(--soft)}
tr.sure td:last-child{font-weight:700}
.tabs{display:flex;flex-wrap:wrap;gap:6px;margin-bottom:12px}
.tabs button{font:inherit;color:inherit;background:var(--head);border:1px solid var(--line);border-radius:6px;
padding:4px 11px;cursor:pointer}
.tabs button[aria-pressed=true]{background:var(--accent);border-color:var(--accent);color:var(--back)}
.charts{display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start}
figure{margin:0}
figure.wide{flex:0 1 400px}
figcaption{font-size:14px;font-weight:600;margin-bottom:4px}
.spreads{flex:1 1 360px}
.spreads .grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px}
.key{margin:0 0 8px}
.key span{display:inline-block;width:11px;height:11px;margin:0 5px 0 14px;opacity:.75;vertical-align:-1px}
.key span:first-child{margin-left:0}
.key .real{background:var(--real)}
.key .fake{background:var(--fake)}
svg{width:100%;height:auto;display:block}
svg.roc{max-width:400px}
svg.histogram{max-width:400px}
line.grid{stroke:var(--line);stroke-width:1}
line.chance{stroke:var(--soft);stroke-dasharray:4 4}
path.curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
text{fill:var(--soft);font-size:11px}
text.tick,text.axis{text-anchor:middle}
text.tick.left{text-anchor:end}
rect.real{fill:var(--real);opacity:.65}
rect.fake{fill:var(--fake);opacity:.65}
@media print{.tabs{display:none}.panel{display:block!important;break-inside:avoid}}
"""

SCRIPT = """
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
"""
