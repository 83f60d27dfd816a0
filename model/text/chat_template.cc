#include "model/text/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "model/text/hub_templates.h"
#include "model/text/white_space.h"

namespace llava::model {
namespace {

constexpr std::string_view kSystemHuman =
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions.";
constexpr std::string_view kSystemUser =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";
constexpr std::string_view kSystemLlama2 =
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language.";
constexpr std::string_view kSingleSeparator = "###";
constexpr std::string_view kSystemChatml = "You are a helpful assistant.";

// A message taken apart.
struct Content {
  std::vector<ImagePart> images;
  std::vector<std::string> texts;
};

Content Sort(const ChatMessage& message) {
  Content content;
  for (const MessagePart& part : message.parts) {
    if (const auto* image = std::get_if<ImagePart>(&part)) {
      content.images.push_back(*image);
    } else {
      content.texts.push_back(std::get<std::string>(part));
    }
  }
  return content;
}

// A message of the original code (llava/train/train.py, preprocess_multimodal): with images, the
// text is stripped, and so is the last line end when there is no text.
void WriteBody(const ChatMessage& message, PromptWriter& out) {
  const Content content = Sort(message);
  const std::string text = absl::StrJoin(content.texts, "\n");
  if (content.images.empty()) return out.Literal(text);
  const std::string_view stripped = StripWhiteSpace(text);
  for (std::size_t i = 0; i < content.images.size(); ++i) {
    out.Image(content.images[i]);
    if (i + 1 < content.images.size() || !stripped.empty()) out.Control("\n");
  }
  out.Literal(stripped);
}

absl::Status CheckMessage(const ChatMessage& message, std::size_t index) {
  const Content content = Sort(message);
  const auto fail = [&](absl::string_view what) {
    return FieldError(absl::StrCat("messages[", index, "]"), what);
  };
  if (message.parts.empty() && message.tool_calls.empty()) {
    return fail("expected text or an image, found nothing");
  }
  if (message.role != Role::kUser && !content.images.empty()) {
    return fail("expected text only, found an image (only a user's message may have images)");
  }
  return absl::OkStatus();
}

absl::Status CheckMessages(std::span<const ChatMessage> messages) {
  if (messages.empty()) return FieldError("messages", "expected a message, found none");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const absl::Status status = CheckMessage(messages[i], i);
    if (!status.ok()) return status;
  }
  if (messages.back().tool_calls.empty()) return absl::OkStatus();
  return FieldError(absl::StrCat("messages[", messages.size() - 1, "]"),
                    "has calls of functions, expected a message after it with what they gave back");
}

bool IsEmpty(const ChatMessage& message) {
  const Content content = Sort(message);
  return content.images.empty() &&
         std::all_of(content.texts.begin(), content.texts.end(),
                     [](const std::string& text) { return text.empty(); });
}

// A conversation as templates that know one system text and turns of two roles take it.
struct Dialogue {
  std::string system;
  std::vector<ChatMessage> turns;
};

// The system messages at the beginning are one system text. Those further on keep their place: each
// is said in front of what the user says next, or as a turn of the user's where there is none.
Dialogue ToDialogue(std::span<const ChatMessage> messages, const std::string& default_system) {
  Dialogue dialogue;
  std::vector<std::string> system;
  std::vector<MessagePart> later;
  const auto say_later = [&] {
    if (!later.empty()) dialogue.turns.push_back({Role::kUser, std::exchange(later, {})});
  };
  for (const ChatMessage& message : messages) {
    if (message.role == Role::kSystem && dialogue.turns.empty()) {
      for (std::string& text : Sort(message).texts) system.push_back(std::move(text));
    } else if (message.role == Role::kSystem) {
      later.insert(later.end(), message.parts.begin(), message.parts.end());
    } else if (message.role == Role::kUser) {
      ChatMessage& turn = dialogue.turns.emplace_back(ChatMessage{Role::kUser, {}});
      turn.parts = std::exchange(later, {});
      turn.parts.insert(turn.parts.end(), message.parts.begin(), message.parts.end());
    } else {
      say_later();
      dialogue.turns.push_back(message);
    }
  }
  say_later();
  dialogue.system = system.empty() ? default_system : absl::StrJoin(system, "\n");
  return dialogue;
}

// Whether the assistant's last turn is to be continued: it stays open.
bool IsOpen(std::span<const ChatMessage> turns) {
  return !turns.empty() && turns.back().role == Role::kAssistant;
}

// conversation.py, SeparatorStyle.TWO with " " and "</s>".
void WriteVicuna(const Dialogue& dialogue, PromptWriter& out) {
  const bool open = IsOpen(dialogue.turns);
  if (!dialogue.system.empty()) {
    out.Literal(dialogue.system);
    out.Control(" ");
  }
  for (const ChatMessage& turn : dialogue.turns) {
    const bool user = turn.role == Role::kUser;
    out.Control(user ? "USER: " : "ASSISTANT: ");
    WriteBody(turn, out);
    if (!open || &turn != &dialogue.turns.back()) out.Control(user ? " " : "</s>");
  }
  if (!open) out.Control("ASSISTANT:");
}

// conversation.py, SeparatorStyle.SINGLE.
void WriteSingle(const Dialogue& dialogue, PromptWriter& out) {
  const bool open = IsOpen(dialogue.turns);
  out.Literal(dialogue.system);
  out.Control(kSingleSeparator);
  for (const ChatMessage& turn : dialogue.turns) {
    out.Control(turn.role == Role::kUser ? "Human: " : "Assistant: ");
    WriteBody(turn, out);
    if (!open || &turn != &dialogue.turns.back()) out.Control(kSingleSeparator);
  }
  if (!open) out.Control("Assistant:");
}

// conversation.py, SeparatorStyle.LLAMA_2. `begin` stands before every user's turn but the first,
// which also holds the system text and so is there even if the user has said nothing yet.
void WriteLlama2(Dialogue dialogue, std::string_view begin, PromptWriter& out) {
  std::vector<ChatMessage>& turns = dialogue.turns;
  if (turns.empty() || turns.front().role != Role::kUser) {
    turns.insert(turns.begin(), ChatMessage{Role::kUser, {}});
  }
  const bool open = IsOpen(turns);
  bool first = true;
  for (const ChatMessage& turn : turns) {
    if (turn.role != Role::kUser) {
      out.Control(" ");
      WriteBody(turn, out);
      if (!open || &turn != &turns.back()) out.Control(" </s>");
      continue;
    }
    if (!first) out.Control(begin);
    out.Control("[INST] ");
    if (first && !dialogue.system.empty()) {
      out.Control("<<SYS>>\n");
      out.Literal(dialogue.system);
      out.Control("\n<</SYS>>\n\n");
    }
    WriteBody(turn, out);
    out.Control(" [/INST]");
    first = false;
  }
}

// ChatML, as Qwen has it.
void WriteChatml(const Dialogue& dialogue, PromptWriter& out) {
  const auto begin = [&out](const char* role) {
    out.Control(absl::StrCat("<|im_start|>", role, "\n"));
  };
  const bool open = IsOpen(dialogue.turns);
  if (!dialogue.system.empty()) {
    begin("system");
    out.Literal(dialogue.system);
    out.Control("<|im_end|>\n");
  }
  for (const ChatMessage& turn : dialogue.turns) {
    begin(turn.role == Role::kUser ? "user" : "assistant");
    WriteBody(turn, out);
    if (!open || &turn != &dialogue.turns.back()) out.Control("<|im_end|>\n");
  }
  if (!open) begin("assistant");
}

// conversation.py, SeparatorStyle.PLAIN.
void WritePlain(const Dialogue& dialogue, PromptWriter& out) {
  const bool open = IsOpen(dialogue.turns);
  out.Literal(dialogue.system);
  for (const ChatMessage& turn : dialogue.turns) {
    WriteBody(turn, out);
    if (!open || &turn != &dialogue.turns.back()) out.Control("\n");
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string name, Style style, std::string system, std::string begin)
    : name_(std::move(name)), style_(style), system_(std::move(system)), begin_(std::move(begin)) {}

ChatTemplate::ChatTemplate(std::string name, std::shared_ptr<const ExecutedTemplate> executed)
    : name_(std::move(name)), style_(Style::kExecuted), executed_(std::move(executed)) {}

absl::StatusOr<ChatTemplate> ChatTemplate::ByName(std::string_view name) {
  struct Entry {
    std::string_view name;
    Style style;
    std::string_view system;
    std::string_view begin;
  };
  static constexpr Entry kTable[] = {
      {"vicuna_v1", Style::kVicuna, kSystemUser, ""},
      {"llava_v1", Style::kVicuna, kSystemHuman, ""},
      {"llava_v0", Style::kSingle, kSystemHuman, ""},
      {"llava_llama_2", Style::kLlama2, kSystemLlama2, "<s>"},
      {"mistral_instruct", Style::kLlama2, "", ""},
      {"chatml", Style::kChatml, kSystemChatml, ""},
      {"plain", Style::kPlain, "", ""},
  };
  for (const Entry& entry : kTable) {
    if (entry.name != name) continue;
    return ChatTemplate(std::string(entry.name), entry.style, std::string(entry.system),
                        std::string(entry.begin));
  }
  const std::string jinja = HubTemplate(name);
  if (jinja.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("template: expected one of ",
                                                   absl::StrJoin(Names(), ", "), ", found \"",
                                                   AbslView(name), "\""));
  }
  ASSIGN_OR_RETURN(auto executed, ExecutedTemplate::Make(jinja, {}));
  return ChatTemplate(std::string(name), std::move(executed));
}

std::vector<std::string> ChatTemplate::Names() {
  return {"vicuna_v1",
          "llava_v1",
          "llava_v0",
          "llava_llama_2",
          "mistral_instruct",
          "chatml",
          "plain",
          "hf",
          "hf_joined",
          "hf_next_mistral",
          "hf_next_mistral_s",
          "hf_next_llama3",
          "hf_onevision"};
}

std::vector<std::string> ChatTemplate::stops() const {
  if (style_ != Style::kSingle) return {};
  return {std::string(kSingleSeparator)};
}

CallFormat ChatTemplate::call_format() const {
  const bool writes_tools = executed_ != nullptr && executed_->writes_tools();
  return writes_tools ? CallFormatOf(executed_->source()) : CallFormat::kUnknown;
}

absl::StatusOr<std::vector<PromptPart>> ChatTemplate::Render(
    std::span<const ChatMessage> messages, std::span<const ToolFunction> functions) const {
  const absl::Status valid = CheckMessages(messages);
  if (!valid.ok()) return valid;
  const bool writes_tools = executed_ != nullptr && executed_->writes_tools();
  if (!writes_tools && (!functions.empty() || HasToolMessages(messages))) {
    return Render(PlainToolMessages(messages, functions));
  }
  // The assistant's turn that has no text yet is the one that is asked for anyway.
  if (messages.back().role == Role::kAssistant && IsEmpty(messages.back())) {
    messages = messages.first(messages.size() - 1);
  }
  PromptWriter out;
  switch (style_) {
    case Style::kVicuna:
      WriteVicuna(ToDialogue(messages, system_), out);
      break;
    case Style::kSingle:
      WriteSingle(ToDialogue(messages, system_), out);
      break;
    case Style::kLlama2:
      WriteLlama2(ToDialogue(messages, system_), begin_, out);
      break;
    case Style::kChatml:
      WriteChatml(ToDialogue(messages, system_), out);
      break;
    case Style::kPlain:
      WritePlain(ToDialogue(messages, system_), out);
      break;
    case Style::kExecuted:
      return executed_->Render(messages, functions);
  }
  return out.Take();
}

}  // namespace llava::model
