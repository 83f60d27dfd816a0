// Collects pictures that the person drops, pastes, chooses, takes or names by address, and shows them
// above the question.
import { listenForCamera } from "./camera.js";
import { $, el } from "./dom.js";
import { t } from "./texts.js";
import { zoom } from "./zoom.js";

const KINDS = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"];

function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// A picture as a small button that shows it large. One of elsewhere is its address: the page loads nothing.
export function thumbnail(image) {
  if (image.url) return el("span", { class: "elsewhere", title: image.url }, image.name);
  return el("button", { type: "button", class: "thumbnail", title: t("enlarge", { name: image.name }), onclick: () => zoom(image) },
            el("img", { src: image.dataUrl, alt: image.name }));
}

export class Pictures {
  #items = [];  // {name, dataUrl} or {name, url}

  constructor({ onError }) {
    this.onError = onError;
    $("attach").addEventListener("click", () => $("file").click());
    for (const input of [$("file"), $("camera-file")]) {
      input.addEventListener("change", () => {
        this.add([...input.files]);  // a copy: the next line empties the list
        input.value = "";
      });
    }
    document.addEventListener("paste", (event) => this.add(event.clipboardData.files));
    listenForCamera({ onPicture: (file) => this.add([file]), onError });
    this.#listenForAddresses();
    this.#listenForDrops();
  }

  #listenForAddresses() {
    $("link-open").addEventListener("click", () => {
      $("link-address").value = "";
      $("link").showModal();
    });
    $("link-cancel").addEventListener("click", () => $("link").close());
    $("link-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const address = $("link-address").value.trim();
      if (!/^https?:\/\/\S+$/.test(address)) {
        $("link-problem").textContent = t("notAnAddress");
        return;
      }
      $("link-problem").textContent = "";
      const { hostname, pathname } = new URL(address);
      this.put([{ name: pathname.split("/").pop() || hostname, url: address }]);
      $("link").close();
      $("question").focus();
    });
  }

  #listenForDrops() {
    const drop = $("drop");
    let depth = 0;  // dragenter and dragleave also fire for every child
    document.addEventListener("dragenter", (event) => {
      if (event.dataTransfer.types.includes("Files")) { depth += 1; drop.hidden = false; }
    });
    document.addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      drop.hidden = depth === 0;
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      drop.hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  async add(files) {
    for (const file of files) {
      if (!KINDS.includes(file.type)) {
        this.onError(t("notAPicture", { name: file.name, type: file.type || t("thisKind") }));
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
    $("pictures").replaceChildren(...this.#items.map((item) => {
      const words = t("removePicture", { name: item.name });
      const remove = () => {
        this.#items = this.#items.filter((other) => other !== item);
        this.#show();
        $("question").focus();
      };
      const button = el("button", { type: "button", class: "remove", "aria-label": words, title: words, onclick: remove }, "×");
      return el("li", {}, thumbnail(item), button);
    }));
  }
}
