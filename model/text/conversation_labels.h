// Token ids and labels of a whole training conversation, equal to the reference
// (llava/train/train.py: preprocess_multimodal, preprocess_v1, preprocess_llama_2,
// preprocess_plain, and preprocess itself for v0).
#ifndef LLAVA_MODEL_TEXT_CONVERSATION_LABELS_H_
#define LLAVA_MODEL_TEXT_CONVERSATION_LABELS_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "model/text/chat_template.h"
#include "model/text/prompt.h"
#include "model/text/tokenizer.h"

namespace llava::model {

// The label of a position that adds nothing to the loss.
inline constexpr int kIgnoreLabel = -100;

struct TrainingTurn {
  bool human = true;
  std::string text;  // not empty; "<image>" where an image goes
};

// As many labels as ids, not shifted: labels[t] is ids[t] or kIgnoreLabel. Answers and the "</s>"
// that ends them are supervised; BOS, system text, questions, role names and images are not.
struct LabelledTokens {
  std::vector<int>
      ids;  // BOS first, where the tokenizer has it; one id per image token, see PromptTokens
  std::vector<int> labels;
  std::vector<ImageSpan> image_spans;
  // The text does not have the template's shape (it contains "</s>" or a role's name, say): as in
  // the reference's "tokenization mismatch", every label is kIgnoreLabel.
  bool mismatch = false;
};

// Templates: vicuna_v1, llava_v1, llava_v0, llava_llama_2, mistral_instruct, chatml and plain; the
// system text is `system`, or the template's own when that is empty. Of chatml the answers and the
// <|im_end|> behind them are supervised. llava_v0 is "SYSTEM\n\n### Human: TEXT\n### Assistant:
// TEXT\n### ", which is not how it is asked (ChatTemplate); supervised are the assistant's turns
// with their role, and the first two tokens of every other one, the "###" that ends an answer.
// Turns alternate and begin with the human's. A turn with k
// places for images becomes k lines
// "<image>" and its text (all places first), as in the reference; plain keeps nothing of the
// human's turn but its images. `images` are the layouts of the images, in the order of their
// places. Without images "<image>" is plain text. Special tokens in texts count, as in the
// reference. In one thing this is better than the reference: rounds after the first are measured as
// they stand in the text, so that a tokenizer with `legacy: false` masks right whatever its
// vocabulary. kInvalidArgument: a template without labels, chatml with a tokenizer that lacks its
// tokens, turns that do not alternate, an empty text, another number of places than images, plain
// with other than two turns or without an image.
absl::StatusOr<LabelledTokens> LabelConversation(std::span<const TrainingTurn> turns,
                                                 const ChatTemplate& chat_template,
                                                 const Tokenizer& tokenizer,
                                                 const LlavaConfig& config,
                                                 std::span<const ImageLayout> images,
                                                 const std::string& system = "");

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_CONVERSATION_LABELS_H_
