// The sampling settings: kept in the browser, but never the access token.
import { $ } from "./dom.js";
import { t } from "./texts.js";

const KEPT = "settings";
const FIELDS = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "repetition_penalty", "presence_penalty",
  "frequency_penalty"];

// localStorage, in a browser that may have none.
export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {}  // a browser that keeps nothing shows its own choice next time
}
export function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function rememberedFields() {
  try {
    return JSON.parse(remembered(KEPT)) ?? {};
  } catch {
    return {};
  }
}

// The JSON schema that answers are to have; null without one. Throws an Error that says what is wrong with it.
function schema() {
  const text = $("form").value.trim();
  if (!text) return null;
  const value = JSON.parse(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(t("notAnObject"));
  return value;
}

// Whether questions can be asked as they are set; otherwise the settings say what is wrong.
export function settingsAreGood() {
  let problem = "";
  try {
    schema();
  } catch (error) {
    problem = t("formWrong", { why: error.message });
  }
  $("form-problem").textContent = problem;
  if (problem) {
    toggleSettings(true);
    $("form").focus();
  }
  return problem === "";
}

export function hasForm() {
  return $("form").value.trim() !== "";
}

// The fields of a request; what is empty is the server's to choose.
export function sampling() {
  const values = FIELDS.map((name) => [name, $(name).value === "" ? undefined : Number($(name).value)]);
  const stop = $("stop_text").value;
  const form = schema();
  return { ...Object.fromEntries(values), stop: stop ? [stop] : undefined,
    response_format: form ? { type: "json_schema", json_schema: { name: "answer", schema: form, strict: true } } : undefined };
}

export function toggleSettings(open = $("settings").hidden) {
  $("settings").hidden = !open;
  $("settings-toggle").setAttribute("aria-expanded", String(open));
  if (open) $("temperature").focus();
}

export function listenForSettings() {
  const kept = rememberedFields();
  for (const name of FIELDS) {
    if (typeof kept[name] === "string") $(name).value = kept[name];
  }
  const keep = () => remember(KEPT, JSON.stringify(Object.fromEntries(FIELDS.map((name) => [name, $(name).value]))));
  for (const name of FIELDS) $(name).addEventListener("change", keep);
  $("settings-reset").addEventListener("click", () => {
    for (const name of [...FIELDS, "stop_text", "form"]) $(name).value = $(name).defaultValue;
    $("form-problem").textContent = "";
    keep();
  });
  $("settings-toggle").addEventListener("click", () => toggleSettings());
  $("settings").addEventListener("submit", (event) => event.preventDefault());
}
