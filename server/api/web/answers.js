// Asks the server for answers and shows them as they come.
import { streamChat } from "./api.js";
import { $ } from "./dom.js";
import { short } from "./models.js";
import { sampling } from "./settings.js";
import { t } from "./texts.js";

function toMessage({ role, text, images }) {
  const parts = images.map((image) => ({ type: "image_url", image_url: { url: image.dataUrl ?? image.url } }));
  return { role, content: parts.length === 0 ? text : [...parts, { type: "text", text }] };
}

// The pace is the server's: what the network and the browser deliver together arrives at no pace at all.
function describe({ usage, model, version, finishReason }, wait) {
  const facts = [];
  if (wait !== null) facts.push(t("firstToken", { seconds: (wait / 1000).toFixed(2) }));
  const rate = (usage?.completion_tokens - 1) / usage?.timings?.decode_seconds;
  if (rate > 0 && Number.isFinite(rate)) facts.push(t("pace", { rate: rate.toFixed(rate < 100 ? 1 : 0) }));
  if (usage) facts.push(t("tokens", { prompt: usage.prompt_tokens, answer: usage.completion_tokens }));
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  if (cached) facts.push(t("fromCache", { count: cached }));
  if (finishReason === "length") facts.push(t("cut"));
  if (model) facts.push(version ? `${model} ${short(version)}` : model);
  return facts.join(" · ");
}

// The bad picture of the question that was just asked, if the error is about one.
function badPicture(error, turns) {
  return error.picture?.message === turns.length - 1 ? turns.at(-1).images[error.picture.part] : undefined;
}

function explain(error, bad) {
  if (!error.picture) return error.message;
  return bad ? t("badPicture", { name: bad.name, why: error.message }) : t("badPictureBefore", { why: error.message });
}

// Fills `view` with the answer of `model` to `turns` as it comes; `view.text` may have a beginning.
// Resolves to {text, id, bad, failed}: what was said, also when stopped; the server's name for it, when
// it has ended; and the picture that the server cannot use, if that is what went wrong.
export async function answer(view, turns, model, signal) {
  const started = performance.now();
  let wait = null;  // for the first token
  const result = { text: "", id: "", bad: undefined, failed: false };
  view.wait(true);
  try {
    const body = { model, messages: turns.map(toMessage), ...sampling() };
    const end = await streamChat(body, {
      token: $("token").value, signal,
      onText: (piece) => {
        wait ??= performance.now() - started;
        result.text += piece;
        view.text += piece;
      },
    });
    result.id = end.id;
    view.draw();
    view.facts.textContent = describe(end, wait);
  } catch (error) {
    result.failed = true;
    if (error.name === "AbortError") {
      view.draw();
      view.facts.textContent = t("stopped");
    } else {
      result.bad = badPicture(error, turns);
      view.fail(explain(error, result.bad));
    }
  }
  view.wait(false);
  return result;
}
