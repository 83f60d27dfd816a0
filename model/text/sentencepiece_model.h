// The sentencepiece library behind our own types. Its header declares an absl::string_view that
// clashes with abseil's, so only the .cc of this file includes it, and no abseil.
#ifndef LLAVA_MODEL_TEXT_SENTENCEPIECE_MODEL_H_
#define LLAVA_MODEL_TEXT_SENTENCEPIECE_MODEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llava::model {

// A tokenizer.model. Immutable; any thread.
class SentencepieceModel {
 public:
  enum class Kind {
    kText,
    kByte,     // "<0x0A>": one byte of a character without a piece
    kControl,  // never the result of encoding text
    kUnknown,
    kUserDefined,  // found in a text before anything else
  };

  // nullptr with `error` filled when the bytes are not a model. The model's own text normalization
  // (character map, dummy prefix, extra white space) is switched off, as LlamaTokenizerFast does.
  static std::unique_ptr<SentencepieceModel> FromBytes(std::string_view bytes, std::string* error);
  ~SentencepieceModel();

  // REQUIRES: valid UTF-8.
  std::vector<int> Encode(std::string_view text) const;

  int size() const;
  // REQUIRES: 0 <= id < size(). The piece may be any bytes.
  const std::string& piece(int id) const;
  Kind kind(int id) const;
  float score(int id) const;
  // Byte-pair encoding, in which scores are the order of merges.
  bool is_bpe() const;
  // unk_id() when there is no such piece.
  int IdOf(std::string_view piece) const;

  int unk_id() const;
  int bos_id() const;  // -1: none
  int eos_id() const;  // -1: none

 private:
  struct Impl;
  explicit SentencepieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_SENTENCEPIECE_MODEL_H_
