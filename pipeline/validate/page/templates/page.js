// What the page does beyond showing: tables sort, pictures compare, pairs reorder, and plots tell what is pointed at.
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);
const say = (text) => { one("told").textContent = text; };

// A cell counts by the number that it carries; empty ones are last whichever way the table is sorted.
function sortBy(header) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const up = header.getAttribute("aria-sort") !== "ascending";
  const key = (row) => {
    const cell = row.cells[header.cellIndex];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  const compared = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return up ? order : -order;
  };
  for (const other of table.tHead.rows[0].cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => compared(key(a), key(b))));
  say(`Sorted by ${header.querySelector("button").textContent}, ${up ? "ascending" : "descending"}.`);
}

function split(slider) {
  slider.parentElement.style.setProperty("--split", `${slider.value}%`);
  slider.setAttribute("aria-valuetext", `${slider.value} % source, ${100 - slider.value} % candidate`);
}

function order(name) {
  const orders = JSON.parse(one("values").textContent).orders;
  const first = one("first").children.length;
  const cards = orders[name].map((index) => one(`pair-${index}`));
  one("first").append(...cards.slice(0, first));
  one("rest")?.append(...cards.slice(first));
  say(`Pairs are now ${one("order").selectedOptions[0].textContent}.`);
}

// One tip for all plots; Escape takes it away, and the pointer may rest on it.
let leaving = 0;
function tell(dot) {
  clearTimeout(leaving);
  const tip = one("tip");
  tip.textContent = dot.getAttribute("aria-label");
  tip.hidden = false;
  const at = dot.getBoundingClientRect();
  const left = Math.min(Math.max(at.left + at.width / 2 - tip.offsetWidth / 2, 8), document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = at.top - tip.offsetHeight - 4;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : at.bottom + 4) + scrollY}px`;
}
const hush = () => { one("tip").hidden = true; };
const hushSoon = () => { clearTimeout(leaving); leaving = setTimeout(hush, 150); };

// One stop for Tab in each plot; the arrow keys go on from there, up and down to the dot that is nearest.
function step(plot, dot, key) {
  const lanes = all(".lane:not(.axis) > svg", plot).map((lane) => all(".dot", lane));
  const rows = lanes.length ? lanes : [all(".dot", plot).sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x)];
  const row = rows.findIndex((dots) => dots.includes(dot));
  const at = rows[row].indexOf(dot);
  const x = (other) => other.getBoundingClientRect().x;
  const near = (dots) => dots?.reduce((best, other) => (Math.abs(x(other) - x(dot)) < Math.abs(x(best) - x(dot)) ? other : best));
  return {
    ArrowLeft: rows[row][at - 1], ArrowRight: rows[row][at + 1],
    ArrowUp: lanes.length ? near(rows[row - 1]) : rows[row][at - 1], ArrowDown: lanes.length ? near(rows[row + 1]) : rows[row][at + 1],
    Home: rows[0][0], End: rows.at(-1).at(-1),
  }[key];
}

function rove(plot) {
  const dots = all(".dot", plot);
  dots[0]?.setAttribute("tabindex", "0");
  for (const dot of dots) {
    dot.addEventListener("pointerenter", () => tell(dot));
    dot.addEventListener("pointerleave", hushSoon);
    dot.addEventListener("focus", () => tell(dot));
    dot.addEventListener("blur", hush);
  }
  plot.addEventListener("keydown", (event) => {
    if (!/^(Arrow|Home|End)/.test(event.key)) return;
    event.preventDefault();
    const next = step(plot, event.target, event.key);
    if (!next) return;
    event.target.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

for (const button of all("th button")) button.addEventListener("click", () => sortBy(button.closest("th")));
for (const slider of all(".compare input")) slider.addEventListener("input", () => split(slider));
for (const plot of all("[data-roving]")) rove(plot);
one("order")?.addEventListener("change", (event) => order(event.target.value));
one("difference")?.addEventListener("change", (event) => one("answers").classList.toggle("differing", event.target.checked));
one("larger")?.addEventListener("change", (event) => one("answers").classList.toggle("larger", event.target.checked));
one("quality")?.addEventListener("change", (event) => {
  for (const charts of all(".charts")) charts.hidden = charts.dataset.quality !== event.target.value;
});
one("tip").addEventListener("pointerenter", () => clearTimeout(leaving));
one("tip").addEventListener("pointerleave", hushSoon);
addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });
addEventListener("beforeprint", () => { for (const folded of all("details")) folded.open = true; });
