#include "model/text/chat_template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/field_error.h"
#include "base/utf8_stream.h"
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

// Collects parts; texts of one kind that follow each other become one.
class Writer {
 public:
  void Control(std::string_view text) { Text(text, true); }
  void Literal(std::string_view text) { Text(text, false); }
  void Image(ImagePart image) { parts_.emplace_back(image); }

  // "<image>\n" for each image.
  void ImageLines(const std::vector<ImagePart>& images) {
    for (const ImagePart image : images) {
      Image(image);
      Control("\n");
    }
  }

  // A message of the original code (llava/train/train.py, preprocess_multimodal): with images, the
  // text is stripped, and so is the last line end when there is no text.
  void Body(const ChatMessage& message) {
    const Content content = Sort(message);
    const std::string text = absl::StrJoin(content.texts, "\n");
    if (content.images.empty()) return Literal(text);
    const std::string_view stripped = StripWhiteSpace(text);
    for (std::size_t i = 0; i < content.images.size(); ++i) {
      Image(content.images[i]);
      if (i + 1 < content.images.size() || !stripped.empty()) Control("\n");
    }
    Literal(stripped);
  }

  std::vector<PromptPart> Take() { return std::move(parts_); }

 private:
  void Text(std::string_view text, bool control) {
    if (text.empty()) return;
    if (!parts_.empty()) {
      auto* last = std::get_if<TextPart>(&parts_.back());
      if (last != nullptr && last->control == control) {
        last->text += text;
        return;
      }
    }
    parts_.emplace_back(TextPart{std::string(text), control});
  }

  std::vector<PromptPart> parts_;
};

absl::Status CheckMessage(const ChatMessage& message, std::size_t index) {
  const Content content = Sort(message);
  const auto fail = [&](absl::string_view what) {
    return FieldError(absl::StrCat("messages[", index, "]"), what);
  };
  if (message.parts.empty()) return fail("expected text or an image, found nothing");
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
  return absl::OkStatus();
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

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kSystem:
      return "SYSTEM";
    case Role::kUser:
      return "USER";
    case Role::kAssistant:
      return "ASSISTANT";
  }
  return "";
}

// conversation.py, SeparatorStyle.TWO with " " and "</s>".
void WriteVicuna(const Dialogue& dialogue, Writer& out) {
  const bool open = IsOpen(dialogue.turns);
  if (!dialogue.system.empty()) {
    out.Literal(dialogue.system);
    out.Control(" ");
  }
  for (const ChatMessage& turn : dialogue.turns) {
    const bool user = turn.role == Role::kUser;
    out.Control(user ? "USER: " : "ASSISTANT: ");
    out.Body(turn);
    if (!open || &turn != &dialogue.turns.back()) out.Control(user ? " " : "</s>");
  }
  if (!open) out.Control("ASSISTANT:");
}

// conversation.py, SeparatorStyle.LLAMA_2. `begin` stands before every user's turn but the first,
// which also holds the system text and so is there even if the user has said nothing yet.
void WriteLlama2(Dialogue dialogue, std::string_view begin, Writer& out) {
  std::vector<ChatMessage>& turns = dialogue.turns;
  if (turns.empty() || turns.front().role != Role::kUser) {
    turns.insert(turns.begin(), ChatMessage{Role::kUser, {}});
  }
  const bool open = IsOpen(turns);
  bool first = true;
  for (const ChatMessage& turn : turns) {
    if (turn.role != Role::kUser) {
      out.Control(" ");
      out.Body(turn);
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
    out.Body(turn);
    out.Control(" [/INST]");
    first = false;
  }
}

// conversation.py, SeparatorStyle.PLAIN.
void WritePlain(const Dialogue& dialogue, Writer& out) {
  const bool open = IsOpen(dialogue.turns);
  out.Literal(dialogue.system);
  for (const ChatMessage& turn : dialogue.turns) {
    out.Body(turn);
    if (!open || &turn != &dialogue.turns.back()) out.Control("\n");
  }
}

// The chat template of llava-hf/llava-1.5-7b-hf: a space after every text, no role for the system.
void WriteHuggingFace(std::span<const ChatMessage> messages, Writer& out) {
  const bool open = IsOpen(messages);
  for (const ChatMessage& message : messages) {
    const Content content = Sort(message);
    if (message.role != Role::kSystem) {
      out.Control(RoleName(message.role));
      out.Control(": ");
    }
    out.ImageLines(content.images);
    for (const std::string& text : content.texts) {
      const bool last = &message == &messages.back() && &text == &content.texts.back();
      out.Literal(text);
      if (!open || !last) out.Control(" ");
    }
  }
  if (!open) out.Control("ASSISTANT:");
}

// A role for every message, its texts joined, one space after it.
void WriteHuggingFaceJoined(std::span<const ChatMessage> messages, Writer& out) {
  const bool open = IsOpen(messages);
  for (const ChatMessage& message : messages) {
    const Content content = Sort(message);
    out.Control(RoleName(message.role));
    out.Control(": ");
    out.ImageLines(content.images);
    for (const std::string& text : content.texts) out.Literal(text);
    if (!open || &message != &messages.back()) out.Control(" ");
  }
  if (!open) out.Control("ASSISTANT:");
}

// The chat template of llava-hf/llava-v1.6-mistral-7b-hf, which adds nothing for the answer.
void WriteNextMistral(std::span<const ChatMessage> messages, std::string_view end, Writer& out) {
  const bool open = IsOpen(messages);
  for (const ChatMessage& message : messages) {
    const Content content = Sort(message);
    if (message.role == Role::kSystem) out.Control("<<SYS>>\n");
    if (message.role == Role::kUser) out.Control("[INST] ");
    if (message.role == Role::kAssistant) out.Control(" ");
    out.ImageLines(content.images);
    for (const std::string& text : content.texts) out.Literal(text);
    if (message.role == Role::kSystem) out.Control("\n<</SYS>>\n\n");
    if (message.role == Role::kUser) out.Control(" [/INST]");
    const bool last = &message == &messages.back();
    if (message.role == Role::kAssistant && !(open && last)) out.Control(end);
  }
}

std::string_view SmallRoleName(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
  }
  return "";
}

// What ChatML and Llama 3 write around a message: its role between `before` and `after`.
struct Frame {
  std::string_view before;
  std::string_view after;
  std::string_view after_answer;  // instead of `after` where the answer is to follow
  std::string_view end;
  bool end_of_text;  // each text ends, not the message
};
// llava-hf/llava-onevision-qwen2-0.5b-ov-hf and llava-hf/llama3-llava-next-8b-hf.
constexpr Frame kOnevisionFrame = {"<|im_start|>", " ", "\n", "<|im_end|>", false};
constexpr Frame kLlama3Frame = {"<|start_header_id|>", "<|end_header_id|>\n\n",
                                "<|end_header_id|>\n\n", "<|eot_id|>", true};

// Images without line ends, then each text on a line of its own.
void WriteFramed(std::span<const ChatMessage> messages, const Frame& frame, Writer& out) {
  const bool open = IsOpen(messages);
  for (const ChatMessage& message : messages) {
    const Content content = Sort(message);
    out.Control(frame.before);
    out.Control(SmallRoleName(message.role));
    out.Control(frame.after);
    for (const ImagePart image : content.images) out.Image(image);
    const bool ends = !open || &message != &messages.back();
    for (const std::string& text : content.texts) {
      out.Control("\n");
      out.Literal(text);
      if (frame.end_of_text && (ends || &text != &content.texts.back())) out.Control(frame.end);
    }
    if (!frame.end_of_text && ends) out.Control(frame.end);
  }
  if (open) return;
  out.Control(frame.before);
  out.Control("assistant");
  out.Control(frame.after_answer);
}

}  // namespace

std::string PromptText(std::span<const PromptPart> parts) {
  std::string text;
  for (const PromptPart& part : parts) {
    const auto* run = std::get_if<TextPart>(&part);
    text += run == nullptr ? "<image>" : run->text;
  }
  return text;
}

ChatTemplate::ChatTemplate(std::string name, Style style, std::string system, std::string begin)
    : name_(std::move(name)), style_(style), system_(std::move(system)), begin_(std::move(begin)) {}

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
      {"llava_llama_2", Style::kLlama2, kSystemLlama2, "<s>"},
      {"mistral_instruct", Style::kLlama2, "", ""},
      {"plain", Style::kPlain, "", ""},
      {"hf", Style::kHuggingFace, "", ""},
      {"hf_joined", Style::kHuggingFaceJoined, "", ""},
      {"hf_next_mistral", Style::kNextMistral, "", "</s> "},
      {"hf_next_mistral_s", Style::kNextMistral, "", "<\\s> "},
      {"hf_next_llama3", Style::kNextLlama3, "", ""},
      {"hf_onevision", Style::kOnevision, "", ""},
  };
  for (const Entry& entry : kTable) {
    if (entry.name != name) continue;
    return ChatTemplate(std::string(entry.name), entry.style, std::string(entry.system),
                        std::string(entry.begin));
  }
  return absl::InvalidArgumentError(absl::StrCat("template: expected one of ",
                                                 absl::StrJoin(Names(), ", "), ", found \"",
                                                 AbslView(name), "\""));
}

std::vector<std::string> ChatTemplate::Names() {
  return {"vicuna_v1",   "llava_v1",  "llava_llama_2",   "mistral_instruct",  "plain",
          "hf",          "hf_joined", "hf_next_mistral", "hf_next_mistral_s", "hf_next_llama3",
          "hf_onevision"};
}

absl::StatusOr<std::vector<PromptPart>> ChatTemplate::Render(
    std::span<const ChatMessage> messages) const {
  const absl::Status valid = CheckMessages(messages);
  if (!valid.ok()) return valid;
  // The assistant's turn that has no text yet is the one that is asked for anyway.
  if (messages.back().role == Role::kAssistant && IsEmpty(messages.back())) {
    messages = messages.first(messages.size() - 1);
  }
  Writer out;
  switch (style_) {
    case Style::kVicuna:
      WriteVicuna(ToDialogue(messages, system_), out);
      break;
    case Style::kLlama2:
      WriteLlama2(ToDialogue(messages, system_), begin_, out);
      break;
    case Style::kPlain:
      WritePlain(ToDialogue(messages, system_), out);
      break;
    case Style::kHuggingFace:
      WriteHuggingFace(messages, out);
      break;
    case Style::kHuggingFaceJoined:
      WriteHuggingFaceJoined(messages, out);
      break;
    case Style::kNextMistral:
      WriteNextMistral(messages, begin_, out);
      break;
    case Style::kNextLlama3:
      WriteFramed(messages, kLlama3Frame, out);
      break;
    case Style::kOnevision:
      WriteFramed(messages, kOnevisionFrame, out);
      break;
  }
  return out.Take();
}

}  // namespace llava::model
