// Token ids to text, one id at a time, for streaming.
#ifndef LLAVA_MODEL_TEXT_DETOKENIZER_H_
#define LLAVA_MODEL_TEXT_DETOKENIZER_H_

#include <string>

#include "base/utf8_stream.h"
#include "model/text/tokenizer.h"

namespace llava::model {

// One answer. Not thread-safe; the tokenizer must outlive it. Invariants: every returned string is
// valid UTF-8, and all of them together, Finish()'s included, are Tokenizer::Decode of the ids
// unless they go on with a text.
// Bytes of characters without a token of their own are held back until the character is complete;
// what cannot become one is U+FFFD (see base/utf8_stream.h), so that an answer which ends in the
// middle of a character loses that one only. tokenizers' ByteFallback decoder, which waits for the
// end of a run of bytes, makes one U+FFFD of each byte of a run that is not valid as a whole.
class Detokenizer {
 public:
  // `goes_on`: behind other text, so that a space in front is one between them and is kept.
  explicit Detokenizer(const Tokenizer& tokenizer, bool goes_on = false)
      : tokenizer_(&tokenizer), goes_on_(goes_on), at_start_(!goes_on) {}

  // The text that `id` completes; possibly empty. Any id is allowed.
  std::string Push(int id);
  // The end of the answer: what was held back. Afterwards the object is as new.
  std::string Finish();

 private:
  std::string DropFirstSpace(std::string text);

  const Tokenizer* tokenizer_;
  bool goes_on_;
  Utf8Stream bytes_;  // of byte tokens
  bool at_start_;     // nothing was emitted yet
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_DETOKENIZER_H_
