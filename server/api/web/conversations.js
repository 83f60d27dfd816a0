// The list of conversations at the side: open, search, rename, delete, export, import.
import { read } from "./conversation.js";
import { $, download, el, iconButton } from "./dom.js";
import { language, t } from "./texts.js";

const FORMAT = "llavad-conversations";

function day(time) {
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(time);
}

function fileOf(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations });
}

// The conversations of a file, or null.
function readFile(text) {
  try {
    const file = JSON.parse(text);
    const conversations = file.format === FORMAT && file.version === 1 ? file.conversations.map(read) : [null];
    return conversations.includes(null) ? null : conversations;
  } catch {
    return null;
  }
}

export class Conversations {
  #summaries = [];
  #current = null;  // the id of what is shown

  // onOpen(id), onRemoved(id) and onRenamed(id, title) tell the page; `say` tells the person.
  constructor({ store, say, onOpen, onRemoved, onRenamed }) {
    Object.assign(this, { store, say, onOpen, onRemoved, onRenamed });
    $("search").addEventListener("input", () => this.#show());
    $("export").addEventListener("click", async () => download("llavad-conversations.json", fileOf(await store.all())));
    $("import").addEventListener("click", () => $("import-file").click());
    $("import-file").addEventListener("change", async () => {
      const files = [...$("import-file").files];
      $("import-file").value = "";
      for (const file of files) await this.#import(file);
    });
  }

  async refresh(current = this.#current) {
    this.#current = current;
    this.#summaries = await this.store.list();
    this.#show();
  }

  async #import(file) {
    const conversations = readFile(await file.text());
    if (conversations === null) {
      this.say(t("notAnExport", { name: file.name }));
      return;
    }
    for (const conversation of conversations) {
      if (!await this.store.save(conversation)) return;
    }
    await this.refresh();
    this.say(t("imported", { count: conversations.length }));
  }

  #show() {
    const sought = $("search").value.trim().toLowerCase().split(/\s+/);
    const found = this.#summaries.filter(({ words }) => sought.every((word) => words.includes(word)));
    $("conversation-list").replaceChildren(...found.map((summary) => this.#entry(summary)));
    $("no-conversations").textContent = found.length ? "" : this.#summaries.length ? t("nothingFound") : t("noConversations");
    $("export").disabled = this.#summaries.length === 0;
  }

  #entry(summary) {
    const { id, title, updated } = summary;
    const name = title || t("untitled");
    const open = el("button", { type: "button", class: "open", onclick: () => this.onOpen(id) },
                    el("span", { class: "title" }, name), el("span", { class: "day" }, day(updated)));
    if (id === this.#current) open.setAttribute("aria-current", "true");
    const entry = el("li", {}, open, el("span", { class: "entry-tools" },
      iconButton("edit", t("rename", { name }), () => this.#rename(entry, summary)),
      iconButton("save", t("exportOne", { name }), async () => download("llavad-conversation.json", fileOf([await this.store.get(id)]))),
      iconButton("remove", t("remove", { name }), () => this.#remove(id, name))));
    return entry;
  }

  #rename(entry, { id, title }) {
    const field = el("input", { type: "text", class: "title-field", maxlength: "300", "aria-label": t("newTitle") });
    field.value = title;
    let over = false;
    const end = async (keep) => {
      if (over) return;
      over = true;
      const name = field.value.trim();
      if (keep && name && name !== title) {
        const conversation = await this.store.get(id);
        if (conversation) await this.store.save({ ...conversation, title: name });
        this.onRenamed(id, name);
      }
      await this.refresh();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) end(true);
      if (event.key === "Escape") end(false);
      event.stopPropagation();
    });
    field.addEventListener("blur", () => end(true));
    entry.replaceChildren(field);
    field.select();
  }

  async #remove(id, name) {
    if (!window.confirm(t("reallyRemove", { name }))) return;
    await this.store.remove(id);
    this.onRemoved(id);
    await this.refresh();
    $("search").focus();
  }
}
