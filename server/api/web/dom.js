// Short ways to the page's own elements. Text is always text: nothing here takes HTML.

export const $ = (id) => document.getElementById(id);

// el("button", {type: "button", class: "icon", onclick: f}, "words", node)
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
// Drawn, since not every system has the characters. In a square of 24.
const ICONS = {
  after: "M9 5l7 7-7 7",
  again: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  before: "M15 5l-7 7 7 7",
  bad: "M7 13V4H4v9zM7 13l4 8c2 0 2-2 2-3l-1-4h7l1-2-2-7-2-1H7",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  correct: "M4 6h16M4 11h9M4 16h6M13 19l1-4 5-5 2 2-5 5z",
  edit: "M4 20l1-5L16 4l4 4L9 19zM13 7l4 4",
  good: "M7 11v9H4v-9zM7 11l4-8c2 0 2 2 2 3l-1 4h7l1 2-2 7-2 1H7",
  proceed: "M5 5l8 7-8 7zM18 5v14",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  save: "M12 4v11M7 10l5 5 5-5M5 20h14",
};

// A button that is a drawing, with its words for who hears or hovers.
export function iconButton(icon, words, onclick) {
  const drawing = document.createElementNS(SVG, "svg");
  const path = drawing.appendChild(document.createElementNS(SVG, "path"));
  const look = { viewBox: "0 0 24 24", width: 18, height: 18, "aria-hidden": true };
  for (const [name, value] of Object.entries(look)) drawing.setAttribute(name, value);
  path.setAttribute("d", ICONS[icon]);
  return el("button", { type: "button", class: "icon", title: words, "aria-label": words, onclick }, drawing);
}

// The browser's clipboard; where a page may not have it (plain http), the older way.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {}
  const area = el("textarea", { class: "off-screen", "aria-hidden": "true" });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

// Hands `text` over as a file.
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);  // the browser reads it after the click
}
