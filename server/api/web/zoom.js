// A picture in the whole window: a click shows it at its own size and back.
import { $ } from "./dom.js";

export function zoom({ name, dataUrl }) {
  const picture = $("zoom-picture");
  picture.src = dataUrl;
  picture.alt = name;
  $("zoom-name").textContent = name;
  $("zoom").classList.remove("full");
  $("zoom").showModal();
}

$("zoom-toggle").addEventListener("click", () => $("zoom").classList.toggle("full"));
$("zoom").addEventListener("close", () => $("zoom-picture").removeAttribute("src"));
