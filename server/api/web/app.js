// The chat page: keeps the conversation, sends it, shows the answer as it grows.
import { listModels, streamChat } from "./api.js";
import { Pictures } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const log = $("log");
const question = $("question");
let messages = [];      // the conversation in the API's form
let running = null;     // AbortController of the answer under way

const pictures = new Pictures({
  list: $("pictures"), fileInput: $("file"), attach: $("attach"), drop: $("drop"),
  onError: (text) => { $("status").textContent = text; },
});

// Whether the person looks at the end of the conversation, and so wants to see it grow.
let following = true;
log.addEventListener("scroll", () => {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
});
function follow() {
  if (following) log.scrollTop = log.scrollHeight;
}

function showMessage(role, text, images = []) {
  $("welcome").hidden = true;
  const message = document.createElement("article");
  message.className = `message ${role}`;
  message.setAttribute("aria-label", role === "user" ? "You" : "Answer");
  for (const image of images) {
    const picture = Object.assign(document.createElement("img"), { alt: image.name });
    picture.addEventListener("load", follow);
    picture.src = image.dataUrl;
    message.append(picture);
  }
  const bubble = Object.assign(document.createElement("div"), { className: "bubble", textContent: text });
  const facts = Object.assign(document.createElement("p"), { className: "facts" });
  message.append(bubble, facts);
  log.append(message);
  following = true;
  follow();
  return { message, bubble, facts };
}

function number(id) {
  const value = $(id).value;
  return value === "" ? undefined : Number(value);
}

function sampling() {
  return {
    temperature: number("temperature"), top_p: number("top_p"), top_k: number("top_k"),
    max_tokens: number("max_tokens"), seed: number("seed"),
  };
}

function content(text, images) {
  if (images.length === 0) return text;
  const parts = images.map((image) => ({ type: "image_url", image_url: { url: image.dataUrl } }));
  return [...parts, { type: "text", text }];
}

const short = (version) => version.slice(0, 8);

// The pace is the server's: what the network and the browser deliver together arrives at no pace at all.
function describe({ usage, model, version, finishReason }, wait) {
  const facts = [];
  if (wait !== null) facts.push(`first token ${(wait / 1000).toFixed(2)} s`);
  const rate = (usage?.completion_tokens - 1) / usage?.timings?.decode_seconds;
  if (rate > 0 && Number.isFinite(rate)) facts.push(`${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s`);
  if (usage) facts.push(`${usage.prompt_tokens} + ${usage.completion_tokens} tokens`);
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  if (cached) facts.push(`${cached} from cache`);
  if (finishReason === "length") facts.push("cut at the longest answer");
  if (model) facts.push(version ? `${model} ${short(version)}` : model);
  return facts.join(" · ");
}

function setRunning(controller) {
  running = controller;
  $("send").hidden = controller !== null;
  if (controller === null && document.activeElement === $("stop")) question.focus();
  $("stop").hidden = controller === null;
}

// Fills `view` as the answer comes; what was said stays in the conversation, also when stopped.
async function answer(view) {
  const controller = new AbortController();
  setRunning(controller);
  const started = performance.now();
  let wait = null;  // for the first token
  let text = "";
  view.bubble.classList.add("waiting");
  try {
    const body = { model: $("model").value || undefined, messages, ...sampling() };
    const result = await streamChat(body, {
      token: $("token").value, signal: controller.signal,
      onText: (piece) => {
        wait ??= performance.now() - started;
        text += piece;
        view.bubble.textContent = text.trimStart();
        follow();
      },
    });
    view.facts.textContent = describe(result, wait);
  } catch (error) {
    if (error.name === "AbortError") {
      view.facts.textContent = "stopped";
    } else {
      view.message.classList.add("failed");
      view.message.setAttribute("role", "alert");
      view.bubble.textContent = text ? `${text.trimStart()}\n\n${error.message}` : error.message;
    }
  }
  view.bubble.classList.remove("waiting");
  follow();
  setRunning(null);
  return text;
}

async function ask(text) {
  const images = pictures.take();
  showMessage("user", text, images);
  messages.push({ role: "user", content: content(text, images) });
  const said = await answer(showMessage("assistant", ""));
  if (said) {
    messages.push({ role: "assistant", content: said });
    return;
  }
  messages.pop();  // without an answer the question goes back to where it can be sent again
  if (!question.value) question.value = text;
  pictures.put(images);
}

function resize() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
  follow();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || running) return;
  $("status").textContent = "";
  question.value = "";
  resize();
  ask(text);
});
question.addEventListener("input", resize);
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("new-chat").addEventListener("click", () => {
  running?.abort();
  messages = [];
  log.querySelectorAll(".message").forEach((message) => message.remove());
  $("welcome").hidden = false;
  question.focus();
});
$("settings-toggle").addEventListener("click", (event) => {
  $("settings").hidden = !$("settings").hidden;
  event.target.setAttribute("aria-expanded", String(!$("settings").hidden));
});
$("settings").addEventListener("submit", (event) => event.preventDefault());
document.querySelectorAll(".example").forEach((button) => button.addEventListener("click", () => {
  question.value = button.textContent;
  resize();
  question.focus();
}));

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}
setTheme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

// One choice for a model that answers in one version; with several, the server's choice and each of them.
function modelOptions(model, index, models) {
  const versions = models.filter((other) => other.id === model.id);
  if (versions.length === 1) return [new Option(`${model.id} (${short(model.version)})`, model.id)];
  const one = new Option(`${model.id} (${short(model.version)})`, `${model.id}@${model.version}`);
  return versions[0] === model ? [new Option(model.id, model.id), one] : [one];
}

async function loadModels() {
  try {
    const models = await listModels($("token").value);
    const chosen = $("model").value;
    $("model").replaceChildren(...models.flatMap(modelOptions));
    if ([...$("model").options].some((option) => option.value === chosen)) $("model").value = chosen;
    $("status").textContent = models.length ? "" : "The server has no model yet.";
  } catch (error) {
    $("status").textContent = error.message;
  }
}
$("token").addEventListener("change", loadModels);
document.addEventListener("visibilitychange", () => { if (!document.hidden) loadModels(); });
loadModels();
question.focus();
