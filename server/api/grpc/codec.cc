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
    default:
      return FieldError(field, absl::StrCat(static_cast<int>(role),
                                            ", expected ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT"));
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
  if (message.parts().empty()) {
    return FieldError(absl::StrCat(field, ".parts"), "is empty, expected text or an image");
  }
  for (int i = 0; i < message.parts_size(); ++i) {
    RETURN_IF_ERROR(
        AddPart(message.parts(i), absl::StrCat(field, ".parts[", i, "]"), call, &neutral));
  }
  call->messages.push_back(std::move(neutral));
  return absl::OkStatus();
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

llava::v1::FinishReason ToFinishReason(scheduling::FinishReason reason) {
  switch (reason) {
    case scheduling::FinishReason::kStop:
      return llava::v1::FINISH_REASON_STOP;
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
  for (int i = 0; i < request.messages_size(); ++i) {
    RETURN_IF_ERROR(
        AddMessage(request.messages(i), absl::StrCat(prefix, "messages[", i, "]"), &call));
  }
  return call;
}

AnswerOptions OptionsOf(const llava::v1::ChatRequest& request) {
  return {.token_ids = request.return_token_ids(),
          .logprobs = request.sampling().has_top_logprobs()};
}

void FillDelta(const engine::Delta& delta, const AnswerOptions& options,
               const model::Tokenizer& tokenizer, llava::v1::ChatStreamResponse* event) {
  event->set_index(delta.choice);
  event->set_text_delta(delta.text);
  event->set_finish_reason(ToFinishReason(delta.finish));
  AddTokens(delta, options, tokenizer, event->mutable_token_ids(), event->mutable_logprobs());
}

void AppendDelta(const engine::Delta& delta, const AnswerOptions& options,
                 const model::Tokenizer& tokenizer, llava::v1::ChatResponse* response) {
  llava::v1::ChatChoice* choice = response->mutable_choices(delta.choice);
  choice->mutable_text()->append(delta.text);
  if (delta.finish != scheduling::FinishReason::kNone) {
    choice->set_finish_reason(ToFinishReason(delta.finish));
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
