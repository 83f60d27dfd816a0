// How a conversation is written as one prompt. The templates and their rules are those of the
// original code (llava/conversation.py) and of the chat templates of Hugging Face checkpoints.
#ifndef LLAVA_MODEL_TEXT_CHAT_TEMPLATE_H_
#define LLAVA_MODEL_TEXT_CHAT_TEMPLATE_H_

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "model/text/tokenizer.h"

namespace llava::model {

enum class Role { kSystem, kUser, kAssistant };

// The index-th image of the request.
struct ImagePart {
  int index = 0;
  friend bool operator==(const ImagePart&, const ImagePart&) = default;
};

using MessagePart = std::variant<std::string, ImagePart>;

struct ChatMessage {
  Role role = Role::kUser;
  std::vector<MessagePart> parts;
};

// A rendered prompt is text and images in turn. Text of the template is `control` (its "</s>" ends
// a turn), text of a message is not: whatever a user types stays plain text, "</s>" and "<image>"
// included.
using PromptPart = std::variant<TextPart, ImagePart>;

// The prompt as a string, "<image>" for every image: for logs and tests, not for tokenization.
std::string PromptText(std::span<const PromptPart> parts);

// An immutable value; any thread.
class ChatTemplate {
 public:
  // One of Names(). kInvalidArgument for another name, listing them.
  static absl::StatusOr<ChatTemplate> ByName(std::string_view name);
  // vicuna_v1, llava_v1, llava_llama_2, mistral_instruct, plain, hf (the template of
  // llava-hf/llava-1.5-7b-hf and of LLaVA-1.6 with Vicuna), hf_joined (the same roles, system
  // included, texts joined as they are), hf_next_mistral and hf_next_mistral_s (of LLaVA-1.6 with
  // Mistral; the second ends the assistant's turns with "<\s>", as the hub's does), hf_next_llama3,
  // hf_onevision (ChatML as LLaVA-OneVision has it).
  static std::vector<std::string> Names();

  // The template of a checkpoint: the Hugging Face chat template in chat_template.jinja,
  // chat_template.json or tokenizer_config.json, else by architecture and model name. Besides the
  // errors of reading files: kUnimplemented for a chat template that is not a known one. It is
  // never replaced by another, which would condition every answer on the wrong text; who knows
  // better uses ByName (the daemon's setting chat_template).
  static absl::StatusOr<ChatTemplate> ForCheckpoint(const std::string& dir,
                                                    const LlavaConfig& config);

  // The same template as the Jinja text of a Hugging Face checkpoint (chat_template.jinja), which
  // ForCheckpoint recognises: a checkpoint that is written keeps the template it was trained with.
  std::string Jinja() const;

  const std::string& name() const { return name_; }
  // The system text that is used when the conversation has none; may be empty.
  const std::string& default_system() const { return system_; }

  // The prompt that asks for the assistant's next turn; or, when the last message is the
  // assistant's, for the rest of it: its turn stays open.
  // In a message, images come first ("<image>\n" each, as in training), then its texts. System
  // messages may stand anywhere: the hf templates write each where it is, the others make one
  // system text of those at the beginning and put later ones in front of what the user says next.
  // kInvalidArgument, with the path of the message (FieldOf): no message, an image in a message
  // that is not the user's, a message with nothing in it.
  absl::StatusOr<std::vector<PromptPart>> Render(std::span<const ChatMessage> messages) const;

 private:
  enum class Style {
    kVicuna,
    kLlama2,
    kPlain,
    kHuggingFace,
    kHuggingFaceJoined,
    kNextMistral,
    kNextLlama3,
    kOnevision,
  };
  ChatTemplate(std::string name, Style style, std::string system, std::string begin);

  std::string name_;
  Style style_;
  std::string system_;
  // kLlama2: what begins every turn after the first ("<s>"); kNextMistral: what ends the
  // assistant's turns ("</s> ").
  std::string begin_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_CHAT_TEMPLATE_H_
