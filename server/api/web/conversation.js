// A conversation is a tree of turns, since a question may be edited and an answer be given again:
//   {id, title, updated, turns: {id: turn}, tip}     tip: the last turn of what is shown, or null
//   turn: {id, parent, role, text, images, facts, form, answer, thumb}
//         parent: a turn's id, or null; the elder comes first in `turns`
//         form: whether the text is JSON that was asked for
//         answer: the server's name for it; "": none.  thumb: what the person said of it: up, down or none
//   image: {name, dataUrl} or {name, url}

const ANSWER = /^[\w.:-]{1,150}$/;
const THUMBS = ["up", "down"];
const ID = /^c[0-9a-f]{20}$/;  // begins with a letter, so that `turns` keeps its order
const LONGEST_TITLE = 60;

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return `c${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

export function isId(id) {
  return typeof id === "string" && ID.test(id);
}

export function newConversation() {
  return { id: newId(), title: "", updated: Date.now(), turns: {}, tip: null };
}

// From the first turn to `tip`.
export function path(conversation, tip = conversation.tip) {
  const turns = [];
  for (let id = tip; id !== null; id = conversation.turns[id].parent) turns.push(conversation.turns[id]);
  return turns.reverse();
}

export function titleFrom(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE - 1)}…` : line;
}

// Adds a turn below `parent` (an id or null) and shows it.
export function add(conversation, parent, { role, text, images = [], facts = "", form = false, answer = "" }) {
  const turn = { id: newId(), parent, role, text, images, facts, form, answer, thumb: "none" };
  conversation.turns[turn.id] = turn;
  conversation.tip = turn.id;
  conversation.title ||= titleFrom(text);
  return turn;
}

// Takes back a turn that nothing has followed.
export function takeBack(conversation, turn) {
  delete conversation.turns[turn.id];
  if (conversation.tip === turn.id) conversation.tip = turn.parent;
}

// The turn and what stands in its place in other branches, the eldest first.
export function siblings(conversation, turn) {
  return Object.values(conversation.turns).filter((other) => other.parent === turn.parent);
}

// Shows the branch of `turn`, to its newest end.
export function show(conversation, turn) {
  let tip = turn;
  for (let next = tip; next; next = Object.values(conversation.turns).findLast((child) => child.parent === tip.id)) tip = next;
  conversation.tip = tip.id;
}

// What a search looks through.
export function words(conversation) {
  return [conversation.title, ...Object.values(conversation.turns).map((turn) => turn.text)].join("\n").toLowerCase();
}

// One made of turns that follow each other: what the page kept before it had several.
export function fromTurns(turns) {
  const conversation = newConversation();
  for (const turn of turns) add(conversation, conversation.tip, turn);
  return conversation;
}

// Reading what came from elsewhere ----------------------------------------------------------------

function readImage(image) {
  const name = String(image?.name ?? "").slice(0, 300);
  if (/^data:image\/(jpeg|png|webp|bmp|gif);base64,[A-Za-z0-9+/=]+$/.test(image?.dataUrl)) return { name, dataUrl: image.dataUrl };
  if (/^https?:\/\/[^\s]+$/.test(image?.url)) return { name, url: image.url };
  return null;
}

function readTurn(turn, known) {
  const good = isId(turn?.id) && !(turn.id in known) && (turn.parent === null || turn.parent in known) &&
    ["user", "assistant"].includes(turn.role) && typeof turn.text === "string" && Array.isArray(turn.images);
  const images = good ? turn.images.map(readImage) : [null];
  if (images.includes(null)) return null;
  const answer = ANSWER.test(turn.answer) ? turn.answer : "";
  const thumb = THUMBS.includes(turn.thumb) ? turn.thumb : "none";
  return { id: turn.id, parent: turn.parent, role: turn.role, text: turn.text, images, facts: String(turn.facts ?? ""), form: turn.form === true,
           answer, thumb };
}

// `value` as a conversation with nothing else in it, or null if it is none.
export function read(value) {
  if (!isId(value?.id) || typeof value.turns !== "object" || value.turns === null) return null;
  const turns = { __proto__: null };  // "constructor" is in every other
  for (const each of Object.values(value.turns)) {
    const turn = readTurn(each, turns);  // a parent comes before its children, so there are no circles
    if (turn === null) return null;
    turns[turn.id] = turn;
  }
  if (!(value.tip in turns)) return null;
  const title = String(value.title ?? "").slice(0, 300);
  return { id: value.id, title, updated: Number(value.updated) || Date.now(), turns: { ...turns }, tip: value.tip };
}
