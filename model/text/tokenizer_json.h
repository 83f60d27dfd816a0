// tokenizer.json: the file from which transformers' fast tokenizers are made. A checkpoint that has
// one is read alike by every version of transformers; with tokenizer.model alone, versions differ.
#ifndef LLAVA_MODEL_TEXT_TOKENIZER_JSON_H_
#define LLAVA_MODEL_TEXT_TOKENIZER_JSON_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "boost/json/object.hpp"
#include "model/text/tokenizer.h"
#include "model/text/vocabulary.h"

namespace llava::model {

// What a tokenizer.json says.
struct TokenizerFile {
  std::unique_ptr<const Vocabulary> vocabulary;  // nullptr: the file has no "model"
  std::vector<AddedToken> added;
  TokenizerSettings settings;  // those of segments and of decoding; no names of tokens
  // The text of the token that the post-processor puts first; empty: it puts none.
  std::string first_token;
};

// Reads the two kinds of tokenizer.json that the families of language models here have, both with
// byte-pair encoding. Llama's: normalizer Prepend and Replace of spaces, or pre-tokenizer
// Metaspace, or TextStartExpression in Prepend's place, or none; decoder Replace, ByteFallback,
// Fuse and Strip. Qwen2's and Llama 3's: normalizer NFC or none; pre-tokenizer ByteLevel, after
// Splits by regular expressions; decoder ByteLevel. Post-processor of both: TemplateProcessing with
// one token in front or none. kInvalidArgument for a malformed file, and for whatever else it asks
// for: an error that names it rather than other ids. `file` only names it there.
absl::StatusOr<TokenizerFile> ReadTokenizerJson(const boost::json::object& object,
                                                const std::string& file);

// The regular expression of PrefixRule::kFirst with `marks_in_normalizer`, whose match a normalizer
// replaces by a mark: the start of a text where none of the `normalized` tokens among `added`
// stands, in the order of their ids.
std::string TextStartExpression(std::vector<AddedToken> added);

// The text of a tokenizer.json that encodes and decodes as `tokenizer` does. PrefixRule::kFirst
// with `prefix_before_space` and without `marks_in_normalizer`, the slow tokenizer's rule for
// `legacy: false`, has no counterpart there and becomes Metaspace's. kUnimplemented unless the
// vocabulary is plain byte-pair encoding.
absl::StatusOr<std::string> TokenizerJson(const Tokenizer& tokenizer);

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_TOKENIZER_JSON_H_
