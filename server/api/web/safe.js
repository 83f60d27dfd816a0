// The only maker of elements for what a model says. Whatever the text is, nothing but these elements
// and attributes can come of it: no script, no event handler, nothing that loads or runs.

const HTML = new Set(["a", "blockquote", "br", "code", "del", "em", "figcaption", "figure", "h3", "h4", "h5", "h6", "hr",
  "li", "ol", "p", "pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul", "div"]);
const MATH = new Set(["math", "mfrac", "mi", "mn", "mo", "mover", "mroot", "mrow", "mspace", "msqrt", "msub", "msubsup",
  "msup", "mtable", "mtd", "mtext", "mtr", "munder", "munderover"]);
const ATTRIBUTES = new Set(["class", "start", "display", "stretchy", "width", "tabindex", "mathvariant", "scope"]);

// The address if a person may follow it, otherwise null: http, https and mailto, spelt out.
export function safeAddress(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (!ATTRIBUTES.has(name)) throw new Error(`an answer may not have the attribute ${name}`);
    node.setAttribute(name, value);
  }
  node.append(...children);  // strings become text, never markup
  return node;
}

export function html(name, attributes = {}, ...children) {
  if (!HTML.has(name)) throw new Error(`an answer may not have the element ${name}`);
  return fill(document.createElement(name), attributes, children);
}

export function math(name, attributes = {}, ...children) {
  if (!MATH.has(name)) throw new Error(`a formula may not have the element ${name}`);
  return fill(document.createElementNS("http://www.w3.org/1998/Math/MathML", name), attributes, children);
}

// `address` must come from safeAddress.
export function link(address, ...children) {
  const node = html("a", {}, ...children);
  return Object.assign(node, { href: address, target: "_blank", rel: "noopener noreferrer" });
}
