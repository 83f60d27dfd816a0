// The tokens that a language model's tokenizer lacks to become LLaVA's: <image> and padding.
#ifndef LLAVA_TRAINING_ASSEMBLE_ADDED_TOKENS_H_
#define LLAVA_TRAINING_ASSEMBLE_ADDED_TOKENS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace llava::training {

struct VocabularyPlan {
  int image_id = 0;
  int pad_id = 0;
  std::string pad = {};                 // its text
  std::vector<std::string> added = {};  // texts of the tokens that are new, in the order of ids
  int first_added = 0;                  // the id of the first of them
  int tokens = 0;                       // one above the highest id
  int turn_end_id = -1;                 // of <|im_end|>, which ends turns of ChatML; -1: none
};

// What has to be added to the tokenizer in `folder`: <image>, unless it is there, and <pad>, unless
// there is a padding token which is not the unknown or the end token. New ids follow the highest
// one. The errors of Tokenizer::Load.
absl::StatusOr<VocabularyPlan> PlanVocabulary(const std::string& folder);

// Writes into `folder` the tokenizer files of `source` with the tokens of `plan`: tokenizer.model
// where there is one, tokenizer.json (made from it where there is none), tokenizer_config.json and
// special_tokens_map.json. INTERNAL when what was written reads otherwise.
absl::Status WriteTokenizerWith(const VocabularyPlan& plan, const std::string& source,
                                const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ASSEMBLE_ADDED_TOKENS_H_
