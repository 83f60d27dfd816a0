// Turns a conversation into what an engine takes, and its tokens back into text: the side of a
// model version that needs no tensors.
#ifndef LLAVA_SERVER_REGISTRY_PROCESSOR_H_
#define LLAVA_SERVER_REGISTRY_PROCESSOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "model/config/config.h"
#include "model/grammar/answer_format.h"
#include "model/grammar/token_constraint.h"
#include "model/image/image.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "server/engine/text_decoder.h"
#include "server/scheduling/request.h"

namespace llava::model {
class GrammarCompiler;
}

namespace llava::registry {

// What Engine::Submit wants to know of a conversation.
struct PreparedPrompt {
  std::vector<std::int32_t> prompt_ids;
  std::vector<scheduling::ImageInput> images;
  std::vector<int> files;  // of each image: the index of its file
};

// Immutable; any thread.
class Processor {
 public:
  // Reads the configuration, the tokenizer, the chat template and the image processor of a
  // checkpoint. `chat_template` names one to use in place of the checkpoint's own, unless it is
  // empty. Errors are those of their readers.
  static absl::StatusOr<std::shared_ptr<const Processor>> Load(
      const std::string& dir, const std::string& vision_tower_dir,
      const std::string& chat_template = "");

  // Slow (images): not for an RPC thread. `images` is what the messages' ImageParts index, whole
  // files. INVALID_ARGUMENT; when an image is to blame, `bad_image` (not null) is its index.
  // `chat_template`: another one than the checkpoint's own, if not null.
  absl::StatusOr<PreparedPrompt> Prepare(std::span<const model::ChatMessage> messages,
                                         std::span<const absl::string_view> images,
                                         const model::ImageLimits& limits, int* bad_image,
                                         const model::ChatTemplate* chat_template = nullptr) const;

  // The same in two parts. First the text and the headers of the images, whose digest, size and
  // pixels are left out; then, for each image, its file. `functions` may be called by the
  // assistant.
  absl::StatusOr<PreparedPrompt> PrepareText(
      std::span<const model::ChatMessage> messages, std::span<const absl::string_view> images,
      int* bad_image, const model::ChatTemplate* chat_template = nullptr,
      std::span<const model::ToolFunction> functions = {}) const;
  absl::Status PrepareImage(absl::string_view file, const model::ImageLimits& limits,
                            scheduling::ImageInput* image) const;

  // Prompts that end with each of `continuations` as the answer, or as the rest of it where the
  // last message is the assistant's, have what all of them begin with as their prompt here;
  // `forced` gets what is left of each, at least one token. INVALID_ARGUMENT as for PrepareText;
  // that of a continuation, such as one that is too long, has its index in `bad_continuation`.
  absl::StatusOr<PreparedPrompt> PrepareContinuations(
      std::span<const model::ChatMessage> messages, std::span<const std::string> continuations,
      std::span<const absl::string_view> images, int* bad_image, int* bad_continuation,
      std::vector<std::vector<std::int32_t>>* forced) const;

  // What an answer of that form may consist of. Takes milliseconds, the first time longer: not for
  // an RPC thread. Errors are those of GrammarCompiler, and of `check_alive`, which it asks.
  absl::StatusOr<std::shared_ptr<const model::TokenConstraint>> Constrain(
      const model::AnswerFormat& format,
      const std::function<absl::Status()>& check_alive = {}) const;

  // For one request; the chat template's own stops count beside `stop`. The decoders refer to this
  // processor, which must outlive them. `goes_on`: what they decode stands behind other text.
  engine::TextDecoderFactory MakeDecoderFactory(std::vector<std::string> stop,
                                                bool goes_on = false) const;

  const model::LlavaConfig& config() const;
  const model::Tokenizer& tokenizer() const;
  const model::ChatTemplate& chat_template() const;
  // How the model writes calls of functions of its own accord.
  model::CallFormat call_format() const;
  std::vector<std::int32_t> end_token_ids() const;
  // What an operator should know of how the checkpoint was read, a sentence each.
  const std::vector<std::string>& warnings() const;

  ~Processor();

 private:
  struct Parts;
  explicit Processor(std::unique_ptr<const Parts> parts);
  absl::StatusOr<const model::GrammarCompiler*> Grammars() const;

  const std::unique_ptr<const Parts> parts_;
  mutable Mutex mutex_;
  // Made when the first request has need of it.
  mutable std::unique_ptr<const model::GrammarCompiler> grammars_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace llava::registry

#endif  // LLAVA_SERVER_REGISTRY_PROCESSOR_H_
