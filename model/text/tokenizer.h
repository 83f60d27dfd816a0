// Text to token ids and back, as Hugging Face's LlamaTokenizer does it: a vocabulary
// (tokenizer.json or tokenizer.model) plus added tokens such as <image>.
#ifndef LLAVA_MODEL_TEXT_TOKENIZER_H_
#define LLAVA_MODEL_TEXT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "model/text/vocabulary.h"

namespace llava::model {

// A part of a text to encode. In a part with `control`, added and special tokens that occur
// literally ("</s>", "<image>") become their ids; in one without, they stay plain text.
struct TextPart {
  std::string text;
  bool control = true;

  friend bool operator==(const TextPart&, const TextPart&) = default;
};

// Where a word-start mark ("▁") is put in front of a text that has none of its own. Special and
// added tokens cut a text into segments.
enum class PrefixRule {
  kNever,
  kFirst,   // the segment at the very start of the text (legacy: false)
  kAlways,  // every segment (legacy: true)
};

struct TokenizerSettings {
  PrefixRule prefix = PrefixRule::kAlways;
  // The mark is put even where a space already begins the segment (slow tokenizers and the
  // Prepend normalizer do, the Metaspace pre-tokenizer does not).
  bool prefix_before_space = true;
  // Marks are put by a normalizer, which added tokens with `normalized` are looked for after. The
  // Metaspace pre-tokenizer, in its place, works on what lies between all added tokens. With kFirst
  // every text that it gets, what lies between tokens that are not `normalized`, begins with one,
  // unless a token that is stands there: the original code's `legacy: false` in one pass.
  bool marks_in_normalizer = false;
  // It also makes marks of spaces.
  bool spaces_in_normalizer = false;
  // Decoding drops one space at the very start.
  bool strip_first_space = true;
  bool add_bos = true;
  // Texts of the special tokens; empty: what the sentencepiece model says.
  std::string unk_token;
  std::string bos_token;
  std::string eos_token;
};

struct AddedToken {
  std::string content;
  int id = 0;
  bool special = false;      // skipped by Decode
  bool lstrip = false;       // takes the white space before it along when it occurs in a text
  bool rstrip = false;       // ... and after it
  bool single_word = false;  // found only where no word goes on at either side
  // Looked for after the others, in what the normalizer made of the text between them.
  bool normalized = false;

  friend bool operator==(const AddedToken&, const AddedToken&) = default;
};

// What one id contributes to a decoded text.
struct Piece {
  enum class Kind {
    kText,     // `text`, with spaces for word-start marks; valid UTF-8
    kByte,     // bytes that may be a part of a character: `text` is those
    kNothing,  // special tokens, and ids that are in no vocabulary
  };
  Kind kind = Kind::kNothing;
  std::string text;
};

// Immutable and safe to use from many threads. Cheap to move; owns the vocabulary.
class Tokenizer {
 public:
  // Reads what is there of tokenizer.json, tokenizer.model, tokenizer_config.json,
  // added_tokens.json and special_tokens_map.json in DIR. Where files disagree, tokenizer.json
  // counts (as in transformers), then tokenizer_config.json. In the original layout tokenizer.model
  // counts where it is there, because the original code's slow tokenizer reads no other; `layout`
  // also decides what counts without tokenizer.json: Hugging Face's fast tokenizer, or the slow
  // one. Errors: kNotFound (no vocabulary), kInvalidArgument (a file is malformed, says what this
  // software does not know, or ids clash).
  static absl::StatusOr<Tokenizer> Load(const std::string& dir, Layout layout);

  // From the bytes of a tokenizer.model. The model's own control tokens are special.
  // Errors: kInvalidArgument.
  static absl::StatusOr<Tokenizer> FromModel(std::string_view model_bytes,
                                             std::vector<AddedToken> added,
                                             TokenizerSettings settings);

  // The same from a vocabulary that was read.
  static absl::StatusOr<Tokenizer> FromVocabulary(std::unique_ptr<const Vocabulary> vocabulary,
                                                  std::vector<AddedToken> added,
                                                  TokenizerSettings settings);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // The ids of the parts as one text, without BOS or EOS. Neighbouring parts join into one segment
  // where no control token divides them, so cutting a text into parts does not change its ids.
  // Pieces that a sentencepiece model finds in any text ("user-defined") count as control tokens.
  // `at_start` false: the text continues after something (an image), so that PrefixRule::kFirst
  // puts no mark at its start. Text that is not valid UTF-8 is repaired with U+FFFD first. Time is
  // linear in the text, and so is memory: see kBytesPerByte in model/text/bpe.h.
  std::vector<int> Encode(std::span<const TextPart> parts, bool at_start = true) const;
  std::vector<int> Encode(std::string_view text, bool control = true) const;

  // What transformers' decode(ids, skip_special_tokens=True) returns, but where byte tokens are not
  // valid UTF-8: there only what is wrong becomes U+FFFD (model/text/detokenizer.h). Ids in no
  // vocabulary are nothing.
  std::string Decode(std::span<const int> ids) const;

  // One id's part of a text; see model/text/detokenizer.h for how pieces combine.
  const Piece& PieceOf(int id) const;
  // The token as it stands in the vocabulary ("▁the", "<0x0A>", "</s>"); empty for unknown ids.
  std::string TokenText(int id) const;

  // The id of an added token or vocabulary piece with exactly this text.
  std::optional<int> IdOf(std::string_view token) const;

  int bos_id() const;
  int eos_id() const;
  int unk_id() const;
  // tokenizer.json's post-processor, or else add_bos_token, true unless a file says otherwise
  bool adds_bos() const;
  // One above the highest id, added tokens included.
  int vocab_size() const;
  // No token stands for more bytes of text than this (white space that an added token takes along
  // aside). Positive.
  std::int64_t max_token_bytes() const;
  const TokenizerSettings& settings() const;
  const std::vector<AddedToken>& added_tokens() const;
  const Vocabulary& base() const;

  // kInvalidArgument when a piece of the vocabulary has no row in an embedding of `rows` rows.
  absl::Status CheckFits(int rows) const;
  // A sentence about added tokens without a row there, as fine-tuning with a new padding token
  // leaves them; empty when there is none. Only a prompt that has one of them is refused.
  std::string BeyondEmbedding(int rows) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_TOKENIZER_H_
