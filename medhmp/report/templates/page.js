"use strict";
// Without this script every table is there, whole and in its order.

/** The number that a cell begins with; NaN of a text. The page writes minus signs as U+2212. */
function numberIn(text) {
  return parseFloat(text.replace(/\u2212/g, "-").replace(/(\d),(?=\d{3})/g, "$1"));
}

function compare(a, b) {
  const x = numberIn(a), y = numberIn(b);
  if (Number.isNaN(x) && Number.isNaN(y)) return a.localeCompare(b);
  return Number.isNaN(x) ? Infinity : Number.isNaN(y) ? -Infinity : x - y;
}

/** Sorts the rows of each group by a column; what has no number stays last. */
function sort(table, column, down) {
  const textOf = (row) => row.cells[column].textContent.trim();
  for (const group of table.tBodies) {
    const rows = [...group.rows].filter((row) => row.className !== "group");
    rows.sort((a, b) => {
      const order = compare(textOf(a), textOf(b));
      return Number.isFinite(order) && down ? -order : order;
    });
    group.append(...rows);
  }
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table, column, down);
    });
  });
}

/** Hides the rows that hold, with their group's heading, not every word that is typed. */
function filter(table, words) {
  for (const group of table.tBodies) {
    const head = group.querySelector(".group"), said = head ? head.textContent : "";
    let shown = 0;
    for (const row of group.rows) {
      if (row === head) continue;
      const text = (said + " " + row.textContent).toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    group.hidden = !shown;
  }
}

function makeFilterable(table, region) {
  const label = document.createElement("label"), input = document.createElement("input");
  label.className = "filter";
  input.type = "search";
  label.append("Filter rows ", input);
  region.before(label);
  input.addEventListener("input", () => {
    filter(table, input.value.toLowerCase().split(/\s+/).filter(Boolean));
  });
}

for (const table of document.querySelectorAll("table.data")) {
  makeSortable(table);
  if (table.rows.length > 8) makeFilterable(table, table.closest(".scroll"));
}
