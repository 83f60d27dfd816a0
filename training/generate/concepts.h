// The choice of captions by which "Visual Instruction Tuning" got CC3M's 3.3 million down to 595
// thousand: every concept (noun phrase) that is not rare stays, none too often.
#ifndef LLAVA_TRAINING_GENERATE_CONCEPTS_H_
#define LLAVA_TRAINING_GENERATE_CONCEPTS_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace llava::training {

// The noun phrases of a caption, lower case, each once: what stands between determiners,
// prepositions, verbs and punctuation, its last three words at the most. Without a tagger, so that
// it is an approximation of the paper's spaCy.
std::vector<std::string> NounPhrases(std::string_view caption);

// Captions by concept. Not thread-safe. About 20 bytes a phrase of a caption, and each different
// phrase once.
class ConceptBalance {
 public:
  // The next caption's phrases.
  void Add(const std::vector<std::string>& phrases);

  // Which captions (by the order of Add, ascending) are chosen: phrases of fewer than `min`
  // captions are passed over; of the others, the rarest first, each adds its captions, or `max` of
  // them drawn with `seed`.
  std::vector<std::int64_t> Choose(std::int64_t min, std::int64_t max, std::uint64_t seed) const;

  // How many phrases are in 1, 2, 3 to 9, 10 to 99, 100 to 999 and more captions of `chosen`.
  std::vector<std::int64_t> Histogram(const std::vector<std::int64_t>& chosen) const;

  std::int64_t captions() const { return std::ssize(begin_); }
  std::int64_t phrases() const { return std::ssize(names_); }

 private:
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::vector<const std::string*> names_;  // by id
  std::vector<std::uint32_t> flat_;        // the captions' phrases, one after the other
  std::vector<std::size_t> begin_;         // where each caption's begin
};

// For a person, a line: "phrases in 1, 2, 3-9, 10-99, 100-999, 1000+ captions: ...".
std::string HistogramText(const std::vector<std::int64_t>& histogram);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_CONCEPTS_H_
