// Keeps the conversation in the browser (IndexedDB), so that a reload does not lose it. Tabs share
// one conversation: what was written last is what the next page shows.

// Of text and pictures; what is older is not kept.
export const MOST_CHARACTERS = 24 * 1024 * 1024;
const PLACE = { name: "llavad", store: "conversations", key: "current" };

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

function openDatabase() {
  const request = indexedDB.open(PLACE.name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(PLACE.store);
  return done(request);
}

function size(turn) {
  return turn.text.length + turn.images.reduce((sum, image) => sum + image.dataUrl.length, 0);
}

// The newest turns that fit, beginning with a question.
function newest(turns) {
  let left = MOST_CHARACTERS;
  let begin = turns.length;
  while (begin > 0 && (left -= size(turns[begin - 1])) >= 0) begin -= 1;
  while (begin < turns.length && turns[begin].role !== "user") begin += 1;
  return turns.slice(begin);
}

function isTurn(turn) {
  return ["user", "assistant"].includes(turn?.role) && typeof turn.text === "string" && typeof turn.facts === "string" &&
    Array.isArray(turn.images) &&
    turn.images.every((image) => typeof image?.name === "string" && String(image.dataUrl).startsWith("data:image/"));
}

// A turn is {role, text, images: [{name, dataUrl}], facts}. What goes wrong is told to `onProblem`
// in words; the page goes on without.
export class History {
  #database = null;

  constructor(onProblem) {
    this.onProblem = onProblem;
  }

  async load() {
    try {
      this.#database = await openDatabase();
      const turns = await done(this.#store("readonly").get(PLACE.key));
      return Array.isArray(turns) && turns.every(isTurn) ? turns : [];
    } catch {
      this.onProblem("This browser lets the page keep nothing: a reload will lose the conversation.");
      return [];
    }
  }

  async save(turns) {
    if (this.#database === null) return;
    const kept = newest(turns);
    if (kept.length < turns.length) {
      this.onProblem("The conversation is long: a reload will lose its oldest part.");
    }
    try {
      const store = this.#store("readwrite");
      if (kept.length === 0) store.delete(PLACE.key);
      else store.put(kept, PLACE.key);
      await committed(store.transaction);
    } catch {
      this.onProblem("The browser has no room for this conversation: a reload will lose its newest part.");
    }
  }

  #store(mode) {
    return this.#database.transaction(PLACE.store, mode).objectStore(PLACE.store);
  }
}
