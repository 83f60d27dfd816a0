// The messages of a conversation on the page. Knows how they look, not where they come from.
import { $, copy, el, iconButton } from "./dom.js";
import { markdown } from "./markdown.js";
import { thumbnail } from "./pictures.js";
import { jsonTable } from "./table.js";
import { t } from "./texts.js";

const log = $("log");

// Whether the person looks at the end of the conversation, and so wants to see it grow.
let following = true;
let lastTop = 0;
log.addEventListener("scroll", () => {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  // Only the person scrolls up; that the end is out of sight may be the composer's doing.
  following = atEnd || (following && log.scrollTop >= lastTop);
  lastTop = log.scrollTop;
});
export function follow() {
  if (following) log.scrollTop = log.scrollHeight;
}
new ResizeObserver(follow).observe(log);  // the composer grows and shrinks with its pictures

export function followAgain() {
  following = true;
  follow();
}

export function clear() {
  log.querySelectorAll(".message, .pair").forEach((node) => node.remove());
  $("welcome").hidden = false;
}

// Says "Copied" on the button for as long as somebody looks at it.
async function copyFrom(button, text) {
  const words = await copy(text) ? t("copied") : t("notCopied");
  const before = button.title;
  button.title = words;
  button.setAttribute("aria-label", words);
  button.classList.add("done");
  button.addEventListener("blur", () => {
    button.title = before;
    button.setAttribute("aria-label", before);
    button.classList.remove("done");
  }, { once: true });
  button.focus();
}

function copyButton(text) {
  const button = iconButton("copy", t("copy"), () => copyFrom(button, text()));
  return button;
}

// JSON as a table; as code as long as it is not complete.
function formed(text) {
  const table = jsonTable(text);
  return table ? [table] : markdown("```json\n" + text + "\n```");
}

// One message. Its text may be set again and again; what a model says is markdown, what a person says is not.
export class Message {
  #text = "";
  #drawn = 0;  // of an animation frame

  constructor(role, { text = "", images = [], facts = "", form = false } = {}) {
    this.role = role;
    this.form = form;  // whether the text is to be JSON
    this.bubble = el("div", { class: "bubble" });
    this.facts = el("p", { class: "facts" }, facts);
    this.actions = el("div", { class: "actions" });
    // The heading is for who hears the page and goes from message to message.
    this.node = el("article", { class: `message ${role}`, "aria-label": t(role) }, el("h2", { class: "off-screen" }, t(role)));
    if (images.length) {
      const strip = el("div", { class: images.length > 1 ? "strip several" : "strip" }, ...images.map(thumbnail));
      strip.querySelectorAll("img").forEach((picture) => picture.addEventListener("load", follow));
      this.node.append(strip);
    }
    this.node.append(this.bubble, el("div", { class: "foot" }, this.facts, this.actions));
    this.text = text;
    this.draw();
  }

  appendTo(place = log) {
    $("welcome").hidden = true;
    place.append(this.node);
    followAgain();
    return this;
  }

  get text() {
    return this.#text;
  }

  // Shown with the next frame: an answer comes faster than a screen shows it.
  set text(text) {
    this.#text = text;
    if (!this.#drawn) this.#drawn = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.#drawn);
    this.#drawn = 0;
    if (this.role === "user") this.bubble.textContent = this.#text;
    else this.bubble.replaceChildren(...(this.form ? formed : markdown)(this.#text.trim()));
    for (const code of this.bubble.querySelectorAll("figure.code")) {
      code.querySelector("figcaption").append(copyButton(() => code.querySelector("code").textContent));
    }
    follow();
  }

  wait(waiting) {
    this.bubble.classList.toggle("waiting", waiting);
    this.node.setAttribute("aria-busy", String(waiting));  // read out as a whole, when it is
  }

  fail(why) {
    const said = this.#text.trimStart();
    cancelAnimationFrame(this.#drawn);
    this.node.classList.add("failed");
    this.bubble.setAttribute("role", "alert");
    this.bubble.textContent = said ? `${said}\n\n${why}` : why;
    followAgain();  // also for those who were reading further up
  }

  // What may be done with it: functions of the page, and its place among `branches` turns.
  offer({ edit, regenerate, proceed, keep, onThumb, thumb, correct, branches, place, onBranch }) {
    const buttons = [copyButton(() => this.#text.trim())];
    if (edit) buttons.push(iconButton("edit", t("edit"), edit));
    if (regenerate) buttons.push(iconButton("again", t("regenerate"), regenerate));
    if (proceed) buttons.push(iconButton("proceed", t("proceed"), proceed));
    if (onThumb) buttons.push(this.#thumb("good", thumb === "up", () => onThumb("up")), this.#thumb("bad", thumb === "down", () => onThumb("down")));
    if (correct) buttons.push(iconButton("correct", t("correct"), correct));
    if (keep) buttons.push(el("button", { type: "button", class: "keep", onclick: keep }, t("keep")));
    if (branches > 1) buttons.push(...this.#switch(branches, place, onBranch));
    this.actions.replaceChildren(...buttons);
    follow();
  }

  #thumb(name, pressed, onclick) {
    const button = iconButton(name, t(name), onclick);
    button.classList.add("thumb", name);
    button.setAttribute("aria-pressed", String(pressed));
    return button;
  }

  #switch(branches, place, onBranch) {
    const before = iconButton("before", t("branchBefore"), () => onBranch(place - 1));
    const after = iconButton("after", t("branchAfter"), () => onBranch(place + 1));
    before.disabled = place === 0;
    after.disabled = place === branches - 1;
    const words = t("branch", { place: place + 1, count: branches });
    return [before, el("span", { class: "place", role: "img", "aria-label": words, title: words }, `${place + 1}/${branches}`), after];
  }

  // The text in a field; `done` gets the new one, and how to show the message again.
  edit(done, { label = t("edit"), submit = t("askAgain") } = {}) {
    const field = el("textarea", { class: "edit", rows: "3", "aria-label": label });
    field.value = this.#text;
    const cancel = () => {
      form.replaceWith(this.bubble);
      this.actions.hidden = false;
      $("question").focus();
    };
    const form = el("form", { class: "edit-form", onsubmit: (event) => {
      event.preventDefault();
      if (field.value.trim()) done(field.value.trim(), cancel);
    } }, field, el("div", { class: "row" },
      el("button", { type: "button", onclick: cancel }, t("cancel")),
      el("button", { type: "submit", class: "primary" }, submit)));
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") { event.stopPropagation(); cancel(); }
      if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
    });
    this.bubble.replaceWith(form);
    this.actions.hidden = true;
    field.focus();
  }
}

// A place for answers side by side.
export function pair() {
  return log.appendChild(el("div", { class: "pair" }));
}
