// In which pieces, in which order and to whom the gradients of a backward pass are sent.
#ifndef LLAVA_TRAINING_OPTIM_GRADIENT_BUCKETS_H_
#define LLAVA_TRAINING_OPTIM_GRADIENT_BUCKETS_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace llava::training {

inline constexpr std::int64_t kBucketElements = std::int64_t{25} << 18;  // 25 MiB of fp32
inline constexpr std::size_t kBucketsOnTheirWay = 4;  // more would only take memory

// Parameters whose gradients are sent together.
struct GradientBucket {
  int owner = -1;                    // the rank that gets the sum; -1: all do
  std::vector<std::size_t> members;  // places among the parameters
  std::int64_t elements = 0;
};

// Where in the model a parameter of that name is read. A backward pass makes the gradients of the
// deepest first.
struct ModelDepth {
  enum class Part {
    kTowerInput,
    kTowerLayers,
    kProjector,
    kDecoderInput,
    kDecoderLayers,
    kDecoderEnd,
    kHead,
  };
  Part part = Part::kDecoderEnd;
  std::int64_t layer = 0;  // of the tower's or the decoder's

  friend auto operator<=>(const ModelDepth&, const ModelDepth&) = default;
};
ModelDepth DepthOf(const std::string& name);

// The owner of each parameter with so many elements: the heaviest first, each to the rank that has
// least.
std::vector<int> DealOwners(const std::vector<std::int64_t>& elements, int ranks);

// The buckets in the order in which they are sent: from the deepest parameter on, since the first
// that is not complete holds up the others. `owners` is empty when everybody gets the sums. A
// bucket is closed once it has `bucket_elements`; the first is small, so that it is sent early.
std::vector<GradientBucket> PlanBuckets(const std::vector<std::string>& names,
                                        const std::vector<std::int64_t>& elements,
                                        const std::vector<int>& owners, int ranks,
                                        std::int64_t bucket_elements = kBucketElements);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_GRADIENT_BUCKETS_H_
