// A formula in TeX's notation as MathML, which browsers lay out themselves. Commands that it does not
// know stand as they were written.
import { math } from "./safe.js";

const MOST_DEPTH = 20;  // of groups within groups; what is deeper stands as text

// None has what objects have of themselves: \constructor is a command like another.
const LETTERS = {
  __proto__: null,
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ϵ", varepsilon: "ε", zeta: "ζ", eta: "η", theta: "θ",
  iota: "ι", kappa: "κ", lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", pi: "π", rho: "ρ", sigma: "σ", tau: "τ", upsilon: "υ",
  phi: "ϕ", varphi: "φ", chi: "χ", psi: "ψ", omega: "ω", Gamma: "Γ", Delta: "Δ", Theta: "Θ", Lambda: "Λ", Xi: "Ξ",
  Pi: "Π", Sigma: "Σ", Phi: "Φ", Psi: "Ψ", Omega: "Ω", infty: "∞", partial: "∂", nabla: "∇", hbar: "ℏ", ell: "ℓ",
  emptyset: "∅", varnothing: "∅",
};
const SIGNS = {
  __proto__: null,
  times: "×", cdot: "⋅", div: "÷", pm: "±", mp: "∓", le: "≤", leq: "≤", ge: "≥", geq: "≥", ne: "≠", neq: "≠",
  approx: "≈", equiv: "≡", sim: "∼", propto: "∝", to: "→", rightarrow: "→", leftarrow: "←", Rightarrow: "⇒",
  Leftrightarrow: "⇔", iff: "⇔", implies: "⇒", mapsto: "↦", in: "∈", notin: "∉", subset: "⊂", subseteq: "⊆", cup: "∪",
  cap: "∩", forall: "∀", exists: "∃", land: "∧", wedge: "∧", lor: "∨", vee: "∨", neg: "¬", ldots: "…", dots: "…",
  cdots: "⋯", mid: "∣", parallel: "∥", perp: "⊥", circ: "∘", ast: "∗", oplus: "⊕", otimes: "⊗", ll: "≪", gg: "≫",
  langle: "⟨", rangle: "⟩", lfloor: "⌊", rfloor: "⌋", lceil: "⌈", rceil: "⌉", angle: "∠", prime: "′", "{": "{", "}": "}",
  "|": "‖", "%": "%", "$": "$", "&": "&", "#": "#", "_": "_",
};
const BIG = { __proto__: null, sum: "∑", prod: "∏", int: "∫", iint: "∬", oint: "∮", bigcup: "⋃", bigcap: "⋂" };
const FUNCTIONS = new Set(["sin", "cos", "tan", "cot", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "log", "ln",
  "exp", "lim", "max", "min", "sup", "inf", "det", "dim", "gcd", "arg"]);
const ACCENTS = { __proto__: null, hat: "^", bar: "¯", overline: "¯", vec: "→", dot: "˙", ddot: "¨", tilde: "~", widehat: "^" };
const SPACES = { __proto__: null, ",": ".17em", ":": ".22em", ";": ".28em", " ": ".3em", quad: "1em", qquad: "2em", "!": "0" };
const FENCES = { __proto__: null, pmatrix: "()", bmatrix: "[]", vmatrix: "||", cases: "{", matrix: "", aligned: "", align: "", array: "" };

function tokens(source) {
  return source.match(/\\(?:[a-zA-Z]+|[\s\S])|\d+(?:[.,]\d+)*|\s+|[\s\S]/gu)?.filter((token) => token.trim()) ?? [];
}

class Parser {
  constructor(source) {
    this.all = tokens(source);
    this.at = 0;
    this.depth = 0;
  }

  peek() {
    return this.all[this.at];
  }

  take(token) {
    if (this.peek() !== token) return false;
    this.at += 1;
    return true;
  }

  // Everything up to one of `ends`, which is left.
  row(...ends) {
    const parts = [];
    while (this.at < this.all.length && !ends.includes(this.peek())) parts.push(this.scripted());
    return parts.length === 1 ? parts[0] : math("mrow", {}, ...parts);
  }

  // An atom with what stands below and above it.
  scripted() {
    const big = this.peek()?.slice(1) in BIG || this.peek() === "\\lim";
    const base = this.atom();
    let below = null, above = null;
    for (;;) {
      if (below === null && this.take("_")) below = this.atom();
      else if (above === null && this.take("^")) above = this.atom();
      else if (above === null && this.take("'")) above = math("mo", {}, "′");
      else break;
    }
    const [sub, sup, both] = big ? ["munder", "mover", "munderover"] : ["msub", "msup", "msubsup"];
    if (below && above) return math(both, {}, base, below, above);
    if (below) return math(sub, {}, base, below);
    return above ? math(sup, {}, base, above) : base;
  }

  atom() {
    const token = this.all[this.at++];
    if (token === undefined) return math("mrow");
    if (token === "{") return this.group("}");
    if (token.startsWith("\\")) return this.command(token.slice(1));
    if (/^\d/.test(token)) return math("mn", {}, token);
    return math(/\p{L}/u.test(token) ? "mi" : "mo", {}, token === "-" ? "−" : token);
  }

  group(end) {
    if (++this.depth > MOST_DEPTH) throw new RangeError("a formula with too many groups within groups");
    const row = this.row(end);
    this.take(end);
    this.depth -= 1;
    return row;
  }

  // The words of {...} as they were written.
  words() {
    let text = "";
    if (!this.take("{")) return this.all[this.at++] ?? "";
    while (this.at < this.all.length && !this.take("}")) text += this.all[this.at++];
    return text;
  }

  command(name) {
    if (name in LETTERS) return math("mi", {}, LETTERS[name]);
    if (name in SIGNS) return math("mo", {}, SIGNS[name]);
    if (name in BIG) return math("mo", {}, BIG[name]);
    if (name in SPACES) return math("mspace", { width: SPACES[name] });
    if (FUNCTIONS.has(name)) return math("mi", {}, name);
    if (name in ACCENTS) return math("mover", {}, this.nested(), math("mo", { stretchy: "false" }, ACCENTS[name]));
    return this.construct(name);
  }

  nested() {
    if (++this.depth > MOST_DEPTH) throw new RangeError("a formula with too many groups within groups");
    const atom = this.atom();
    this.depth -= 1;
    return atom;
  }

  construct(name) {
    switch (name) {
      case "frac": case "dfrac": case "tfrac": return math("mfrac", {}, this.nested(), this.nested());
      case "sqrt": return this.root();
      case "text": case "textbf": case "mathrm": case "operatorname": return math("mtext", {}, this.words());
      case "mathbf": case "mathbb": case "mathcal": case "mathit": case "boldsymbol": return this.nested();
      case "left": return this.fenced();
      case "begin": return this.matrix(this.words());
      case "displaystyle": case "limits": case "nolimits": case "right": return math("mrow");
      case "\\": return math("mspace", { width: "1em" });
      default: return math("mtext", {}, `\\${name}`);
    }
  }

  root() {
    if (!this.take("[")) return math("msqrt", {}, this.nested());
    const degree = this.group("]");
    return math("mroot", {}, this.nested(), degree);
  }

  fence() {
    const token = this.all[this.at++] ?? ".";
    return math("mo", { stretchy: "true" }, token === "." ? "" : SIGNS[token.slice(1)] ?? token);
  }

  fenced() {
    const left = this.fence();
    const inner = this.group("\\right");
    return math("mrow", {}, left, inner, this.fence());
  }

  matrix(kind) {
    if (++this.depth > MOST_DEPTH) throw new RangeError("a formula with too many groups within groups");
    const rows = [[]];
    while (this.at < this.all.length && !this.take("\\end")) {
      rows.at(-1).push(math("mtd", {}, this.row("&", "\\\\", "\\end")));
      if (this.take("\\\\")) rows.push([]);
      else this.take("&");
    }
    this.words();
    this.depth -= 1;
    const [left = "", right = ""] = FENCES[kind] ?? "";
    const table = math("mtable", {}, ...rows.filter((row) => row.length).map((row) => math("mtr", {}, ...row)));
    return math("mrow", {}, math("mo", { stretchy: "true" }, left), table, math("mo", { stretchy: "true" }, right));
  }
}

// A <math> element; of what is not TeX, its text.
export function formula(source, display) {
  const options = { display: display ? "block" : "inline" };
  try {
    const parser = new Parser(source);
    const parts = [];
    while (parser.at < parser.all.length) parts.push(parser.row("}"), parser.take("}") ? "" : "");
    return math("math", options, math("mrow", {}, ...parts.filter((part) => part)));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return math("math", options, math("mtext", {}, source));
  }
}
