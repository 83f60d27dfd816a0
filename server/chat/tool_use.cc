#include "server/chat/tool_use.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/grammar/json_schema.h"

namespace llava::api {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
         });
}

absl::Status CheckName(const std::string& name, const std::string& field) {
  if (IsName(name)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("the name \"", Shortened(name),
                                        "\" is none, expected 1 to 64 of a-z A-Z 0-9 _ -"));
}

absl::Status CheckObject(const std::string& text, absl::string_view what,
                         const std::string& field) {
  const auto value = ParseJson(text, model::kMaxSchemaDepth);
  if (!value.ok()) return FieldError(field, absl::StrCat(what, ": ", value.status().message()));
  if (value->is_object()) return absl::OkStatus();
  return FieldError(field, absl::StrCat(what, ": expected a JSON object"));
}

absl::Status CheckToolMessage(std::span<const model::ChatMessage> before,
                              const model::ChatMessage& message, const std::string& field) {
  if (!message.tool_calls.empty() && message.role != model::Role::kAssistant) {
    return FieldError(absl::StrCat(field, ".tool_calls"), "only the assistant has calls");
  }
  for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
    const std::string place = absl::StrCat(field, ".tool_calls[", i, "]");
    RETURN_IF_ERROR(CheckName(message.tool_calls[i].name, place));
    RETURN_IF_ERROR(CheckObject(message.tool_calls[i].arguments, "arguments", place));
  }
  const bool is_result = message.role == model::Role::kTool;
  if (is_result == !message.tool_call_id.empty() &&
      (!is_result || !model::NameOfCall(before, message.tool_call_id).empty())) {
    return absl::OkStatus();
  }
  const std::string& id = message.tool_call_id;
  return FieldError(
      absl::StrCat(field, ".tool_call_id"),
      absl::StrCat(id.empty() ? "is missing" : absl::StrCat("is '", Shortened(id), "'"),
                   is_result ? ", expected the id of a call in a message before it"
                             : ", expected none, but in a message of a function"));
}

}  // namespace

absl::Status CheckToolMessages(std::span<const model::ChatMessage> messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(
        CheckToolMessage(messages.first(i), messages[i], absl::StrCat("messages[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status CheckToolUse(const ToolUse& use, const std::optional<model::AnswerFormat>& format) {
  if (use.functions.size() > kMaxFunctions) {
    return FieldError(use.field, absl::StrCat(use.functions.size(), " functions, expected at most ",
                                              kMaxFunctions));
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < use.functions.size(); ++i) {
    const std::string field = absl::StrCat(use.field, "[", i, "]");
    RETURN_IF_ERROR(CheckName(use.functions[i].name, field));
    RETURN_IF_ERROR(CheckObject(use.functions[i].parameters, "parameters", field));
    if (names.insert(use.functions[i].name).second) continue;
    return FieldError(field,
                      absl::StrCat("the name \"", use.functions[i].name, "\" is there twice"));
  }
  if (use.choice == ToolUse::Choice::kRequired && use.functions.empty()) {
    return FieldError(use.choice_field,
                      absl::StrCat("needs ", use.field, ", expected at least one function there"));
  }
  std::vector<std::string> chosen = use.allowed;
  if (!use.function.empty()) chosen.push_back(use.function);
  for (const std::string& name : chosen) {
    if (names.count(name) > 0) continue;
    return FieldError(use.choice_field,
                      absl::StrCat("\"", Shortened(name), "\" is not among ", use.field));
  }
  if (!format.has_value() || !use.is_offered()) return absl::OkStatus();
  return FieldError(use.field, absl::StrCat("cannot be used together with ", format->field,
                                            " unless ", use.choice_field, " is none"));
}

std::vector<model::ToolFunction> Offered(const ToolUse& use) {
  std::vector<model::ToolFunction> offered;
  if (!use.is_offered()) return offered;
  const std::set<std::string> allowed(use.allowed.begin(), use.allowed.end());
  for (const model::ToolFunction& function : use.functions) {
    if (allowed.empty() || allowed.count(function.name) > 0) offered.push_back(function);
  }
  return offered;
}

model::AnswerFormat FormatOfCalls(const ToolUse& use) {
  model::AnswerFormat format{
      .kind = model::AnswerFormat::Kind::kCalls, .field = use.field, .max_calls = use.max_calls()};
  for (model::ToolFunction& function : Offered(use)) {
    if (!use.function.empty() && function.name != use.function) continue;
    format.functions.push_back(std::move(function));
  }
  return format;
}

ToolCallReader::Options ReaderOptions(const ToolUse& use, model::CallFormat format) {
  ToolCallReader::Options options;
  options.format = use.is_forced() ? model::CallFormat::kJson : format;
  options.max_calls = use.max_calls();
  for (const model::ToolFunction& function : Offered(use)) {
    options.functions.insert(function.name);
  }
  return options;
}

}  // namespace llava::api
