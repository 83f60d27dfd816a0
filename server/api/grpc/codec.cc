#include "server/api/grpc/codec.h"

#include <google/protobuf/duration.pb.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/grammar/answer_format.h"

namespace llava::api {
namespace {

using google::protobuf::RepeatedField;
using google::protobuf::RepeatedPtrField;
using llava::v1::MessagePart;
using llava::v1::SamplingOptions;

absl::StatusOr<model::Role> ToRole(llava::v1::Role role, const std::string& field) {
  switch (role) {
    case llava::v1::ROLE_SYSTEM:
      return model::Role::kSystem;
    case llava::v1::ROLE_USER:
      return model::Role::kUser;
    case llava::v1::ROLE_ASSISTANT:
      return model::Role::kAssistant;
    case llava::v1::ROLE_TOOL:
      return model::Role::kTool;
    default:
      return FieldError(
          field, absl::StrCat(static_cast<int>(role),
                              ", expected ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL"));
  }
}

absl::StatusOr<scheduling::Priority> ToPriority(llava::v1::Priority priority,
                                                const std::string& field) {
  switch (priority) {
    case llava::v1::PRIORITY_UNSPECIFIED:
    case llava::v1::PRIORITY_NORMAL:
      return scheduling::Priority::kNormal;
    case llava::v1::PRIORITY_LOW:
      return scheduling::Priority::kLow;
    case llava::v1::PRIORITY_HIGH:
      return scheduling::Priority::kHigh;
    default:
      return FieldError(field,
                        absl::StrCat(static_cast<int>(priority),
                                     ", expected PRIORITY_LOW, PRIORITY_NORMAL or PRIORITY_HIGH"));
  }
}

absl::StatusOr<model::AnswerFormat> ToFormat(const llava::v1::AnswerFormat& from,
                                             const std::string& field) {
  using Kind = model::AnswerFormat::Kind;
  switch (from.form_case()) {
    case llava::v1::AnswerFormat::kJsonObject:
      return model::AnswerFormat{.kind = Kind::kJsonObject,
                                 .field = absl::StrCat(field, ".json_object")};
    case llava::v1::AnswerFormat::kJsonSchema:
      return model::AnswerFormat{.kind = Kind::kJsonSchema,
                                 .text = from.json_schema(),
                                 .field = absl::StrCat(field, ".json_schema")};
    case llava::v1::AnswerFormat::kRegex:
      return model::AnswerFormat{
          .kind = Kind::kRegex, .text = from.regex(), .field = absl::StrCat(field, ".regex")};
    case llava::v1::AnswerFormat::kChoice:
      return model::AnswerFormat{
          .kind = Kind::kChoice,
          .choices = {from.choice().texts().begin(), from.choice().texts().end()},
          .field = absl::StrCat(field, ".choice.texts")};
    case llava::v1::AnswerFormat::kGrammar:
      return model::AnswerFormat{
          .kind = Kind::kGrammar, .text = from.grammar(), .field = absl::StrCat(field, ".grammar")};
    case llava::v1::AnswerFormat::FORM_NOT_SET:
      break;
  }
  return FieldError(field, "is empty, expected json_object, json_schema, regex, choice or grammar");
}

absl::Status AddPart(const MessagePart& part, const std::string& field, ChatCall* call,
                     model::ChatMessage* message) {
  switch (part.content_case()) {
    case MessagePart::kText:
      message->parts.emplace_back(part.text());
      return absl::OkStatus();
    case MessagePart::kImage:
      message->parts.emplace_back(model::ImagePart{.index = static_cast<int>(call->images.size())});
      call->images.push_back({.bytes = part.image(), .field = absl::StrCat(field, ".image")});
      return absl::OkStatus();
    case MessagePart::CONTENT_NOT_SET:
      break;
  }
  return FieldError(field, "is empty, expected text or image");
}

absl::Status AddMessage(const llava::v1::ChatMessage& message, const std::string& field,
                        ChatCall* call) {
  model::ChatMessage neutral;
  ASSIGN_OR_RETURN(neutral.role, ToRole(message.role(), absl::StrCat(field, ".role")));
  neutral.tool_call_id = message.tool_call_id();
  for (const llava::v1::ToolCall& tool_call : message.tool_calls()) {
    neutral.tool_calls.push_back({tool_call.id(), tool_call.name(), tool_call.arguments()});
  }
  if (message.parts().empty() && message.tool_calls().empty()) {
    return FieldError(absl::StrCat(field, ".parts"), "is empty, expected text or an image");
  }
  for (int i = 0; i < message.parts_size(); ++i) {
    RETURN_IF_ERROR(
        AddPart(message.parts(i), absl::StrCat(field, ".parts[", i, "]"), call, &neutral));
  }
  call->messages.push_back(std::move(neutral));
  return absl::OkStatus();
}

absl::StatusOr<ToolUse> ToToolUse(const llava::v1::ChatRequest& request, absl::string_view prefix) {
  ToolUse use{.field = absl::StrCat(prefix, "tools"),
              .choice_field = absl::StrCat(prefix, "tool_choice")};
  for (const llava::v1::Tool& tool : request.tools()) {
    use.functions.push_back(
        {tool.name(), tool.description(),
         tool.parameters().empty() ? std::string(kNoParameters) : tool.parameters()});
  }
  if (request.has_parallel_tool_calls()) use.parallel = request.parallel_tool_calls();
  const llava::v1::ToolChoice& choice = request.tool_choice();
  if (choice.has_function()) {
    use.choice = ToolUse::Choice::kRequired;
    use.function = choice.function();
    if (!use.function.empty()) return use;
    return FieldError(absl::StrCat(use.choice_field, ".function"), "is empty, expected a name");
  }
  switch (choice.mode()) {
    case llava::v1::TOOL_CHOICE_MODE_UNSPECIFIED:
    case llava::v1::TOOL_CHOICE_MODE_AUTO:
      return use;
    case llava::v1::TOOL_CHOICE_MODE_NONE:
      use.choice = ToolUse::Choice::kNone;
      return use;
    case llava::v1::TOOL_CHOICE_MODE_REQUIRED:
      use.choice = ToolUse::Choice::kRequired;
      return use;
    default:
      return FieldError(absl::StrCat(use.choice_field, ".mode"),
                        absl::StrCat(static_cast<int>(choice.mode()),
                                     ", expected auto, none or "
                                     "required"));
  }
}

SamplingParams ToSampling(const SamplingOptions& from) {
  SamplingParams to;
  if (from.has_temperature()) to.temperature = from.temperature();
  if (from.has_top_p()) to.top_p = from.top_p();
  if (from.has_top_k()) to.top_k = from.top_k();
  if (from.has_min_p()) to.min_p = from.min_p();
  if (from.has_repetition_penalty()) to.repetition_penalty = from.repetition_penalty();
  if (from.has_presence_penalty()) to.presence_penalty = from.presence_penalty();
  if (from.has_frequency_penalty()) to.frequency_penalty = from.frequency_penalty();
  to.logit_bias = {from.logit_bias().begin(), from.logit_bias().end()};
  if (from.has_seed()) to.seed = from.seed();
  if (from.has_max_tokens()) to.max_tokens = from.max_tokens();
  if (from.has_min_tokens()) to.min_tokens = from.min_tokens();
  to.ignore_eos = from.ignore_eos();
  to.stop = {from.stop().begin(), from.stop().end()};
  to.stop_token_ids = {from.stop_token_ids().begin(), from.stop_token_ids().end()};
  if (from.has_top_logprobs()) to.top_logprobs = from.top_logprobs();
  return to;
}

llava::v1::FinishReason ToFinishReason(scheduling::FinishReason reason, bool has_calls) {
  switch (reason) {
    case scheduling::FinishReason::kStop:
      return has_calls ? llava::v1::FINISH_REASON_TOOL_CALLS : llava::v1::FINISH_REASON_STOP;
    case scheduling::FinishReason::kLength:
      return llava::v1::FINISH_REASON_LENGTH;
    case scheduling::FinishReason::kNone:
      break;
  }
  return llava::v1::FINISH_REASON_UNSPECIFIED;
}

void FillLogprob(std::int32_t token, double logprob, const model::Tokenizer& tokenizer,
                 llava::v1::TokenLogprob* out) {
  out->set_token_id(token);
  out->set_token(tokenizer.PieceOf(token).text);
  out->set_logprob(logprob);
}

void AddTokens(const engine::Delta& delta, const AnswerOptions& options,
               const model::Tokenizer& tokenizer, RepeatedField<std::int32_t>* ids,
               RepeatedPtrField<llava::v1::TokenLogprob>* logprobs) {
  for (const SampledToken& token : delta.tokens) {
    if (options.token_ids) ids->Add(token.token);
    if (!options.logprobs) continue;
    llava::v1::TokenLogprob* entry = logprobs->Add();
    FillLogprob(token.token, token.logprob, tokenizer, entry);
    for (const TokenLogprob& top : token.top) {
      FillLogprob(top.token, top.logprob, tokenizer, entry->add_top());
    }
  }
}

void SetDuration(Duration from, google::protobuf::Duration* to) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(from);
  to->set_seconds(seconds.count());
  to->set_nanos(static_cast<std::int32_t>((from - seconds).count()));
}

}  // namespace

absl::StatusOr<ChatCall> ToCall(const llava::v1::ChatRequest& request, absl::string_view prefix) {
  ChatCall call;
  call.protocol = "grpc";
  call.model = request.model();
  call.tenant = request.tenant();
  call.cache_salt = request.cache_salt();
  call.n = request.n() == 0 ? 1 : request.n();
  call.sampling = ToSampling(request.sampling());
  call.field_prefix = std::string(prefix);
  call.sampling_field = "sampling.";
  if (request.sampling().has_top_logprobs() && request.sampling().top_logprobs() < 0) {
    return FieldError(absl::StrCat(prefix, "sampling.top_logprobs"),
                      absl::StrCat(request.sampling().top_logprobs(), " is not in [0, 20]"));
  }
  ASSIGN_OR_RETURN(call.priority, ToPriority(request.priority(), absl::StrCat(prefix, "priority")));
  if (request.has_format()) {
    ASSIGN_OR_RETURN(call.format, ToFormat(request.format(), absl::StrCat(prefix, "format")));
  }
  ASSIGN_OR_RETURN(call.tools, ToToolUse(request, prefix));
  for (int i = 0; i < request.messages_size(); ++i) {
    RETURN_IF_ERROR(
        AddMessage(request.messages(i), absl::StrCat(prefix, "messages[", i, "]"), &call));
  }
  return call;
}

absl::StatusOr<ChatCall> ToScoreCall(const llava::v1::ScoreRequest& request) {
  const llava::v1::ChatRequest& chat = request.request();
  const std::pair<const char*, bool> useless[] = {
      {"sampling", chat.has_sampling()},
      {"n", chat.n() != 0},
      {"return_token_ids", chat.return_token_ids()},
      {"format", chat.has_format()},
      {"tools", !chat.tools().empty()},
      {"tool_choice", chat.has_tool_choice()},
      {"parallel_tool_calls", chat.has_parallel_tool_calls()}};
  for (const auto& [name, is_there] : useless) {
    if (is_there) return FieldError(absl::StrCat("request.", name), "is of no use for scores");
  }
  ASSIGN_OR_RETURN(ChatCall call, ToCall(chat, "request."));
  if (request.choices().empty()) return FieldError("choices", "is empty, expected texts");
  SetContinuations({request.choices().begin(), request.choices().end()}, &call);
  return call;
}

void FillScores(const Scores& scores, const model::Tokenizer& tokenizer,
                llava::v1::ScoreResponse* response) {
  for (std::size_t i = 0; i < scores.size(); ++i) {
    llava::v1::ScoredChoice* choice = response->add_choices();
    choice->set_logprob(scores.LogprobOf(i));
    for (const SampledToken& token : scores.TokensOf(i)) {
      FillLogprob(token.token, token.logprob, tokenizer, choice->add_tokens());
    }
  }
  response->set_best(static_cast<int>(scores.Best()));
}

AnswerOptions OptionsOf(const llava::v1::ChatRequest& request) {
  return {.token_ids = request.return_token_ids(),
          .logprobs = request.sampling().has_top_logprobs()};
}

void FillDelta(const AnswerDelta& delta, const AnswerOptions& options,
               const model::Tokenizer& tokenizer, llava::v1::ChatStreamResponse* event) {
  event->set_index(delta.choice);
  event->set_text_delta(delta.text);
  event->set_finish_reason(ToFinishReason(delta.finish, delta.has_calls));
  for (const CallDelta& call : delta.calls) {
    llava::v1::ToolCallDelta* out = event->add_tool_calls();
    out->set_index(call.index);
    out->set_id(call.id);
    out->set_name(call.name);
    out->set_arguments_delta(call.arguments);
  }
  AddTokens(delta, options, tokenizer, event->mutable_token_ids(), event->mutable_logprobs());
}

void AppendDelta(const AnswerDelta& delta, const AnswerOptions& options,
                 const model::Tokenizer& tokenizer, llava::v1::ChatResponse* response) {
  llava::v1::ChatChoice* choice = response->mutable_choices(delta.choice);
  choice->mutable_text()->append(delta.text);
  if (delta.finish != scheduling::FinishReason::kNone) {
    choice->set_finish_reason(ToFinishReason(delta.finish, delta.has_calls));
  }
  for (const CallDelta& call : delta.calls) {
    while (choice->tool_calls_size() <= call.index) choice->add_tool_calls();
    llava::v1::ToolCall* out = choice->mutable_tool_calls(call.index);
    if (!call.id.empty()) out->set_id(call.id);
    if (!call.name.empty()) out->set_name(call.name);
    out->mutable_arguments()->append(call.arguments);
  }
  AddTokens(delta, options, tokenizer, choice->mutable_token_ids(), choice->mutable_logprobs());
}

void FillUsage(const engine::End& end, Duration prepare_time, int images, llava::v1::Usage* usage) {
  const scheduling::Usage& from = end.usage;
  usage->set_prompt_tokens(from.prompt_tokens);
  usage->set_image_tokens(from.image_tokens);
  usage->set_cached_tokens(from.cached_tokens);
  usage->set_generated_tokens(from.generated_tokens);
  usage->set_images(images);
  usage->set_cached_images(std::max(0, images - from.images_encoded));
  SetDuration(prepare_time, usage->mutable_prepare_time());
  SetDuration(std::max(Duration(0), from.queue - prepare_time), usage->mutable_queue_time());
  SetDuration(from.encode, usage->mutable_encode_time());
  SetDuration(from.prefill, usage->mutable_prefill_time());
  SetDuration(from.decode, usage->mutable_decode_time());
  SetDuration(from.queue + from.encode + from.prefill, usage->mutable_time_to_first_token());
}

}  // namespace llava::api
