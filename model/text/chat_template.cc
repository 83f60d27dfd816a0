#include "model/text/chat_template.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
  const auto fail = [&](std::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages[", index, "]: ", absl::string_view(what.data(), what.size())));
  };
  if (message.parts.empty()) return fail("expected text or an image, found nothing");
  if (message.role == Role::kSystem && index > 0) {
    return fail(
        "expected a user's or assistant's message, found a system message (only the first "
        "message may be one)");
  }
  if (message.role != Role::kUser && !content.images.empty()) {
    return fail("expected text only, found an image (only a user's message may have images)");
  }
  return absl::OkStatus();
}

absl::Status CheckMessages(std::span<const ChatMessage> messages) {
  if (messages.empty() || messages.back().role != Role::kUser) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages: expected the last one to be the user's, found ",
                     messages.empty() ? "no message" : "another role"));
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const absl::Status status = CheckMessage(messages[i], i);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
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
void WriteVicuna(std::string_view system, std::span<const ChatMessage> turns, Writer& out) {
  if (!system.empty()) {
    out.Literal(system);
    out.Control(" ");
  }
  for (const ChatMessage& turn : turns) {
    const bool user = turn.role == Role::kUser;
    out.Control(user ? "USER: " : "ASSISTANT: ");
    out.Body(turn);
    out.Control(user ? " " : "</s>");
  }
  out.Control("ASSISTANT:");
}

// conversation.py, SeparatorStyle.LLAMA_2. `begin` stands before every user's turn but the first.
void WriteLlama2(std::string_view system, std::string_view begin,
                 std::span<const ChatMessage> turns, Writer& out) {
  bool first = true;
  for (const ChatMessage& turn : turns) {
    if (turn.role != Role::kUser) {
      out.Control(" ");
      out.Body(turn);
      out.Control(" </s>");
      continue;
    }
    if (!first) out.Control(begin);
    out.Control("[INST] ");
    if (first && !system.empty()) {
      out.Control("<<SYS>>\n");
      out.Literal(system);
      out.Control("\n<</SYS>>\n\n");
    }
    out.Body(turn);
    out.Control(" [/INST]");
    first = false;
  }
}

// conversation.py, SeparatorStyle.PLAIN.
void WritePlain(std::string_view system, std::span<const ChatMessage> turns, Writer& out) {
  out.Literal(system);
  for (const ChatMessage& turn : turns) {
    out.Body(turn);
    out.Control("\n");
  }
}

// The chat template of llava-hf/llava-1.5-7b-hf: a space after every text, no role for the system.
void WriteHuggingFace(std::span<const ChatMessage> messages, Writer& out) {
  for (const ChatMessage& message : messages) {
    const Content content = Sort(message);
    if (message.role != Role::kSystem) {
      out.Control(RoleName(message.role));
      out.Control(": ");
    }
    out.ImageLines(content.images);
    for (const std::string& text : content.texts) {
      out.Literal(text);
      out.Control(" ");
    }
  }
  out.Control("ASSISTANT:");
}

// A role for every message, its texts joined, one space after it.
void WriteHuggingFaceJoined(std::span<const ChatMessage> messages, Writer& out) {
  for (const ChatMessage& message : messages) {
    const Content content = Sort(message);
    out.Control(RoleName(message.role));
    out.Control(": ");
    out.ImageLines(content.images);
    for (const std::string& text : content.texts) out.Literal(text);
    out.Control(" ");
  }
  out.Control("ASSISTANT:");
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
  };
  for (const Entry& entry : kTable) {
    if (entry.name != name) continue;
    return ChatTemplate(std::string(entry.name), entry.style, std::string(entry.system),
                        std::string(entry.begin));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("template: expected one of ", absl::StrJoin(Names(), ", "), ", found \"",
                   absl::string_view(name.data(), name.size()), "\""));
}

std::vector<std::string> ChatTemplate::Names() {
  return {"vicuna_v1", "llava_v1", "llava_llama_2", "mistral_instruct", "plain", "hf", "hf_joined"};
}

absl::StatusOr<std::vector<PromptPart>> ChatTemplate::Render(
    std::span<const ChatMessage> messages) const {
  const absl::Status valid = CheckMessages(messages);
  if (!valid.ok()) return valid;
  const bool given = messages.front().role == Role::kSystem;
  const std::string system = given ? absl::StrJoin(Sort(messages.front()).texts, "\n") : system_;
  const auto turns = messages.subspan(given ? 1 : 0);
  Writer out;
  switch (style_) {
    case Style::kVicuna:
      WriteVicuna(system, turns, out);
      break;
    case Style::kLlama2:
      WriteLlama2(system, begin_, turns, out);
      break;
    case Style::kPlain:
      WritePlain(system, turns, out);
      break;
    case Style::kHuggingFace:
      WriteHuggingFace(messages, out);
      break;
    case Style::kHuggingFaceJoined:
      WriteHuggingFaceJoined(messages, out);
      break;
  }
  return out.Take();
}

}  // namespace llava::model
