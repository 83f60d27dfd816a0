// Collects pictures that the person drops, pastes or chooses, and shows them above the question.

const KINDS = ["image/jpeg", "image/png", "image/webp", "image/bmp"];

function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

export class Pictures {
  #items = [];  // {name, dataUrl}

  constructor({ list, fileInput, attach, drop, onError }) {
    Object.assign(this, { list, fileInput, drop, onError });
    attach.addEventListener("click", () => fileInput.click());
    fileInput.addEventListener("change", () => {
      this.add([...fileInput.files]);  // a copy: the next line empties the list
      fileInput.value = "";
    });
    document.addEventListener("paste", (event) => this.add(event.clipboardData.files));
    this.#listenForDrops();
  }

  #listenForDrops() {
    let depth = 0;  // dragenter and dragleave also fire for every child
    document.addEventListener("dragenter", (event) => {
      if (event.dataTransfer.types.includes("Files")) { depth += 1; this.drop.hidden = false; }
    });
    document.addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      this.drop.hidden = depth === 0;
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      this.drop.hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  async add(files) {
    for (const file of files) {
      if (!KINDS.includes(file.type)) {
        this.onError(`${file.name}: ${file.type || "this kind of file"} is not supported. Use JPEG, PNG, WebP or BMP.`);
        continue;
      }
      this.#items.push({ name: file.name, dataUrl: await readAsDataUrl(file) });
      this.#show();
    }
  }

  // Hands over the pictures and starts again with none.
  take() {
    const items = this.#items;
    this.#items = [];
    this.#show();
    return items;
  }

  put(items) {
    this.#items = [...items, ...this.#items];
    this.#show();
  }

  #show() {
    this.list.replaceChildren(...this.#items.map((item) => {
      const entry = document.createElement("li");
      const picture = Object.assign(document.createElement("img"), { src: item.dataUrl, alt: item.name });
      const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
      remove.setAttribute("aria-label", `Remove ${item.name}`);
      remove.addEventListener("click", () => {
        this.#items = this.#items.filter((other) => other !== item);
        this.#show();
      });
      entry.append(picture, remove);
      return entry;
    }));
  }
}
