// Byte-pair encoding: a text begins as its characters, and again and again the pair of neighbours
// whose merge comes first in the table becomes one, the leftmost first. The same ids as
// sentencepiece's bpe_model.cc and Hugging Face's tokenizers (models/bpe) give, in time and memory
// linear in the text: at most kBytesPerByte bytes for each byte of it, the ids included, and only
// for the longest stretch without a place that no merge crosses (a word, mostly).
#ifndef LLAVA_MODEL_TEXT_BPE_H_
#define LLAVA_MODEL_TEXT_BPE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "model/text/vocabulary.h"

namespace llava::model {

class SentencepieceModel;

// Of the text's bytes; what Bpe::Encode allocates stays below. The peak of resident memory grew by
// 9 for 16 MiB of one letter (1.1 s of one core) and by 5 for as much of words (0.9 s).
inline constexpr int kBytesPerByte = 64;

// Immutable; any thread.
class Bpe : public Vocabulary {
 public:
  struct Entry {
    std::string text;
    Kind kind = Kind::kText;
  };
  // The pair `left`, `right` becomes `result`, lower ranks first.
  struct Merge {
    int left = 0;
    int right = 0;
    int result = 0;
    int rank = 0;

    friend bool operator==(const Merge&, const Merge&) = default;
  };
  struct Options {
    int unk = -1;  // stands for a character that has no piece and no byte pieces; -1: it is dropped
    int bos = -1;
    int eos = -1;
    bool fuse_unk = false;         // several such characters in a row are one unk
    bool byte_fallback = false;    // a character without a piece is its bytes' pieces
    bool ignore_merges = false;    // a segment that is a piece is that piece
    bool spaces_are_marks = true;  // ' ' is read as the word-start mark U+2581
    bool split_at_marks = false;   // every mark begins a segment
  };

  // kInvalidArgument: a text comes twice, a merge is not that of its texts, or is one of byte
  // pieces, ids out of range.
  static absl::StatusOr<std::unique_ptr<const Bpe>> Create(std::vector<Entry> entries,
                                                           std::vector<Merge> merges,
                                                           const Options& options);

  // The same encoding as the library's; nullptr where only the library has it: a model that is not
  // byte-pair encoding, has user-defined or unused pieces, pieces of the same score or very long
  // ones.
  static std::unique_ptr<const Bpe> FromSentencepiece(const SentencepieceModel& model);

  void Encode(std::string_view text, std::vector<int>& ids) const override;
  int size() const override { return static_cast<int>(entries_.size()); }
  const std::string& piece(int id) const override { return entries_[Index(id)].text; }
  Kind kind(int id) const override { return entries_[Index(id)].kind; }
  int IdOf(std::string_view piece) const override;
  bool spells_bytes() const override;
  int unk_id() const override { return options_.unk; }
  int bos_id() const override { return options_.bos; }
  int eos_id() const override { return options_.eos; }

  // By rank; a piece that several pairs make has one merge for each.
  const std::vector<Merge>& merges() const { return merges_; }
  const Options& options() const { return options_; }

 private:
  struct Applied {
    int rank;
    int result;
  };
  class Stretch;

  Bpe(std::vector<Entry> entries, std::vector<Merge> merges, const Options& options)
      : entries_(std::move(entries)), merges_(std::move(merges)), options_(options) {}

  static std::size_t Index(int id) { return static_cast<std::size_t>(id); }
  absl::Status IndexEntries();
  absl::Status IndexMerges();
  const Applied* Find(int left, int right) const;
  std::optional<int> PieceOf(std::string_view segment) const;
  void EncodeSegment(std::string_view segment, std::vector<int>& ids) const;
  void MergeShort(std::vector<int>& symbols) const;
  void MergeLong(std::vector<int>& symbols) const;

  std::vector<Entry> entries_;  // by id
  std::vector<Merge> merges_;
  Options options_;
  absl::flat_hash_map<std::string_view, int> ids_;      // of text pieces and all others
  absl::flat_hash_map<std::uint64_t, Applied> pairs_;   // by left and right
  absl::flat_hash_map<std::uint32_t, int> characters_;  // ids of pieces of one character
  absl::flat_hash_set<std::uint64_t> junctions_;        // characters that a merge may join
  std::array<int, 256> bytes_;                          // ids of the byte pieces, -1: none
  std::size_t max_piece_bytes_ = 0;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_TEXT_BPE_H_
