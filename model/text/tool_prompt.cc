#include "model/text/tool_prompt.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "boost/json/array.hpp"
#include "boost/json/object.hpp"
#include "boost/json/serialize.hpp"
#include "model/template/jinja_template.h"

namespace llava::model {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxDepth = 32;

struct Family {
  std::string_view mark;  // in the text of its template
  CallFormat format;
};

constexpr Family kFamilies[] = {
    {"<tool_call>", CallFormat::kTagged},
    {"[TOOL_CALLS]", CallFormat::kJson},
    {"<|python_tag|>", CallFormat::kJson},
    {"\"parameters\": ", CallFormat::kJson},  // Llama 3.1 and 3.2 show the model a call
};

std::string TextOf(json::string_view text) { return {text.data(), text.size()}; }

json::value Written(std::string text) {
  return SpansValue(std::vector<TextSpan>{{.text = Utf8Repair(text), .from_message = true}});
}

absl::StatusOr<json::value> Marked(const json::value& value);

absl::StatusOr<json::value> MarkedObject(const json::object& object) {
  json::object marked;
  for (const auto& [key, item] : object) {
    const std::string name = TextOf(key);
    if (name.find_first_of("<>[]") != std::string::npos || name == "$spans") {
      return absl::InvalidArgumentError(
          absl::StrCat("the name \"", name.substr(0, 64),
                       "\" is not supported, expected none of <, >, [ and ] in it"));
    }
    ASSIGN_OR_RETURN(marked[key], Marked(item));
  }
  return json::value(std::move(marked));
}

// With every text as one that a client wrote.
absl::StatusOr<json::value> Marked(const json::value& value) {
  if (value.is_string()) return Written(TextOf(value.as_string()));
  if (value.is_object()) return MarkedObject(value.as_object());
  if (!value.is_array()) return value;
  json::array marked;
  for (const json::value& item : value.as_array()) {
    ASSIGN_OR_RETURN(json::value made, Marked(item));
    marked.push_back(std::move(made));
  }
  return json::value(std::move(marked));
}

absl::StatusOr<json::value> MarkedText(const std::string& text) {
  ASSIGN_OR_RETURN(const json::value value, ParseJson(text, kMaxDepth));
  if (!value.is_object()) return absl::InvalidArgumentError("expected a JSON object");
  return MarkedObject(value.as_object());
}

std::string Quoted(const std::string& text) { return json::serialize(json::string(text)); }

// As the model is asked to write them.
std::string CallsText(const std::vector<ToolCall>& calls) {
  std::string text;
  for (const ToolCall& call : calls) {
    absl::StrAppend(&text, text.empty() ? "[" : ", ", "{\"name\": ", Quoted(call.name),
                    ", \"arguments\": ", call.arguments, "}");
  }
  return text + "]";
}

std::string FunctionsText(std::span<const ToolFunction> functions) {
  std::string text = "These functions can be called, each described by a line of JSON:\n";
  for (const ToolFunction& function : functions) {
    absl::StrAppend(&text, "{\"name\": ", Quoted(function.name),
                    ", \"description\": ", Quoted(function.description),
                    ", \"parameters\": ", function.parameters, "}\n");
  }
  return text +
         "Answer with calls of them as JSON: [{\"name\": function, \"arguments\": object}]\n";
}

void Describe(std::span<const ToolFunction> functions, std::vector<ChatMessage>& messages) {
  auto first = std::find_if(messages.begin(), messages.end(),
                            [](const ChatMessage& message) { return message.role == Role::kUser; });
  if (first == messages.end()) {
    first = std::find_if(messages.begin(), messages.end(),
                         [](const ChatMessage& message) { return message.role != Role::kSystem; });
    first = messages.insert(first, {.role = Role::kUser});
  }
  const auto is_text = [](const MessagePart& part) {
    return std::holds_alternative<std::string>(part);
  };
  const auto text = std::find_if(first->parts.begin(), first->parts.end(), is_text);
  if (text == first->parts.end()) {
    first->parts.emplace_back(FunctionsText(functions));
  } else {
    auto& said = std::get<std::string>(*text);
    said = absl::StrCat(FunctionsText(functions), "\n", said);
  }
}

}  // namespace

CallFormat CallFormatOf(std::string_view jinja) {
  for (const Family& family : kFamilies) {
    if (jinja.find(family.mark) != std::string_view::npos) return family.format;
  }
  return CallFormat::kUnknown;
}

bool HasToolMessages(std::span<const ChatMessage> messages) {
  return std::any_of(messages.begin(), messages.end(), [](const ChatMessage& message) {
    return message.role == Role::kTool || !message.tool_calls.empty();
  });
}

std::string NameOfCall(std::span<const ChatMessage> before, std::string_view id) {
  for (auto message = before.rbegin(); message != before.rend(); ++message) {
    for (const ToolCall& call : message->tool_calls) {
      if (call.id == id) return call.name;
    }
  }
  return "";
}

absl::StatusOr<json::value> ToolsVariable(std::span<const ToolFunction> functions) {
  json::array tools;
  for (const ToolFunction& function : functions) {
    ASSIGN_OR_RETURN(json::value parameters, MarkedText(function.parameters));
    tools.push_back({{"type", "function"},
                     {"function",
                      {{"name", Written(function.name)},
                       {"description", Written(function.description)},
                       {"parameters", std::move(parameters)}}}});
  }
  return json::value(std::move(tools));
}

absl::StatusOr<json::value> CallsVariable(const ChatMessage& message) {
  json::array calls;
  for (const ToolCall& call : message.tool_calls) {
    ASSIGN_OR_RETURN(json::value arguments, MarkedText(call.arguments));
    calls.push_back(
        {{"id", Written(call.id)},
         {"type", "function"},
         {"function", {{"name", Written(call.name)}, {"arguments", std::move(arguments)}}}});
  }
  return json::value(std::move(calls));
}

std::vector<ChatMessage> PlainToolMessages(std::span<const ChatMessage> messages,
                                           std::span<const ToolFunction> functions) {
  std::vector<ChatMessage> plain;
  bool after_result = false;  // what the user says goes on in the same turn
  for (std::size_t i = 0; i < messages.size(); ++i) {
    ChatMessage message = messages[i];
    if (!message.tool_calls.empty()) {
      message.parts.emplace_back(CallsText(std::exchange(message.tool_calls, {})));
    }
    const bool result = message.role == Role::kTool;
    if (result) {
      const std::string name = NameOfCall(messages.first(i), message.tool_call_id);
      message.parts.insert(message.parts.begin(), absl::StrCat("Result of ", name, ":"));
      message.role = Role::kUser;
    }
    if (after_result && message.role == Role::kUser) {
      std::vector<MessagePart>& parts = plain.back().parts;
      parts.insert(parts.end(), message.parts.begin(), message.parts.end());
    } else {
      plain.push_back(std::move(message));
    }
    after_result = plain.back().role == Role::kUser && (after_result || result);
  }
  if (!functions.empty()) Describe(functions, plain);
  return plain;
}

}  // namespace llava::model
