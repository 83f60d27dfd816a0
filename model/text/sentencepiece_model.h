// The sentencepiece library behind our own types. Its header declares an absl::string_view that
// clashes with abseil's, so only the .cc of this file includes it, and no abseil.
#ifndef LLAVA_MODEL_TEXT_SENTENCEPIECE_MODEL_H_
#define LLAVA_MODEL_TEXT_SENTENCEPIECE_MODEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/vocabulary.h"

namespace llava::model {

// A tokenizer.model, encoded by the library: some 200 bytes of memory for each byte of text.
// Immutable; any thread.
class SentencepieceModel : public Vocabulary {
 public:
  // nullptr with `error` filled when the bytes are not a model. The model's own text normalization
  // (character map, dummy prefix, extra white space) is switched off, as LlamaTokenizerFast does.
  static std::unique_ptr<SentencepieceModel> FromBytes(std::string_view bytes, std::string* error);
  ~SentencepieceModel() override;

  void Encode(std::string_view text, std::vector<int>& ids) const override;
  int size() const override;
  const std::string& piece(int id) const override;
  Kind kind(int id) const override;
  int IdOf(std::string_view piece) const override;
  bool spells_bytes() const override;
  int unk_id() const override;
  int bos_id() const override;
  int eos_id() const override;

  float score(int id) const;
  // Made while encoding, but taken apart again in its result. REQUIRES: 0 <= id < size().
  bool is_unused(int id) const;
  // Byte-pair encoding, in which scores are the order of merges.
  bool is_bpe() const;
  // Spaces become word-start marks.
  bool escapes_spaces() const;

 private:
  struct Impl;
  explicit SentencepieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_SENTENCEPIECE_MODEL_H_
