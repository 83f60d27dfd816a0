// Functions that the assistant may call, its calls and what they gave back, as a prompt shows them:
// by a chat template that has a place for them, or as plain text where it has none.
#ifndef LLAVA_MODEL_TEXT_TOOL_PROMPT_H_
#define LLAVA_MODEL_TEXT_TOOL_PROMPT_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/fwd.hpp"
#include "model/text/chat_message.h"

namespace llava::model {

// How a family of models writes its calls when nothing forces it to.
enum class CallFormat {
  kUnknown,
  kTagged,  // <tool_call>{"name": ..., "arguments": {...}}</tool_call>, each call: Hermes, Qwen
  // The answer is a call, {"name": ..., "parameters": {...}} (Llama 3.1), or a list of calls with
  // "arguments", after a control token that does not show or "[TOOL_CALLS]" (Mistral).
  kJson,
};

// Of a family, told by the Jinja text of its chat template.
CallFormat CallFormatOf(std::string_view jinja);

bool HasToolMessages(std::span<const ChatMessage> messages);

// The name of the function whose call a message of kTool answers; empty for no call before it.
std::string NameOfCall(std::span<const ChatMessage> before, std::string_view id);

// The variable `tools` of a chat template, in OpenAI's shape, and the calls of a message. Every
// text in them is a client's, and never a control token. kInvalidArgument: no JSON object, or a
// name in it with one of <>[], which no template could be kept from taking for a control token.
absl::StatusOr<boost::json::value> ToolsVariable(std::span<const ToolFunction> functions);
absl::StatusOr<boost::json::value> CallsVariable(const ChatMessage& message);

// The same conversation for a template that knows no functions: what may be called is described in
// front of the first text of the user's, a call is the JSON of a list of calls, and what a function
// gave back is said by the user.
std::vector<ChatMessage> PlainToolMessages(std::span<const ChatMessage> messages,
                                           std::span<const ToolFunction> functions);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_TOOL_PROMPT_H_
