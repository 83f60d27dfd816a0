// tokenizer.json: the file from which transformers' fast tokenizers are made. A checkpoint that has
// one is read alike by every version of transformers; with tokenizer.model alone, versions differ.
#ifndef LLAVA_MODEL_TEXT_TOKENIZER_JSON_H_
#define LLAVA_MODEL_TEXT_TOKENIZER_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/text/tokenizer.h"

namespace llava::model {

// The text of a tokenizer.json that encodes and decodes as `tokenizer` does. The slow tokenizer's
// rule for `legacy: false` (a mark also before a leading space) has no counterpart there and
// becomes Metaspace's. kUnimplemented unless the sentencepiece model is byte-pair encoding.
absl::StatusOr<std::string> TokenizerJson(const Tokenizer& tokenizer);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_TOKENIZER_JSON_H_
