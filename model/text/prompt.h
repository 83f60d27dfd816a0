// A conversation, or a raw text, as the token ids that the model reads.
#ifndef LLAVA_MODEL_TEXT_PROMPT_H_
#define LLAVA_MODEL_TEXT_PROMPT_H_

#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/picture.h"
#include "model/config/config.h"
#include "model/config/image_layout.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"

namespace llava::model {

// `ids` holds one id per image token: config.image_token_id, which is negative in the original
// layout. Look up embeddings only outside of the spans. Spans are in order, do not overlap, and
// each has the tokens of its image's layout.
struct PromptTokens {
  std::vector<int> ids;
  std::vector<ImageSpan> image_spans;
};

// Tokenizes a rendered prompt: BOS once at the start, then text and images. Hugging Face layout:
// one pass over the whole prompt, an image is an added token that divides segments. Original
// layout: every text between images is tokenized on its own (llava/mm_utils.py,
// tokenizer_image_token). `images` are the layouts of the images that ImageParts index. Errors,
// kInvalidArgument: an image index out of range or used twice, an image that no part uses, a prompt
// that leaves no position for an answer in text.max_positions.
absl::StatusOr<PromptTokens> BuildPrompt(std::span<const PromptPart> parts,
                                         const Tokenizer& tokenizer, const LlavaConfig& config,
                                         std::span<const ImageLayout> images);

// The ids of the parts alone: no BOS, and nothing is checked but that every image has a layout.
// `at_start` as in Tokenizer::Encode, for the parts before the first image.
PromptTokens EncodeParts(std::span<const PromptPart> parts, const Tokenizer& tokenizer,
                         const LlavaConfig& config, std::span<const ImageLayout> images,
                         bool at_start);

// kInvalidArgument when an id has no row in the embedding: an added token that a fine-tune left
// without one (Tokenizer::BeyondEmbedding).
absl::Status CheckTokenIds(std::span<const int> ids, const Tokenizer& tokenizer,
                           const LlavaConfig& config);

// Renders with the template first. `functions` may be called by the assistant.
absl::StatusOr<PromptTokens> BuildPrompt(std::span<const ChatMessage> messages,
                                         const ChatTemplate& chat_template,
                                         const Tokenizer& tokenizer, const LlavaConfig& config,
                                         std::span<const ImageLayout> images,
                                         std::span<const ToolFunction> functions = {});

// `text` is the whole prompt: "<image>" marks the places of the images in order, and special tokens
// in the text count, as in transformers. A text that begins with BOS gets no second one.
absl::StatusOr<PromptTokens> BuildRawPrompt(std::string_view text, const Tokenizer& tokenizer,
                                            const LlavaConfig& config,
                                            std::span<const ImageLayout> images);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_PROMPT_H_
