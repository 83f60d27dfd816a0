// Talks to the daemon: the model list and streamed chat completions. Knows nothing of the page.
import { t } from "./texts.js";

// What went wrong, in words for a person. `status` is 0 when the server was not reached. `picture`
// is the bad one's place, {message, part}, when it is about a picture of the request.
export class ApiError extends Error {
  constructor(status, message, picture = null) {
    super(message);
    this.status = status;
    this.picture = picture;
  }
}

function headers(token) {
  return token ? { "Content-Type": "application/json", Authorization: `Bearer ${token}` }
               : { "Content-Type": "application/json" };
}

// The page knows pictures, not fields such as messages[0].content[1].image_url.url.
function pictureError(status, message, param) {
  const place = /^messages\[(\d+)\]\.content\[(\d+)\]\.image_url/.exec(param);
  return place && new ApiError(status, message.slice(param.length + 2), { message: Number(place[1]), part: Number(place[2]) });
}

async function failure(response) {
  let message = "", param = null;
  try {
    ({ message, param } = (await response.json()).error);
  } catch {
    message = response.statusText;
  }
  return pictureError(response.status, message, param) ?? new ApiError(response.status, explain(response, message));
}

function explain(response, why) {
  switch (response.status) {
    case 401: return t("wantsToken", { why });
    case 413: return t("tooLarge", { why });
    case 429: {
      const seconds = response.headers.get("Retry-After");
      return seconds ? t("busyFor", { seconds, why }) : t("busy", { why });
    }
    case 503: return t("notReady", { why });
    default: return why;
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, t("notReached"));
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function listModels(token) {
  const response = await request("v1/models", { headers: headers(token) });
  return (await response.json()).data;
}

// What the server keeps of this token's conversations: {texts, pictures, retention_seconds}.
export async function feedbackTerms(token) {
  const response = await request("v1/feedback", { headers: headers(token) });
  return response.json();
}

// {id, verdict: up, down or none, correction}
export async function giveFeedback(feedback, token) {
  await request("v1/feedback", { method: "POST", headers: headers(token), body: JSON.stringify(feedback) });
}

// The JSON values of a server-sent event stream, until its [DONE].
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ApiError(0, t("connectionEnded"));
    pending += value;
    let end;
    while ((end = pending.indexOf("\n\n")) >= 0) {
      const data = pending.slice(0, end).replace(/^data: ?/, "");
      pending = pending.slice(end + 2);
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

// Calls onText(piece) as the answer grows; resolves to {id, finishReason, usage, model, version}.
export async function streamChat(body, { token, signal, onText }) {
  const response = await request("v1/chat/completions", {
    method: "POST", headers: headers(token), signal,
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
  });
  const result = { id: "", finishReason: null, usage: null, model: null, version: null };
  for await (const event of events(response.body)) {
    if (event.error) {
      const { message, param } = event.error;
      throw pictureError(response.status, message, param) ?? new ApiError(response.status, message);
    }
    result.id = event.id ?? result.id;
    result.model = event.model ?? result.model;
    result.version = event.system_fingerprint?.split("-")[0] ?? result.version;
    result.usage = event.usage ?? result.usage;
    const choice = event.choices?.[0];
    if (choice?.delta?.content) onText(choice.delta.content);
    result.finishReason = choice?.finish_reason ?? result.finishReason;
  }
  return result;
}
