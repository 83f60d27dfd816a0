// The tokenizer's files of a checkpoint that gets the other layout. The original code's slow
// tokenizer reads every text between two pictures on its own (llava/mm_utils.py,
// tokenizer_image_token), transformers' fast one reads a prompt in one pass: what is written makes
// the ids of the source's reference, as far as the other one can.
#ifndef LLAVA_TRAINING_ASSEMBLE_CONVERTED_TOKENIZER_H_
#define LLAVA_TRAINING_ASSEMBLE_CONVERTED_TOKENIZER_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/text/tokenizer.h"

namespace llava::training {

// Both return a sentence about the prompts that get other ids than in the source, empty where there
// are none, and have the errors of WriteFile.

// Hugging Face's files into `folder`, which holds the tokenizer.model: `slow` (read in the original
// layout), and behind its pieces <image> and <pad>, which a text cannot spell any more. A
// tokenizer.json there is replaced. UNIMPLEMENTED: a tokenizer.model that is not plain byte-pair
// encoding.
absl::StatusOr<std::string> WriteFastTokenizerFiles(const model::Tokenizer& slow,
                                                    const std::string& folder);

// tokenizer_config.json and special_tokens_map.json of the slow LlamaTokenizer into `folder`, for
// the first `pieces` tokens of `fast` (read in Hugging Face's layout).
absl::StatusOr<std::string> WriteSlowTokenizerFiles(const model::Tokenizer& fast, int pieces,
                                                    int max_length, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ASSEMBLE_CONVERTED_TOKENIZER_H_
