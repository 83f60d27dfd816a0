// The chat page: which conversation is shown, and what happens to it.
import { answer } from "./answers.js";
import { add, isId, newConversation, path, show, siblings, takeBack } from "./conversation.js";
import { Conversations } from "./conversations.js";
import { $ } from "./dom.js";
import { allowInstalling } from "./install.js";
import { isKept, judge, loadTerms } from "./feedback.js";
import { clear, follow, Message, pair } from "./messages.js";
import { chosenModels, loadModels } from "./models.js";
import { Pictures } from "./pictures.js";
import { hasForm, listenForSettings, remember, remembered, settingsAreGood, toggleSettings } from "./settings.js";
import { listenForKeys } from "./shortcuts.js";
import { Store } from "./store.js";
import { chooseLanguage, listenForLanguage, t } from "./texts.js";

const question = $("question");
let current = newConversation();
let shown = [];      // [{turn, view, rival}]: the messages of `current`; rival: beside another answer
let running = null;  // AbortController of the answer under way

function say(text) {
  $("status").textContent = text;
}

chooseLanguage(remembered("language"));
listenForSettings();
const pictures = new Pictures({ onError: say });
const store = new Store({ onProblem: say, onChange: () => list.refresh() });
const list = new Conversations({
  store, say,
  onOpen: (id) => { location.hash = id; closeSide(); },
  onRemoved: (id) => { if (id === current.id) startAnew(); },
  onRenamed: (id, title) => { if (id === current.id) nameIt(title); },
});

// What is shown ------------------------------------------------------------------------------------

function nameIt(title) {
  current.title = title;
  document.title = title ? `${title} – llavad` : t("title");
}

function showTurn(turn, place, rival = false) {
  const view = new Message(turn.role, { ...turn, text: turn.text }).appendTo(place);
  shown.push({ turn, view, rival });
  return view;
}

function render() {
  clear();
  shown = [];
  for (const turn of path(current)) showTurn(turn);
  nameIt(current.title);
  offerActions();
}

function switchTo(turn) {
  show(current, turn);
  render();
  store.save(current);
}

function offer({ turn, view, rival }, last) {
  const all = siblings(current, turn);
  view.offer({
    edit: turn.role === "user" ? () => view.edit((text) => editQuestion(turn, text)) : null,
    regenerate: turn.role === "assistant" && !rival ? () => regenerate(turn) : null,
    proceed: turn.role === "assistant" && last && !rival && !turn.form ? () => proceed(turn, view) : null,
    ...thumbs(turn, view),
    keep: rival ? () => { switchTo(turn); question.focus(); } : null,
    branches: rival ? 0 : all.length, place: all.indexOf(turn),
    onBranch: (place) => switchTo(all[place]),
  });
}

// What may be said of an answer that the server keeps.
function thumbs(turn, view) {
  if (turn.role !== "assistant" || !isKept(path(current, turn.id))) return {};
  return {
    thumb: turn.thumb,
    onThumb: (thumb) => sayOf(turn, view, thumb === turn.thumb ? "none" : thumb),
    correct: turn.thumb === "down" ? () => view.edit((text, close) => {
      close();
      sayOf(turn, view, "down", text);
    }, { label: t("correct"), submit: t("send") }) : null,
  };
}

async function sayOf(turn, view, thumb, correction) {
  const conversation = current;
  try {
    await judge(turn, thumb, correction);
  } catch (error) {
    say(error.message);
    return;
  }
  turn.thumb = thumb;
  await store.save(conversation);
  say(thumb === "none" ? "" : t(correction ? "corrected" : "judged"));
  if (conversation === current) offerActions();
  view.actions.querySelector(".thumb[aria-pressed=true]")?.focus();
}

function offerActions() {
  shown = shown.filter(({ turn }) => turn.id in current.turns);
  shown.forEach((each, index) => offer(each, index === shown.length - 1));
}

// Answers ------------------------------------------------------------------------------------------

function setRunning(controller) {
  running = controller;
  document.body.classList.toggle("busy", controller !== null);
  $("send").hidden = controller !== null;
  if (controller === null && document.activeElement === $("stop")) question.focus();
  $("stop").hidden = controller === null;
}

async function keep(conversation) {
  conversation.updated = Date.now();
  await store.save(conversation);
  if (conversation === current && location.hash.slice(1) !== current.id) history.pushState(null, "", `#${current.id}`);
  await list.refresh(current.id);
}

// Runs `ask(signal)` with the page saying that an answer is under way.
async function underWay(ask) {
  const controller = new AbortController();
  setRunning(controller);
  const result = await ask(controller.signal);
  if (running === controller) setRunning(null);
  return result;
}

// Answers to the turn `parent`, of one model or of two side by side. Resolves to {kept, views, bad}:
// whether something was said, and so stands in the conversation.
async function answerTo(conversation, parent) {
  const models = chosenModels();
  const place = models.length > 1 ? pair() : undefined;
  const form = hasForm();
  const views = models.map(() => new Message("assistant", { form }).appendTo(place));
  const turns = path(conversation, parent.id);
  const said = await underWay((signal) => Promise.all(views.map((view, i) => answer(view, turns, models[i], signal))));
  const answers = said.flatMap(({ text, id }, i) => (text ? [{ text, id, view: views[i] }] : []));
  const added = answers.map(({ text, id, view }) => ({
    turn: add(conversation, parent.id, { role: "assistant", text, facts: view.facts.textContent, form, answer: id }), view, rival: models.length > 1 }));
  if (added.length === 0) return { kept: false, views, bad: said[0].bad };
  conversation.tip = added[0].turn.id;
  if (conversation === current) {
    shown.push(...added);
    offerActions();
    nameIt(current.title);
  }
  await keep(conversation);
  return { kept: true, views };
}

async function ask(text) {
  const images = pictures.take();
  await opened;
  const conversation = current;
  if (shown.some(({ rival }) => rival)) render();  // the first of two answers is the one that it goes on from
  const turn = add(conversation, conversation.tip, { role: "user", text, images });
  showTurn(turn);
  const { kept, bad } = await answerTo(conversation, turn);
  if (kept) return;
  takeBack(conversation, turn);
  if (conversation !== current) return;  // another one is shown
  offerActions();
  if (!question.value) question.value = text;  // it goes back to where it can be sent again
  resize();
  pictures.put(images.filter((image) => image !== bad));
}

// An answer in a branch of its own below `parent`; without one the old branch stays.
async function branch(parent, before) {
  const conversation = current;
  conversation.tip = parent.id;
  render();
  question.focus();
  const { kept, views } = await answerTo(conversation, parent);
  if (kept) return;
  conversation.tip = before;
  if (conversation.turns[parent.id] && !Object.values(conversation.turns).some((turn) => turn.parent === parent.id)) {
    takeBack(conversation, parent);
  }
  if (conversation !== current) return;
  render();
  views.filter((view) => view.node.classList.contains("failed")).forEach((view) => view.appendTo());
}

function regenerate(turn) {
  if (!running) branch(current.turns[turn.parent], current.tip);
}

function editQuestion(turn, text) {
  if (running) return;
  const before = current.tip;
  branch(add(current, turn.parent, { role: "user", text, images: turn.images }), before);
}

// The answer goes on where it ended.
async function proceed(turn, view) {
  if (running) return;
  const conversation = current;
  question.focus();
  const { text, id } = await underWay((signal) => answer(view, path(conversation, turn.id), chosenModels()[0], signal));
  turn.text += text;
  if (text) Object.assign(turn, { answer: id, thumb: "none" });
  turn.facts = view.facts.textContent;
  if (text) await keep(conversation);
}

// Conversations ------------------------------------------------------------------------------------

function startAnew() {
  running?.abort();
  current = newConversation();
  if (location.hash) history.pushState(null, "", location.pathname);
  say("");
  render();
  list.refresh(current.id);
  closeSide();
  question.focus();
}

// The conversation that the address names; without one, a new one.
async function openFromAddress() {
  const id = location.hash.slice(1);
  if (id === current.id) return;
  running?.abort();
  current = (isId(id) && await store.get(id)) || newConversation();
  render();
  await list.refresh(current.id);
}
const opened = store.open().then(openFromAddress);
window.addEventListener("hashchange", openFromAddress);
window.addEventListener("popstate", openFromAddress);

const narrow = matchMedia("(max-width: 860px)");
function toggleSide(open = $("side").hidden) {
  $("side").hidden = !open;
  $("side-toggle").setAttribute("aria-expanded", String(open));
  if (open && narrow.matches) $("search").focus();
}
function closeSide() {
  if (narrow.matches) toggleSide(false);
}
toggleSide(!narrow.matches);
narrow.addEventListener("change", () => toggleSide(!narrow.matches));
$("side-toggle").addEventListener("click", () => toggleSide());
$("new-chat").addEventListener("click", startAnew);

// The composer -------------------------------------------------------------------------------------

function resize() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
  follow();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || running || !settingsAreGood()) return;
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
$("stop").addEventListener("click", () => running?.abort());
document.querySelectorAll(".example").forEach((button) => button.addEventListener("click", () => {
  question.value = button.textContent;
  resize();
  question.focus();
}));
$("skip").addEventListener("click", (event) => {
  event.preventDefault();  // the address names the conversation
  question.focus();
});

function lastOf(role) {
  return shown.findLast(({ turn, rival }) => turn.role === role && !rival);
}
listenForKeys({
  alt: {
    KeyN: startAnew,
    KeyK: () => { toggleSide(true); $("search").focus(); },
    KeyS: () => toggleSettings(),
    KeyR: () => { if (lastOf("assistant")) regenerate(lastOf("assistant").turn); },
    KeyQ: () => question.focus(),
  },
  stop: () => {
    if (running) running.abort();
    else closeSide();
  },
  editLast: () => {
    const last = lastOf("user");
    if (last && !running) last.view.edit((text) => editQuestion(last.turn, text));
  },
});

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
}
setTheme(remembered("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

// What the server has, and what it keeps.
async function meetServer() {
  if (!await loadModels(say)) return;
  await loadTerms();
  offerActions();
}

listenForLanguage((code) => {
  remember("language", code);
  render();
  list.refresh();
  meetServer();
});

$("token").addEventListener("change", meetServer);
document.addEventListener("visibilitychange", () => { if (!document.hidden) meetServer(); });
meetServer();
allowInstalling();
question.focus();
