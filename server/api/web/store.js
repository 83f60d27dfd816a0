// Keeps conversations in the browser (IndexedDB). Tabs share them. A conversation is kept twice: as a
// whole, and as {id, title, updated, words} for the list, which need not read pictures.
import { fromTurns, words } from "./conversation.js";
import { t } from "./texts.js";

const NAME = "llavad";
const VERSION = 2;  // 1 had one conversation, as a list of turns

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// A value is stored only when its transaction has ended: a full disk shows then.
function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

function summary({ id, title, updated, ...rest }) {
  return { id, title, updated, words: words({ title, ...rest }) };
}

function put(transaction, conversation) {
  transaction.objectStore("trees").put(conversation);
  transaction.objectStore("summaries").put(summary(conversation));
}

// Takes over the one conversation of version 1.
function takeOver(database, transaction) {
  const request = transaction.objectStore("conversations").get("current");
  request.onsuccess = () => {
    const turns = request.result;
    if (Array.isArray(turns) && turns.length > 0) put(transaction, fromTurns(turns));
    database.deleteObjectStore("conversations");
  };
}

function openDatabase() {
  const request = indexedDB.open(NAME, VERSION);
  return new Promise((resolve, reject) => {
    request.onupgradeneeded = ({ oldVersion }) => {
      request.result.createObjectStore("summaries", { keyPath: "id" });
      request.result.createObjectStore("trees", { keyPath: "id" });
      if (oldVersion === 1) takeOver(request.result, request.transaction);
    };
    request.onblocked = () => reject(new Error("a page of before holds the conversations"));
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// What goes wrong is told to `onProblem` in words; the page goes on without. `onChange` is called when
// another tab has changed something.
export class Store {
  #database = null;
  #tabs = null;

  constructor({ onProblem, onChange }) {
    this.onProblem = onProblem;
    this.onChange = onChange;
  }

  async open() {
    try {
      this.#database = await openDatabase();
      this.#database.onversionchange = () => this.#database.close();
      this.#tabs = new BroadcastChannel(NAME);
      this.#tabs.onmessage = () => this.onChange();
    } catch {
      this.onProblem(t("keepsNothing"));
    }
  }

  // [{id, title, updated, words}], the newest first.
  async list() {
    if (!this.#database) return [];
    const all = await done(this.#database.transaction("summaries").objectStore("summaries").getAll());
    return all.sort((a, b) => b.updated - a.updated);
  }

  async get(id) {
    if (!this.#database) return null;
    return await done(this.#database.transaction("trees").objectStore("trees").get(id)) ?? null;
  }

  async all() {
    return this.#database ? done(this.#database.transaction("trees").objectStore("trees").getAll()) : [];
  }

  // Keeps the conversation, together with turns that another tab has added to it.
  async save(conversation) {
    return this.#write(async (transaction) => {
      const kept = await done(transaction.objectStore("trees").get(conversation.id));
      put(transaction, { ...conversation, turns: { ...kept?.turns, ...conversation.turns } });
    });
  }

  async remove(id) {
    return this.#write(async (transaction) => {
      transaction.objectStore("trees").delete(id);
      transaction.objectStore("summaries").delete(id);
    });
  }

  async #write(change) {
    if (!this.#database) return false;
    try {
      const transaction = this.#database.transaction(["trees", "summaries"], "readwrite");
      const end = committed(transaction);
      await Promise.all([change(transaction), end]);
      this.#tabs.postMessage("changed");
      return true;
    } catch {
      this.onProblem(t("noRoom"));
      return false;
    }
  }
}
