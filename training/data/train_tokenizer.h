// Trains a sentencepiece tokenizer of our own, in the form that Llama checkpoints have it.
#ifndef LLAVA_TRAINING_DATA_TRAIN_TOKENIZER_H_
#define LLAVA_TRAINING_DATA_TRAIN_TOKENIZER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace llava::training {

struct TokenizerOptions {
  std::vector<std::string> corpora = {};  // text files, one sentence a line
  std::string chat_template = "v1";       // its words are mixed into the corpus
  int vocabulary = 1024;                  // pieces; <unk> 0, <s> 1, </s> 2 and 256 bytes among them
};

// BPE with byte fallback: any text can be written. Makes `folder` with tokenizer.model,
// tokenizer.json, tokenizer_config.json and special_tokens_map.json; <image> gets the id
// `vocabulary`, <pad> the one behind it. The same files for the same corpora. NOT_FOUND: a corpus.
// INVALID_ARGUMENT: an empty corpus, or one too small for the vocabulary.
absl::Status TrainTokenizer(const TokenizerOptions& options, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TRAIN_TOKENIZER_H_
