// The vocabulary of GPT-2's kind (Radford et al., 2019; tokenizers' ByteLevel), which Qwen2 and
// Llama 3 have: a text is cut into words by a regular expression, and the pieces are of bytes, each
// written as one character.
#ifndef LLAVA_MODEL_TEXT_BYTE_LEVEL_H_
#define LLAVA_MODEL_TEXT_BYTE_LEVEL_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/text/bpe.h"
#include "model/text/split_expression.h"
#include "model/text/vocabulary.h"

namespace llava::model {

// The expression that tokenizers' ByteLevel has of its own.
extern const char kGpt2Expression[];

// Immutable; any thread.
class ByteLevel final : public Vocabulary {
 public:
  // `bpe`: pieces and merges as the file writes them, without marks. The text is normalised to NFC
  // first when `nfc`, then cut by each expression in turn.
  ByteLevel(std::unique_ptr<const Bpe> bpe, std::vector<SplitExpression> splits, bool nfc)
      : bpe_(std::move(bpe)), splits_(std::move(splits)), nfc_(nfc) {}

  void Encode(std::string_view text, std::vector<int>& ids) const override;
  int size() const override { return bpe_->size(); }
  const std::string& piece(int id) const override { return bpe_->piece(id); }
  // kBytes for pieces of text.
  Kind kind(int id) const override;
  int IdOf(std::string_view piece) const override { return bpe_->IdOf(piece); }
  // The bytes that the piece stands for; those of the piece itself where one of its characters is
  // no byte's.
  std::string TextOf(int id) const override;
  bool spells_bytes() const override;
  // Four characters compose to one at the most, and none is longer than its composition's parts.
  int max_shrinkage() const override { return nfc_ ? 4 : 1; }
  int unk_id() const override { return bpe_->unk_id(); }
  int bos_id() const override { return -1; }
  int eos_id() const override { return -1; }

 private:
  std::unique_ptr<const Bpe> bpe_;
  std::vector<SplitExpression> splits_;
  bool nfc_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_BYTE_LEVEL_H_
