// Markdown to elements, for the answers of a model: paragraphs, headings, lists, quotes, code, tables,
// formulas, links. HTML is text. Every element comes from safe.js. Anything is some markdown: broken
// markup stands as it was written.
import { formula } from "./formula.js";
import { html, link, safeAddress } from "./safe.js";

const MOST_DEPTH = 8;               // of lists, quotes and emphasis within each other
const MOST_CHARACTERS = 200_000;    // what is longer is shown as plain text

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const FORMULA = /^ {0,3}(\$\$|\\\[)/;

// Inline -------------------------------------------------------------------------------------------

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
const PLAIN = /[^\\`*_~[\]!$<>hm\n]+|h(?!ttps?:\/\/)|m(?!ailto:)/y;

class Inline {
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.at = 0;
    this.missing = new Set();  // closing marks that do not come any more: looked for once
    this.nodes = [];
    this.plain = "";
  }

  run() {
    while (this.at < this.text.length) this.step();
    this.flush();
    return this.nodes;
  }

  flush() {
    if (this.plain) this.nodes.push(this.plain);
    this.plain = "";
  }

  put(node, end) {
    this.flush();
    this.nodes.push(node);
    this.at = end;
  }

  step() {
    PLAIN.lastIndex = this.at;
    const run = PLAIN.exec(this.text)?.[0];
    if (run) {
      this.plain += run;
      this.at += run.length;
      return;
    }
    if (this.code() || this.math() || this.escape() || this.breakLine() || this.linked() || this.address() || this.marked()) return;
    this.plain += this.text[this.at++];
  }

  find(mark, from) {
    if (this.missing.has(mark)) return -1;
    const place = this.text.indexOf(mark, from);
    if (place < 0) this.missing.add(mark);
    return place;
  }

  code() {
    if (this.text[this.at] !== "`") return false;
    const ticks = /`+/y;
    ticks.lastIndex = this.at;
    const mark = ticks.exec(this.text)[0];
    const begin = this.at + mark.length;
    const end = this.find(mark, begin);
    if (end < 0) {
      this.plain += mark;
      this.at = begin;
      return true;
    }
    this.put(html("code", {}, this.text.slice(begin, end).replace(/^ (.*) $/s, "$1")), end + mark.length);
    return true;
  }

  math() {
    for (const [open, close, display] of [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false], ["$", "$", false]]) {
      if (!this.text.startsWith(open, this.at)) continue;
      const begin = this.at + open.length;
      const end = this.find(close, begin);
      if (end <= begin) continue;
      const source = this.text.slice(begin, end);
      // "$5 and $6" are prices: a formula touches its dollars, and no digit follows.
      if (open === "$" && (/^\s|\s$|\n/.test(source) || /\d/.test(this.text[end + 1] ?? ""))) continue;
      this.put(formula(source, display), end + close.length);
      return true;
    }
    return false;
  }

  escape() {
    if (this.text[this.at] !== "\\") return false;
    const next = this.text[this.at + 1] ?? "";
    if (/[!-/:-@[-`{-~]/.test(next)) {
      this.plain += next;
      this.at += 2;
      return true;
    }
    return false;
  }

  breakLine() {
    if (this.text[this.at] !== "\n") return false;
    this.put(html("br"), this.at + 1);
    return true;
  }

  // [words](address), and ![words](address): a picture of elsewhere is a link, it is not loaded.
  linked() {
    const picture = this.text.startsWith("![", this.at);
    if (!picture && this.text[this.at] !== "[") return false;
    const shape = /!?\[([^[\]]{0,500})\]\(\s*<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500})?)>?(?:\s+"[^"]{0,200}")?\s*\)/y;
    shape.lastIndex = this.at;
    const found = shape.exec(this.text);
    const address = found && safeAddress(found[2]);
    if (!address) return false;
    const words = this.inner(found[1]);
    this.put(link(address, ...(words.length ? words : [found[2]])), this.at + found[0].length);
    return true;
  }

  address() {
    const shape = /<?((?:https?:\/\/|mailto:)[^\s<>"'`]{1,2000})>?/y;
    shape.lastIndex = this.at;
    const found = shape.exec(this.text);
    if (!found) return false;
    const text = found[0].startsWith("<") ? found[1] : found[1].replace(/[.,;:!?)\]*_]+$/, "");
    const address = safeAddress(text);
    if (!address) return false;
    this.put(link(address, text), this.at + (found[0].startsWith("<") ? found[0].length : text.length));
    return true;
  }

  marked() {
    for (const [mark, name] of MARKS) {
      if (!this.text.startsWith(mark, this.at) || !this.opens(mark)) continue;
      const begin = this.at + mark.length;
      const end = this.closing(mark, begin);
      if (end < 0) continue;
      this.put(html(name, {}, ...this.inner(this.text.slice(begin, end))), end + mark.length);
      return true;
    }
    return false;
  }

  opens(mark) {
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + mark.length] ?? " ";
    return !/\s/.test(after) && !(mark[0] === "_" && /[\p{L}\p{N}]/u.test(before));
  }

  closing(mark, begin) {
    for (let place = this.find(mark, begin + 1), tries = 0; place >= 0 && tries < 20; place = this.find(mark, place + 1), ++tries) {
      const word = mark[0] === "_" && /[\p{L}\p{N}]/u.test(this.text[place + mark.length] ?? "");
      const longer = mark.length === 1 && this.text[place + 1] === mark;  // the closing of a strong within
      if (longer) place += 1;
      else if (!/\s/.test(this.text[place - 1]) && !word) return place;
    }
    return -1;
  }

  inner(text) {
    return inline(text, this.depth + 1);
  }
}

function inline(text, depth = 0) {
  return depth > MOST_DEPTH ? [text] : new Inline(text, depth).run();
}

// Blocks -------------------------------------------------------------------------------------------

class Blocks {
  constructor(lines, depth) {
    this.lines = lines;
    this.depth = depth;
    this.at = 0;
  }

  run() {
    const nodes = [];
    while (this.at < this.lines.length) {
      if (!this.lines[this.at].trim()) { this.at += 1; continue; }
      nodes.push(this.block(this.lines[this.at]));
    }
    return nodes;
  }

  block(line) {
    if (FENCE.test(line)) return this.code();
    if (HEADING.test(line)) return this.heading();
    if (RULE.test(line)) { this.at += 1; return html("hr"); }
    if (FORMULA.test(line)) return this.formula();
    if (this.depth < MOST_DEPTH && QUOTE.test(line)) return this.quote();
    if (this.depth < MOST_DEPTH && ITEM.test(line)) return this.list();
    if (this.isTable(this.at)) return this.table();
    return this.paragraph();
  }

  // What ends a paragraph: the beginning of something else.
  begins(line) {
    return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || FORMULA.test(line) ||
      (this.depth < MOST_DEPTH && (QUOTE.test(line) || ITEM.test(line)));
  }

  code() {
    const [, fence, language] = FENCE.exec(this.lines[this.at++]);
    const body = [];
    for (; this.at < this.lines.length; ++this.at) {
      const line = this.lines[this.at].trim();
      if (line.startsWith(fence) && line === fence[0].repeat(line.length)) { this.at += 1; break; }
      body.push(this.lines[this.at]);
    }
    return html("figure", { class: "code" }, html("figcaption", {}, language),
                html("pre", { tabindex: "0" }, html("code", {}, body.join("\n"))));
  }

  heading() {
    const [, marks, text] = HEADING.exec(this.lines[this.at++]);
    return html(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(text.trim().replace(/(^|\s)#+$/, "").trim()));  // below the page's own headings
  }

  formula() {
    const close = this.lines[this.at].includes("$$") ? "$$" : "\\]";
    let text = this.lines[this.at++].trim().slice(2);
    while (!text.includes(close) && this.at < this.lines.length) text += `\n${this.lines[this.at++]}`;
    const end = text.indexOf(close);
    const rest = end < 0 ? "" : text.slice(end + 2).trim();
    return html("div", { class: "formula", tabindex: "0" }, formula(end < 0 ? text : text.slice(0, end), true), ...inline(rest));
  }

  quote() {
    const inside = [];
    while (this.at < this.lines.length && QUOTE.test(this.lines[this.at])) inside.push(this.lines[this.at++].replace(QUOTE, ""));
    return html("blockquote", {}, ...new Blocks(inside, this.depth + 1).run());
  }

  list() {
    const [, indent, mark] = ITEM.exec(this.lines[this.at]);
    const ordered = /\d/.test(mark);
    const list = html(ordered ? "ol" : "ul", ordered ? { start: String(parseInt(mark, 10)) } : {});
    while (this.at < this.lines.length) {
      const item = ITEM.exec(this.lines[this.at]);
      if (!item || item[1].length !== indent.length || /\d/.test(item[2]) !== ordered) break;
      list.append(this.item(item[0].length));
    }
    return list;
  }

  // An item's first line and what is indented below it.
  item(width) {
    const inside = [this.lines[this.at++].slice(width)];
    const indent = /^ */.exec(this.lines[this.at - 1])[0].length;
    for (; this.at < this.lines.length; ++this.at) {
      const line = this.lines[this.at];
      const spaces = /^ */.exec(line)[0].length;
      if (line.trim() ? spaces <= indent : !this.goesOn(this.at, indent)) break;
      inside.push(line.slice(Math.min(spaces, width)));
    }
    while (this.at < this.lines.length && !this.lines[this.at].trim() && ITEM.test(this.lines[this.at + 1] ?? "")) this.at += 1;
    const nodes = new Blocks(inside, this.depth + 1).run();
    const only = nodes[0]?.nodeName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
    return html("li", {}, ...only);
  }

  goesOn(empty, indent) {
    const next = this.lines[empty + 1] ?? "";
    return next.trim() !== "" && /^ */.exec(next)[0].length > indent;
  }

  isTable(place) {
    return this.lines[place].includes("|") && this.lines[place + 1]?.includes("-") === true &&
      this.lines[place + 1].length < 2000 && TABLE_RULE.test(this.lines[place + 1]) &&
      this.cells(place).length === this.cells(place + 1).length;
  }

  cells(place) {
    const line = this.lines[place].trim().replace(/^\||\|$/g, "");
    return line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  }

  table() {
    const sides = this.cells(this.at + 1).map((rule) => (/^:-+:$/.test(rule) ? "middle" : rule.endsWith(":") ? "right" : "left"));
    const row = (name) => html("tr", {}, ...this.cells(this.at++).slice(0, sides.length)
      .map((cell, column) => html(name, { class: sides[column] }, ...inline(cell))));
    const head = html("thead", {}, row("th"));
    this.at += 1;
    const body = html("tbody");
    while (this.at < this.lines.length && this.lines[this.at].includes("|")) body.append(row("td"));
    return html("div", { class: "table", tabindex: "0" }, html("table", {}, head, body));
  }

  paragraph() {
    const text = [this.lines[this.at++].trim()];
    while (this.at < this.lines.length && this.lines[this.at].trim() && !this.begins(this.lines[this.at]) && !this.isTable(this.at)) {
      text.push(this.lines[this.at++].trim());
    }
    return html("p", {}, ...inline(text.join("\n")));
  }
}

// The elements of `text`, to be put into a page.
export function markdown(text) {
  if (text.length > MOST_CHARACTERS) return [html("pre", {}, text)];
  return new Blocks(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n"), 0).run();
}
