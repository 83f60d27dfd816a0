#include "server/api/openai/response.h"

#include <utility>

#include "base/clock.h"
#include "base/utf8_stream.h"
#include "server/api/openai/tools.h"

namespace llava::api {
namespace {

namespace json = boost::json;

json::object Begin(const OpenAiHead& head, const char* kind) {
  return {{"id", head.id},
          {"object", kind},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", head.fingerprint}};
}

json::value FinishName(scheduling::FinishReason reason, bool has_calls) {
  switch (reason) {
    case scheduling::FinishReason::kStop:
      return has_calls ? "tool_calls" : "stop";
    case scheduling::FinishReason::kLength:
      return "length";
    case scheduling::FinishReason::kNone:
      break;
  }
  return nullptr;
}

json::object ToLogprob(std::int32_t token, float logprob, const model::Tokenizer& tokenizer) {
  const std::string text = tokenizer.PieceOf(token).text;
  json::array bytes;
  for (const char c : text) bytes.push_back(static_cast<int>(static_cast<unsigned char>(c)));
  return {{"token", Utf8Repair(text)}, {"logprob", logprob}, {"bytes", std::move(bytes)}};
}

void AddTokens(const OpenAiHead& head, const engine::Delta& delta,
               const model::Tokenizer& tokenizer, json::array* ids, json::array* logprobs) {
  for (const SampledToken& token : delta.tokens) {
    if (head.token_ids) ids->push_back(token.token);
    if (!head.logprobs) continue;
    json::object entry = ToLogprob(token.token, token.logprob, tokenizer);
    json::array top;
    for (const TokenLogprob& other : token.top) {
      top.push_back(ToLogprob(other.token, other.logprob, tokenizer));
    }
    entry["top_logprobs"] = std::move(top);
    logprobs->push_back(std::move(entry));
  }
}

json::value LogprobsOrNull(const OpenAiHead& head, json::array logprobs) {
  if (!head.logprobs) return nullptr;
  return json::object{{"content", std::move(logprobs)}, {"refusal", nullptr}};
}

json::object ToUsage(const scheduling::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.generated_tokens},
          {"total_tokens", usage.prompt_tokens + usage.generated_tokens},
          {"prompt_tokens_details",
           {{"cached_tokens", usage.cached_tokens}, {"image_tokens", usage.image_tokens}}},
          {"timings",
           {{"queue_seconds", Seconds(usage.queue)},
            {"encode_seconds", Seconds(usage.encode)},
            {"prefill_seconds", Seconds(usage.prefill)},
            {"decode_seconds", Seconds(usage.decode)}}}};
}

}  // namespace

json::object ToChunk(const OpenAiHead& head, const AnswerDelta& delta, bool first,
                     const model::Tokenizer& tokenizer) {
  json::object content;
  if (first) content["role"] = "assistant";
  if (!delta.calls.empty()) content["tool_calls"] = ToToolCallDeltas(delta.calls);
  if (!delta.may_call || !delta.text.empty()) content["content"] = delta.text;
  json::array ids, logprobs;
  AddTokens(head, delta, tokenizer, &ids, &logprobs);
  json::object choice = {{"index", delta.choice},
                         {"delta", std::move(content)},
                         {"logprobs", LogprobsOrNull(head, std::move(logprobs))},
                         {"finish_reason", FinishName(delta.finish, delta.has_calls)}};
  if (head.token_ids) choice["token_ids"] = std::move(ids);
  json::object chunk = Begin(head, "chat.completion.chunk");
  chunk["choices"] = json::array{std::move(choice)};
  if (head.usage) chunk["usage"] = nullptr;
  return chunk;
}

json::object UsageChunk(const OpenAiHead& head, const scheduling::Usage& usage) {
  json::object chunk = Begin(head, "chat.completion.chunk");
  chunk["choices"] = json::array();
  chunk["usage"] = ToUsage(usage);
  return chunk;
}

json::object ToScores(const OpenAiHead& head, const Scores& scores, const scheduling::Usage& usage,
                      const model::Tokenizer& tokenizer) {
  json::array choices;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    json::array tokens;
    for (const SampledToken& token : scores.TokensOf(i)) {
      json::object entry = ToLogprob(token.token, token.logprob, tokenizer);
      entry["token_id"] = token.token;
      tokens.push_back(std::move(entry));
    }
    choices.push_back(
        {{"index", i}, {"logprob", scores.LogprobOf(i)}, {"tokens", std::move(tokens)}});
  }
  json::object answer = Begin(head, "score");
  answer["choices"] = std::move(choices);
  answer["best"] = scores.Best();
  answer["usage"] = ToUsage(usage);
  return answer;
}

void OpenAiAnswer::Add(const AnswerDelta& delta, const model::Tokenizer& tokenizer) {
  Choice& choice = choices_[static_cast<std::size_t>(delta.choice)];
  choice.text += delta.text;
  choice.calls.insert(choice.calls.end(), delta.calls.begin(), delta.calls.end());
  if (delta.finish != scheduling::FinishReason::kNone) choice.finish = delta.finish;
  AddTokens(head_, delta, tokenizer, &choice.token_ids, &choice.logprobs);
}

json::object OpenAiAnswer::Finish(const scheduling::Usage& usage) const {
  json::array choices;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    json::object message = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    const bool has_calls = !choice.calls.empty();
    if (has_calls) message["tool_calls"] = ToToolCalls(choice.calls);
    if (has_calls && choice.text.empty()) message["content"] = nullptr;
    json::object object = {{"index", i},
                           {"message", std::move(message)},
                           {"logprobs", LogprobsOrNull(head_, choice.logprobs)},
                           {"finish_reason", FinishName(choice.finish, has_calls)}};
    if (head_.token_ids) object["token_ids"] = choice.token_ids;
    choices.push_back(std::move(object));
  }
  json::object answer = Begin(head_, "chat.completion");
  answer["choices"] = std::move(choices);
  answer["usage"] = ToUsage(usage);
  return answer;
}

}  // namespace llava::api
