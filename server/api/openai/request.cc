#include "server/api/openai/request.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "server/api/openai/answer_format.h"
#include "server/api/openai/content_part.h"
#include "server/api/openai/images.h"
#include "server/api/openai/json_body.h"
#include "server/api/openai/multipart.h"
#include "server/api/openai/neutral_fields.h"
#include "server/api/openai/tools.h"

namespace llava::api {
namespace {

namespace json = boost::json;

absl::Status Read(const json::value& value, const std::string& field, bool* out) {
  if (!value.is_bool()) return Wrong(field, value, "true or false");
  *out = value.as_bool();
  return absl::OkStatus();
}

absl::Status Read(const json::value& value, const std::string& field, double* out) {
  if (!value.is_number()) return Wrong(field, value, "a number");
  *out = value.to_number<double>();
  return absl::OkStatus();
}

absl::Status Read(const json::value& value, const std::string& field, int* out) {
  const std::optional<std::int64_t> number = WholeNumber(value);
  if (!number || *number < std::numeric_limits<int>::min() ||
      *number > std::numeric_limits<int>::max()) {
    return Wrong(field, value,
                 absl::StrCat("an integer from ", std::numeric_limits<int>::min(), " to ",
                              std::numeric_limits<int>::max()));
  }
  *out = static_cast<int>(*number);
  return absl::OkStatus();
}

absl::Status Read(const json::value& value, const std::string& field, std::string* out) {
  if (!value.is_string()) return Wrong(field, value, "text");
  *out = std::string(StdView(value.as_string()));
  return absl::OkStatus();
}

absl::Status ReadCount(const json::value& value, const std::string& field, int* out) {
  RETURN_IF_ERROR(Read(value, field, out));
  return *out < 0 ? Wrong(field, value, "at least 0") : absl::OkStatus();
}

// One text, or a list of them.
absl::Status ReadStop(const json::value& value, const std::string& field,
                      std::vector<std::string>* out) {
  if (value.is_string()) {
    out->emplace_back();
    return Read(value, field, &out->back());
  }
  if (!value.is_array()) return Wrong(field, value, "text or a list of text");
  for (std::size_t i = 0; i < value.as_array().size(); ++i) {
    out->emplace_back();
    RETURN_IF_ERROR(Read(value.as_array()[i], absl::StrCat(field, "[", i, "]"), &out->back()));
  }
  return absl::OkStatus();
}

absl::Status ReadIds(const json::value& value, const std::string& field,
                     std::vector<std::int32_t>* out) {
  if (!value.is_array()) return Wrong(field, value, "a list of token ids");
  for (std::size_t i = 0; i < value.as_array().size(); ++i) {
    out->push_back(0);
    RETURN_IF_ERROR(Read(value.as_array()[i], absl::StrCat(field, "[", i, "]"), &out->back()));
  }
  return absl::OkStatus();
}

absl::Status ReadBias(const json::value& value, const std::string& field,
                      std::map<std::int32_t, double>* out) {
  if (!value.is_object()) return Wrong(field, value, "an object of token ids to numbers");
  for (const auto& [key, bias] : value.as_object()) {
    std::int32_t token = 0;
    const std::string place = absl::StrCat(field, ".", Shortened(std::string(key)));
    if (!absl::SimpleAtoi(std::string(key), &token)) {
      return Wrong(place, json::value(key), "a token id as the key");
    }
    RETURN_IF_ERROR(Read(bias, place, &(*out)[token]));
  }
  return absl::OkStatus();
}

absl::Status ReadSeed(const json::value& value, const std::string& field,
                      std::optional<std::uint64_t>* out) {
  if (value.is_uint64()) {
    *out = value.as_uint64();
    return absl::OkStatus();
  }
  const std::optional<std::int64_t> number = WholeNumber(value);
  if (!number) return Wrong(field, value, "an integer of 64 bits");
  *out = static_cast<std::uint64_t>(*number);
  return absl::OkStatus();
}

// Of tokens, checked whether or not another name of the field counts.
absl::Status ReadMost(const json::value& value, const std::string& field, int* out) {
  RETURN_IF_ERROR(Read(value, field, out));
  return *out < 1 ? Wrong(field, value, "at least 1") : absl::OkStatus();
}

absl::Status ReadPriority(const json::value& value, const std::string& field,
                          scheduling::Priority* out) {
  if (WholeNumber(value) == 0) return absl::OkStatus();  // vLLM's default
  const std::map<std::string, scheduling::Priority> names = {
      {"high", scheduling::Priority::kHigh},
      {"normal", scheduling::Priority::kNormal},
      {"low", scheduling::Priority::kLow}};
  std::string name;
  RETURN_IF_ERROR(Read(value, field, &name));
  const auto found = names.find(name);
  if (found == names.end()) return Wrong(field, value, "high, normal or low");
  *out = found->second;
  return absl::OkStatus();
}

// What is being read: the images' URLs are looked at when all else is known.
struct Reading : OpenAiRequest {
  std::optional<bool> continues;              // vLLM's continue_final_message
  std::optional<bool> begins_answer;          // and its add_generation_prompt
  std::vector<absl::string_view> image_urls;  // one for each of call.images
  bool has_completion_tokens = false;
};

absl::Status ReadPart(const json::value& value, const std::string& field, Reading* request,
                      model::ChatMessage* message) {
  ASSIGN_OR_RETURN(const ContentPart part, ReadContentPart(value, field, message->role));
  std::string place = absl::StrCat(field, ".", part.type);
  if (part.type != "image_url") {
    std::string text;
    RETURN_IF_ERROR(Read(*part.content, place, &text));
    message->parts.emplace_back(std::move(text));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const absl::string_view url, ReadImageUrl(*part.content, &place));
  message->parts.emplace_back(
      model::ImagePart{.index = static_cast<int>(request->call.images.size())});
  request->image_urls.push_back(url);
  request->call.images.push_back({.bytes = {}, .field = std::move(place)});
  return absl::OkStatus();
}

absl::StatusOr<model::Role> ToRole(const json::value* value, const std::string& field) {
  constexpr absl::string_view kRoles = "system, developer, user, assistant or tool";
  if (value == nullptr || !value->is_string()) return Wrong(field, value, kRoles);
  const absl::string_view name = AbslView(value->as_string());
  if (name == "user") return model::Role::kUser;
  if (name == "assistant") return model::Role::kAssistant;
  if (name == "system" || name == "developer") return model::Role::kSystem;
  if (name == "tool") return model::Role::kTool;
  return Wrong(field, value, kRoles);
}

// What other fields of a message may say: nothing that would be lost. `parsed` is openai's reading
// of the content.
absl::Status CheckMessageField(absl::string_view name, const json::value& value,
                               const std::string& field) {
  if (name == "role" || name == "content" || name == "name" || name == "refusal" ||
      name == "tool_calls" || name == "tool_call_id" || name == "parsed" || IsHint(name) ||
      AsksForNothing(value)) {
    return absl::OkStatus();
  }
  return NotSupported(absl::StrCat(field, ".", Shortened(std::string(name))), value, "none");
}

// `may_be_empty`: the message says something else.
absl::Status ReadContent(const json::value* content, const std::string& place, bool may_be_empty,
                         Reading* request, model::ChatMessage* message) {
  const bool empty = content == nullptr || content->is_null() ||
                     (content->is_array() && content->as_array().empty());
  if (empty && may_be_empty) return absl::OkStatus();
  if (!empty && content->is_string()) {
    message->parts.emplace_back(std::string(StdView(content->as_string())));
    return absl::OkStatus();
  }
  if (empty || !content->is_array()) return Wrong(place, content, "text or a list of parts");
  for (std::size_t i = 0; i < content->as_array().size(); ++i) {
    RETURN_IF_ERROR(
        ReadPart(content->as_array()[i], absl::StrCat(place, "[", i, "]"), request, message));
  }
  return absl::OkStatus();
}

// What a message says of calls of functions.
absl::Status ReadCalls(const json::object& object, const std::string& field,
                       model::ChatMessage* message) {
  const json::value* calls = object.if_contains("tool_calls");
  if (calls != nullptr && !calls->is_null()) {
    const std::string place = absl::StrCat(field, ".tool_calls");
    RETURN_IF_ERROR(ReadToolCalls(*calls, place, &message->tool_calls));
  }
  const json::value* id = object.if_contains("tool_call_id");
  if (id == nullptr || id->is_null()) return absl::OkStatus();
  return Read(*id, absl::StrCat(field, ".tool_call_id"), &message->tool_call_id);
}

// The words in which the assistant would not answer, which are what it said; empty: none.
absl::StatusOr<std::string> ReadRefusal(const json::object& object, const std::string& field,
                                        model::Role role) {
  std::string text;
  const json::value* refusal = object.if_contains("refusal");
  if (refusal == nullptr || refusal->is_null()) return text;
  RETURN_IF_ERROR(Read(*refusal, field, &text));
  if (text.empty() || role == model::Role::kAssistant) return text;
  return NotSupported(field, *refusal, "one in a message of the assistant only");
}

absl::Status ReadMessage(const json::value& value, const std::string& field, Reading* request) {
  const json::object* object = value.if_object();
  if (object == nullptr) return Wrong(field, value, "an object with role and content");
  for (const auto& [key, other] : *object) {
    RETURN_IF_ERROR(CheckMessageField(AbslView(key), other, field));
  }
  model::ChatMessage message;
  ASSIGN_OR_RETURN(message.role, ToRole(object->if_contains("role"), absl::StrCat(field, ".role")));
  RETURN_IF_ERROR(ReadCalls(*object, field, &message));
  ASSIGN_OR_RETURN(std::string refusal,
                   ReadRefusal(*object, absl::StrCat(field, ".refusal"), message.role));
  RETURN_IF_ERROR(ReadContent(object->if_contains("content"), absl::StrCat(field, ".content"),
                              !message.tool_calls.empty() || !refusal.empty(), request, &message));
  if (!refusal.empty()) message.parts.emplace_back(std::move(refusal));
  request->call.messages.push_back(std::move(message));
  return absl::OkStatus();
}

absl::Status ReadMessages(const json::value& value, const std::string& field, Reading* request) {
  if (!value.is_array()) return Wrong(field, value, "a list of messages");
  for (std::size_t i = 0; i < value.as_array().size(); ++i) {
    RETURN_IF_ERROR(ReadMessage(value.as_array()[i], absl::StrCat(field, "[", i, "]"), request));
  }
  return absl::OkStatus();
}

absl::Status ReadStreamOptions(const json::value& value, const std::string& field,
                               Reading* request) {
  if (!value.is_object()) return Wrong(field, value, "an object");
  for (const auto& [key, option] : value.as_object()) {
    const std::string place = absl::StrCat(field, ".", std::string(key));
    if (key == "include_usage") {
      if (!option.is_null()) RETURN_IF_ERROR(Read(option, place, &request->include_usage));
    } else if (IsNeutralField(AbslView(key))) {
      RETURN_IF_ERROR(CheckNeutralField(AbslView(key), option, place));
    } else {
      return FieldError(Shortened(place), "is not a known field");
    }
  }
  return absl::OkStatus();
}

using Value = const json::value&;
using Field = const std::string&;
using Reader = std::function<absl::Status(Value, Field, Reading*)>;

template <typename T>
Reader Into(T SamplingParams::* member) {
  return [member](Value value, Field field, Reading* request) {
    return Read(value, field, &(request->call.sampling.*member));
  };
}

std::map<std::string, Reader> SamplingReaders() {
  return {
      {"temperature", Into(&SamplingParams::temperature)},
      {"top_p", Into(&SamplingParams::top_p)},
      {"top_k",
       [](Value v, Field f, Reading* r) {
         RETURN_IF_ERROR(Read(v, f, &r->call.sampling.top_k));
         if (r->call.sampling.top_k == -1) r->call.sampling.top_k = 0;  // vLLM's word for "off"
         return absl::OkStatus();
       }},
      {"min_p", Into(&SamplingParams::min_p)},
      {"repetition_penalty", Into(&SamplingParams::repetition_penalty)},
      {"presence_penalty", Into(&SamplingParams::presence_penalty)},
      {"frequency_penalty", Into(&SamplingParams::frequency_penalty)},
      {"max_tokens",
       [](Value v, Field f, Reading* r) {
         int most = 0;
         RETURN_IF_ERROR(ReadMost(v, f, &most));
         if (!r->has_completion_tokens) r->call.sampling.max_tokens = most;  // it is the older name
         return absl::OkStatus();
       }},
      {"max_completion_tokens",
       [](Value v, Field f, Reading* r) {
         r->has_completion_tokens = true;
         return ReadMost(v, f, &r->call.sampling.max_tokens);
       }},
      {"min_tokens", Into(&SamplingParams::min_tokens)},
      {"ignore_eos", Into(&SamplingParams::ignore_eos)},
      {"top_logprobs", [](Value v, Field f,
                          Reading* r) { return ReadCount(v, f, &r->call.sampling.top_logprobs); }},
      {"stop", [](Value v, Field f, Reading* r) { return ReadStop(v, f, &r->call.sampling.stop); }},
      {"stop_token_ids",
       [](Value v, Field f, Reading* r) {
         return ReadIds(v, f, &r->call.sampling.stop_token_ids);
       }},
      {"logit_bias",
       [](Value v, Field f, Reading* r) { return ReadBias(v, f, &r->call.sampling.logit_bias); }},
      {"seed", [](Value v, Field f, Reading* r) { return ReadSeed(v, f, &r->call.sampling.seed); }},
  };
}

std::map<std::string, Reader> AllReaders() {
  std::map<std::string, Reader> readers = SamplingReaders();
  readers.insert({
      {"model", [](Value v, Field f, Reading* r) { return Read(v, f, &r->call.model); }},
      {"messages", [](Value v, Field f, Reading* r) { return ReadMessages(v, f, r); }},
      {"n", [](Value v, Field f, Reading* r) { return Read(v, f, &r->call.n); }},
      {"stream", [](Value v, Field f, Reading* r) { return Read(v, f, &r->stream); }},
      {"stream_options", [](Value v, Field f, Reading* r) { return ReadStreamOptions(v, f, r); }},
      {"logprobs", [](Value v, Field f, Reading* r) { return Read(v, f, &r->logprobs); }},
      {"return_token_ids", [](Value v, Field f, Reading* r) { return Read(v, f, &r->token_ids); }},
      {"continue_final_message",
       [](Value v, Field f, Reading* r) { return Read(v, f, &r->continues.emplace()); }},
      {"add_generation_prompt",
       [](Value v, Field f, Reading* r) { return Read(v, f, &r->begins_answer.emplace()); }},
      {"priority",
       [](Value v, Field f, Reading* r) { return ReadPriority(v, f, &r->call.priority); }},
      {"cache_salt", [](Value v, Field f, Reading* r) { return Read(v, f, &r->call.cache_salt); }},
      {"response_format",
       [](Value v, Field f, Reading* r) { return ReadResponseFormat(v, f, &r->call.format); }},
      {"structured_outputs",
       [](Value v, Field f, Reading* r) { return ReadStructuredOutputs(v, f, &r->call.format); }},
      {"tools", [](Value v, Field f, Reading* r) { return ReadTools(v, f, &r->call.tools); }},
      {"tool_choice",
       [](Value v, Field f, Reading* r) { return ReadToolChoice(v, f, &r->call.tools); }},
      {"parallel_tool_calls",
       [](Value v, Field f, Reading* r) { return Read(v, f, &r->call.tools.parallel); }},
      {"user", [](Value v, Field f, Reading* r) { return Read(v, f, &r->call.tenant); }},
  });
  return readers;
}

// Whether the answer goes on with the last message is decided by whose that is: vLLM's words for it
// may say the same, not the opposite.
absl::Status CheckContinuing(const Reading& request) {
  const std::vector<model::ChatMessage>& messages = request.call.messages;
  const bool continues = !messages.empty() && messages.back().role == model::Role::kAssistant;
  if (request.continues.value_or(continues) != continues) {
    return FieldError("continue_final_message",
                      continues ? "is false, but the last message is the assistant's"
                                : "is true, but the last message is not the assistant's");
  }
  if (!request.begins_answer.value_or(true) && !continues) {
    return FieldError("add_generation_prompt",
                      "is false, but the last message is not the assistant's");
  }
  return absl::OkStatus();
}

// Log-probabilities of the chosen tokens come without alternatives unless those are asked for.
absl::Status SettleLogprobs(Reading* request) {
  int& top = request->call.sampling.top_logprobs;
  if (top > 0 && !request->logprobs) return FieldError("top_logprobs", "needs logprobs: true");
  top = request->logprobs ? std::max(top, 0) : -1;
  return absl::OkStatus();
}

absl::Status ReadField(const std::string& field, const json::value& value, Reading* request) {
  static const std::map<std::string, Reader>& readers =
      *new std::map<std::string, Reader>(AllReaders());
  const auto reader = readers.find(field);
  if (reader != readers.end()) {
    return value.is_null() ? absl::OkStatus() : reader->second(value, field, request);
  }
  if (IsNeutralField(field)) return CheckNeutralField(field, value, field);
  return FieldError(Shortened(field), "is not a known field");
}

// Of a request for scores.
absl::Status ReadScoreField(const std::string& field, const json::value& value, Reading* request) {
  if (field == "choices") {
    std::vector<std::string> choices;
    if (!value.is_array() || value.as_array().empty()) {
      return Wrong(field, value, "a list of at least one text");
    }
    RETURN_IF_ERROR(ReadStop(value, field, &choices));
    SetContinuations(std::move(choices), &request->call);
    return absl::OkStatus();
  }
  for (const absl::string_view name : {"model", "messages", "priority", "user", "cache_salt"}) {
    if (name == field) return ReadField(field, value, request);
  }
  return FieldError(Shortened(field), "is not a known field");
}

absl::StatusOr<absl::string_view> RequestPart(const std::vector<FormPart>& parts) {
  for (const FormPart& part : parts) {
    if (part.name == kRequestPart) return part.content;
  }
  return FieldError(kRequestPart, "the form has no such part, expected the request as JSON");
}

using FieldReader = absl::Status (*)(const std::string&, const json::value&, Reading*);

absl::StatusOr<Reading> ReadBody(absl::string_view content_type, absl::string_view body,
                                 FieldReader read) {
  std::vector<FormPart> parts;
  if (IsForm(content_type)) {
    ASSIGN_OR_RETURN(parts, ParseForm(content_type, body));
    ASSIGN_OR_RETURN(body, RequestPart(parts));
  }
  ASSIGN_OR_RETURN(const json::object object, ParseJsonObject(body));
  Reading request;
  request.call.protocol = "http";
  for (const auto& [key, value] : object) {
    RETURN_IF_ERROR(read(std::string(key), value, &request));
  }
  RETURN_IF_ERROR(SettleLogprobs(&request));
  RETURN_IF_ERROR(CheckContinuing(request));
  RETURN_IF_ERROR(ResolveImages(request.image_urls, parts, &request));
  return request;
}

}  // namespace

absl::StatusOr<OpenAiRequest> ParseOpenAiRequest(absl::string_view content_type,
                                                 absl::string_view body) {
  ASSIGN_OR_RETURN(Reading request, ReadBody(content_type, body, ReadField));
  return OpenAiRequest(std::move(request));
}

absl::StatusOr<OpenAiRequest> ParseScoreRequest(absl::string_view content_type,
                                                absl::string_view body) {
  ASSIGN_OR_RETURN(Reading request, ReadBody(content_type, body, ReadScoreField));
  if (request.call.continuations.empty()) return Missing("choices", "a list of at least one text");
  request.call.sampling.top_logprobs = 0;  // each token's own
  return OpenAiRequest(std::move(request));
}

}  // namespace llava::api
