// JSON to a table, for answers that have a form. Every element comes from safe.js.
import { html } from "./safe.js";

const MOST_DEPTH = 4;     // of tables within each other; what is deeper stands as JSON
const MOST_ROWS = 1000;
const MOST_COLUMNS = 50;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function headings(scope, names) {
  return names.map((name) => html("th", { scope }, name));
}

function entries(object, depth) {
  const rows = Object.entries(object).slice(0, MOST_ROWS).map(([name, value]) =>
    html("tr", {}, ...headings("row", [name]), html("td", {}, cell(value, depth))));
  return html("table", {}, html("tbody", {}, ...rows));
}

// One row for each object; a column for each name that one of them has.
function records(objects, depth) {
  const shown = objects.slice(0, MOST_ROWS);
  const names = [...new Set(shown.flatMap(Object.keys))].slice(0, MOST_COLUMNS);
  const rows = shown.map((object) => html("tr", {}, ...names.map((name) =>
    html("td", {}, Object.hasOwn(object, name) ? cell(object[name], depth) : ""))));
  return html("table", {}, html("thead", {}, html("tr", {}, ...headings("col", names))), html("tbody", {}, ...rows));
}

function isLarge(value) {
  const size = Array.isArray(value) ? value.length : Object.keys(value).length;
  return size === 0 || size > MOST_ROWS;
}

// An element, or text.
function cell(value, depth) {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null || depth === 0 || isLarge(value)) return JSON.stringify(value);
  if (isObject(value)) return entries(value, depth - 1);
  if (value.every(isObject)) return records(value, depth - 1);
  return html("ul", {}, ...value.map((item) => html("li", {}, cell(item, depth - 1))));
}

// The table of `text`; null when it is no JSON, which an answer under way or cut is not, or has nothing to show.
export function jsonTable(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const node = cell(value, MOST_DEPTH);
  return typeof node === "string" ? null : html("div", { class: "table", tabindex: "0" }, node);
}
