// The pieces of a tokenizer, and how plain text becomes ids of them: the part of a tokenizer that
// knows nothing of added tokens. Two files describe one: tokenizer.model and tokenizer.json.
#ifndef LLAVA_MODEL_TEXT_VOCABULARY_H_
#define LLAVA_MODEL_TEXT_VOCABULARY_H_

#include <string>
#include <string_view>
#include <vector>

namespace llava::model {

// Immutable; any thread.
class Vocabulary {
 public:
  enum class Kind {
    kText,
    kByte,     // "<0x0A>": one byte of a character without a piece
    kBytes,    // bytes of text, spelled as characters; perhaps parts of characters
    kControl,  // never the result of encoding text
    kUnknown,
    kUserDefined,  // found in a text before anything else
  };

  virtual ~Vocabulary() = default;

  // Appends the ids of `text`. REQUIRES: valid UTF-8.
  virtual void Encode(std::string_view text, std::vector<int>& ids) const = 0;

  virtual int size() const = 0;
  // REQUIRES: 0 <= id < size(). The piece may be any bytes.
  virtual const std::string& piece(int id) const = 0;
  virtual Kind kind(int id) const = 0;
  // What the piece stands for in a text, for kText, kBytes and kUserDefined.
  virtual std::string TextOf(int id) const { return piece(id); }
  // unk_id() when there is no such piece.
  virtual int IdOf(std::string_view piece) const = 0;

  // No token of a text stands for more than a piece or one byte: a character without a piece is
  // spelled in bytes.
  virtual bool spells_bytes() const = 0;

  // How many times as long as its pieces a text may be, because it is normalised first.
  virtual int max_shrinkage() const { return 1; }

  // -1: none.
  virtual int unk_id() const = 0;
  virtual int bos_id() const = 0;
  virtual int eos_id() const = 0;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_VOCABULARY_H_
