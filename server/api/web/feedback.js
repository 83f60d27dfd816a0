// What the server keeps of this person's conversations, and what the person says of its answers.
import { feedbackTerms, giveFeedback } from "./api.js";
import { $ } from "./dom.js";
import { t } from "./texts.js";

const NOTHING = { texts: false, pictures: false, retention_seconds: 0 };
let terms = NOTHING;

// Says on the page what is kept. A server that does not tell keeps nothing that could be judged.
export async function loadTerms() {
  terms = await feedbackTerms($("token").value).catch(() => NOTHING);
  $("kept").hidden = !terms.texts;
  $("kept").textContent = t(terms.pictures ? "keepsPictures" : "keepsTexts", { days: Math.ceil(terms.retention_seconds / 86400) });
}

// Whether the server keeps the last of these turns, so that it can be judged.
export function isKept(turns) {
  if (!turns.at(-1).answer) return false;
  return turns.some(({ images }) => images.length) ? terms.pictures : terms.texts;
}

// `thumb`: up, down or none; resolves when the server has it.
export function judge(turn, thumb, correction = undefined) {
  return giveFeedback({ id: turn.answer, verdict: thumb, correction }, $("token").value);
}
