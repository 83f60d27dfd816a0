// How a conversation is written as one prompt. The templates and their rules are those of the
// original code (llava/conversation.py) and of the chat templates of Hugging Face checkpoints.
#ifndef LLAVA_MODEL_TEXT_CHAT_TEMPLATE_H_
#define LLAVA_MODEL_TEXT_CHAT_TEMPLATE_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "model/text/chat_message.h"
#include "model/text/executed_template.h"
#include "model/text/tool_prompt.h"

namespace llava::model {

// An immutable value; any thread.
class ChatTemplate {
 public:
  // One of Names(). kInvalidArgument for another name, listing them.
  static absl::StatusOr<ChatTemplate> ByName(std::string_view name);
  // vicuna_v1, llava_v1, llava_v0, llava_llama_2, mistral_instruct, chatml (of Qwen), plain, hf
  // (the template of llava-hf/llava-1.5-7b-hf and of LLaVA-1.6 with Vicuna), hf_joined (the same
  // roles, system included, texts joined as they are), hf_next_mistral and hf_next_mistral_s (of
  // LLaVA-1.6 with Mistral; the second ends the assistant's turns with "<\s>", as the hub's does),
  // hf_next_llama3, hf_onevision (ChatML as LLaVA-OneVision has it).
  static std::vector<std::string> Names();

  // The template of a checkpoint: its Hugging Face chat template in chat_template.jinja,
  // chat_template.json or tokenizer_config.json, which is executed, else one by architecture and
  // model name. Besides the errors of reading files: kInvalidArgument for a chat template that
  // fails (ExecutedTemplate::Make), with its file and line. It is never replaced by another, which
  // would condition every answer on the wrong text; who knows better uses ByName (the daemon's
  // setting chat_template).
  static absl::StatusOr<ChatTemplate> ForCheckpoint(const std::string& dir,
                                                    const LlavaConfig& config);

  // The Jinja text of the template (chat_template.jinja): a checkpoint that is written keeps the
  // template it was trained with. ForCheckpoint knows vicuna_v1, llava_v1, llava_v0,
  // llava_llama_2, mistral_instruct, chatml and plain again by it.
  std::string Jinja() const;

  // Of Names(); of a checkpoint's template that is executed, the name of its file.
  const std::string& name() const { return name_; }
  bool is_executed() const { return executed_ != nullptr; }
  // The system text that is used when the conversation has none; may be empty.
  const std::string& default_system() const { return system_; }

  // The prompt that asks for the assistant's next turn; or, when the last message is the
  // assistant's, for the rest of it: its turn stays open.
  // A template that is executed (the hf ones are, too) gets the messages as they are. The others
  // write the images of a message first ("<image>\n" each, as in training), then its texts; they
  // make one system text of the system messages at the beginning and put later ones in front of
  // what the user says next.
  // `functions` may be called by the assistant. Those, its calls and their results are written as
  // the template has it, and as plain text (PlainToolMessages) by one that has no place for them.
  // kInvalidArgument, with the path of the message (FieldOf): no message, an image in a message
  // that is not the user's, a message with nothing in it, calls without an answer at the end, what
  // ExecutedTemplate::Render says.
  absl::StatusOr<std::vector<PromptPart>> Render(
      std::span<const ChatMessage> messages, std::span<const ToolFunction> functions = {}) const;

  // What a model of this template ends its answers with in place of the end token: texts that are
  // no part of an answer. Mostly none; "###" of llava_v0.
  std::vector<std::string> stops() const;

  // How the model writes calls of its own accord; kUnknown where the template tells it of none.
  CallFormat call_format() const;

 private:
  enum class Style { kVicuna, kSingle, kLlama2, kChatml, kPlain, kExecuted };
  ChatTemplate(std::string name, Style style, std::string system, std::string begin);
  ChatTemplate(std::string name, std::shared_ptr<const ExecutedTemplate> executed);

  std::string name_;
  Style style_;
  std::string system_;
  std::string begin_;  // kLlama2: what begins every turn after the first ("<s>")
  std::shared_ptr<const ExecutedTemplate> executed_;  // kExecuted
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_CHAT_TEMPLATE_H_
