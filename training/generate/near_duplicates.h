// Which of many texts say almost the same: MinHash over three words after another.
#ifndef LLAVA_TRAINING_GENERATE_NEAR_DUPLICATES_H_
#define LLAVA_TRAINING_GENERATE_NEAR_DUPLICATES_H_

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace llava::training {

// Not thread-safe. Finds pairs whose share of equal shingles (Jaccard) is `threshold` or more with
// 128 hashes in bands of four: from 0.8 on practically all of them, and judges by the estimate.
class NearDuplicates {
 public:
  explicit NearDuplicates(double threshold) : threshold_(threshold) {}

  // The place of an earlier text that is almost the same, -1 without one; then `text` is kept.
  std::int64_t Add(const std::string& text);

 private:
  static constexpr int kHashes = 128;
  static constexpr int kBand = 4;
  using Signature = std::array<std::uint64_t, kHashes>;

  static Signature SignatureOf(const std::string& text);

  const double threshold_;
  std::vector<Signature> kept_;
  std::vector<std::int64_t> places_;  // of those kept, among all texts
  std::int64_t texts_ = 0;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> bands_;  // into kept_
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_NEAR_DUPLICATES_H_
