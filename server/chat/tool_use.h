// Functions that a request offers to the model.
#ifndef LLAVA_SERVER_CHAT_TOOL_USE_H_
#define LLAVA_SERVER_CHAT_TOOL_USE_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/grammar/answer_format.h"
#include "model/text/chat_message.h"
#include "server/chat/tool_call_reader.h"

namespace llava::api {

inline constexpr std::size_t kMaxFunctions = 128;
inline constexpr int kMaxCalls = 16;  // of one answer
// Of a function that takes nothing.
inline constexpr char kNoParameters[] =
    R"({"type":"object","properties":{},"additionalProperties":false})";

struct ToolUse {
  enum class Choice {
    kNone,      // nothing is offered
    kAuto,      // the model may call
    kRequired,  // it has to
  };

  std::vector<model::ToolFunction> functions = {};
  Choice choice = Choice::kAuto;
  std::string function = {};  // kRequired: this one alone; empty: any
  // Names of those that may be called, the others are as if they were not there; empty: all.
  std::vector<std::string> allowed = {};
  bool parallel = true;       // several calls in one answer
  // Paths in the request, for errors.
  std::string field = "tools";
  std::string choice_field = "tool_choice";

  bool is_offered() const { return !functions.empty() && choice != Choice::kNone; }
  bool is_forced() const { return is_offered() && choice == Choice::kRequired; }
  int max_calls() const { return parallel && function.empty() ? kMaxCalls : 1; }
};

// Calls in the messages of a conversation, and which call a message of a function answers.
// INVALID_ARGUMENT with a path that begins with "messages".
absl::Status CheckToolMessages(std::span<const model::ChatMessage> messages);

// What a client says itself: names, schemas as JSON, a choice of what is there; and, for `format`,
// that not both have a say in the answer. INVALID_ARGUMENT with a path.
absl::Status CheckToolUse(const ToolUse& use, const std::optional<model::AnswerFormat>& format);

// What the model is told of and may call; empty unless use.is_offered().
std::vector<model::ToolFunction> Offered(const ToolUse& use);

// The form of an answer that has to consist of calls. REQUIRES: use.is_forced().
model::AnswerFormat FormatOfCalls(const ToolUse& use);

// How calls are found in an answer of a model that writes them as `format`. REQUIRES:
// use.is_offered().
ToolCallReader::Options ReaderOptions(const ToolUse& use, model::CallFormat format);

}  // namespace llava::api

#endif  // LLAVA_SERVER_CHAT_TOOL_USE_H_
