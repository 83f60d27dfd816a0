// The chat page: keeps the conversation, sends it, shows the answer as it grows.
import { listModels, streamChat } from "./api.js";
import { History } from "./history.js";
import { Pictures } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const log = $("log");
const question = $("question");
let turns = [];      // the conversation; see history.js
let running = null;  // AbortController of the answer under way

function say(text) {
  $("status").textContent = text;
}

const pictures = new Pictures({
  list: $("pictures"), fileInput: $("file"), attach: $("attach"), drop: $("drop"),
  onError: say,
});
const history = new History(say);

// Whether the person looks at the end of the conversation, and so wants to see it grow.
let following = true;
let lastTop = 0;
log.addEventListener("scroll", () => {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  // Only the person scrolls up; that the end is out of sight may be the composer's doing.
  following = atEnd || (following && log.scrollTop >= lastTop);
  lastTop = log.scrollTop;
});
function follow() {
  if (following) log.scrollTop = log.scrollHeight;
}
new ResizeObserver(follow).observe(log);  // the composer grows and shrinks with its pictures

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

function toMessage({ role, text, images }) {
  const parts = images.map((image) => ({ type: "image_url", image_url: { url: image.dataUrl } }));
  return { role, content: parts.length === 0 ? text : [...parts, { type: "text", text }] };
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

// The bad picture of the question that was just asked, if the error is about one.
function badPicture(error) {
  return error.picture?.message === turns.length - 1 ? turns.at(-1).images[error.picture.part] : undefined;
}

function showFailure(view, text, error) {
  const bad = badPicture(error);
  const why = !error.picture ? error.message
    : bad ? `The server cannot use this picture, ${bad.name}: ${error.message}`
    : `The server cannot use a picture of this conversation: ${error.message}`;
  view.message.classList.add("failed");
  view.message.setAttribute("role", "alert");
  view.bubble.textContent = text ? `${text.trimStart()}\n\n${why}` : why;
  following = true;  // also for those who were reading further up
  return bad;
}

// Fills `view` as the answer comes; what was said stays in the conversation, also when stopped.
// Resolves to {text, bad}: the picture that the server cannot use, if that is what went wrong.
async function answer(view) {
  const controller = new AbortController();
  setRunning(controller);
  const started = performance.now();
  let wait = null;  // for the first token
  let text = "", bad;
  view.bubble.classList.add("waiting");
  try {
    const body = { model: $("model").value || undefined, messages: turns.map(toMessage), ...sampling() };
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
    if (error.name === "AbortError") view.facts.textContent = "stopped";
    else bad = showFailure(view, text, error);
  }
  view.bubble.classList.remove("waiting");
  follow();
  setRunning(null);
  return { text, bad };
}

async function ask(text) {
  const images = pictures.take();
  await restored;
  const conversation = turns;
  showMessage("user", text, images);
  turns.push({ role: "user", text, images, facts: "" });
  const view = showMessage("assistant", "");
  const said = await answer(view);
  if (turns !== conversation) return;  // a new one has begun
  if (said.text) {
    turns.push({ role: "assistant", text: said.text, images: [], facts: view.facts.textContent });
    await history.save(turns);
    return;
  }
  turns.pop();  // without an answer the question goes back to where it can be sent again
  if (!question.value) question.value = text;
  resize();
  pictures.put(images.filter((image) => image !== said.bad));
}

async function restore() {
  turns = await history.load();
  for (const { role, text, images, facts } of turns) {
    showMessage(role, text.trimStart(), images).facts.textContent = facts;
  }
}
const restored = restore();

function resize() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
  follow();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || running) return;
  say("");
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
  turns = [];
  history.save(turns);
  say("");
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
  try {
    localStorage.setItem("theme", theme);
  } catch {}  // a browser that keeps nothing shows its own choice next time
}
function keptTheme() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}
setTheme(keptTheme() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

// One choice for a model that answers in one version; with several, the server's choice and each of them.
function modelOptions(model, index, models) {
  const versions = models.filter((other) => other.id === model.id);
  if (versions.length === 1) return [new Option(`${model.id} (${short(model.version)})`, model.id)];
  const one = new Option(`${model.id} (${short(model.version)})`, `${model.id}@${model.version}`);
  return versions[0] === model ? [new Option(model.id, model.id), one] : [one];
}

let modelsProblem = "";  // as the status shows it; what else stands there stays
async function loadModels() {
  const shown = modelsProblem;
  try {
    const models = (await listModels($("token").value)).filter((model) => (model.root ?? model.id) === model.id);
    const chosen = $("model").value;
    $("model").replaceChildren(...models.flatMap(modelOptions));
    if ([...$("model").options].some((option) => option.value === chosen)) $("model").value = chosen;
    modelsProblem = models.length ? "" : "The server has no model yet.";
  } catch (error) {
    modelsProblem = error.message;
  }
  if (modelsProblem || $("status").textContent === shown) say(modelsProblem);
}
$("token").addEventListener("change", loadModels);
document.addEventListener("visibilitychange", () => { if (!document.hidden) loadModels(); });
loadModels();
question.focus();
