// A conversation, and the prompt that a template makes of it.
#ifndef LLAVA_MODEL_TEXT_CHAT_MESSAGE_H_
#define LLAVA_MODEL_TEXT_CHAT_MESSAGE_H_

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "model/text/tokenizer.h"

namespace llava::model {

// kTool: what a function that the assistant had called gave back.
enum class Role { kSystem, kUser, kAssistant, kTool };

// The index-th image of the request.
struct ImagePart {
  int index = 0;
  friend bool operator==(const ImagePart&, const ImagePart&) = default;
};

using MessagePart = std::variant<std::string, ImagePart>;

// A function that the assistant may call. Texts are the client's.
struct ToolFunction {
  std::string name;         // letters, digits, "_" and "-"
  std::string description;  // may be empty
  std::string parameters;   // a JSON Schema of an object, as JSON text
};

// A call of one that the assistant has made.
struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // a JSON object, as text
};

struct ChatMessage {
  Role role = Role::kUser;
  std::vector<MessagePart> parts = {};    // text alone, but for the user's
  std::vector<ToolCall> tool_calls = {};  // kAssistant
  std::string tool_call_id = {};          // kTool: which call it answers
};

// A rendered prompt is text and images in turn. Text of the template is `control` (its "</s>" ends
// a turn), text of a message is not: whatever a user types stays plain text, "</s>" and "<image>"
// included.
using PromptPart = std::variant<TextPart, ImagePart>;

// Collects parts of a prompt; texts of one kind that follow each other become one.
class PromptWriter {
 public:
  void Control(std::string_view text) { Text(text, true); }
  void Literal(std::string_view text) { Text(text, false); }
  void Image(ImagePart image) { parts_.emplace_back(image); }
  std::vector<PromptPart> Take();

 private:
  void Text(std::string_view text, bool control);

  std::vector<PromptPart> parts_;
};

// The prompt as a string, "<image>" for every image: for logs and tests, not for tokenization.
std::string PromptText(std::span<const PromptPart> parts);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_CHAT_MESSAGE_H_
