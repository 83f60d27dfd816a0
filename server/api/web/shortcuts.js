// Keys for what the buttons do. Alt with a letter, since browsers have Ctrl's letters themselves.
import { $ } from "./dom.js";

const isField = (node) => node instanceof HTMLElement && node.matches("input, textarea, select");

// actions: {KeyN: function, ...} by the key's place on the keyboard, so that every layout has them.
export function listenForKeys({ alt, stop, editLast }) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const action = event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey ? alt[event.code] : undefined;
    if (action) {
      event.preventDefault();
      action();
    } else if (event.key === "Escape") {
      stop();
    } else if (event.key === "?" && !isField(event.target)) {
      $("help").showModal();
    } else if (event.key === "ArrowUp" && event.target === $("question") && !$("question").value) {
      event.preventDefault();
      editLast();
    }
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
}
