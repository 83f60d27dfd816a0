// Tensor parallelism (Shoeybi et al., arXiv 1909.08053): several devices serve one model together,
// and each holds a part of every layer of the decoder.
#ifndef LLAVA_MODEL_CONFIG_SHARD_H_
#define LLAVA_MODEL_CONFIG_SHARD_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::model {

// What rank `rank` of `size` holds: of the heads of attention, with their keys and values, and of
// the inner places of the MLP a `size`th each, in order.
struct LayerShard {
  int rank = 0;
  int size = 1;

  bool is_whole() const { return size == 1; }
  // Of `all` rows or columns, which `size` divides, this rank has [First(all), First(all) +
  // Count(all)).
  std::int64_t Count(std::int64_t all) const { return all / size; }
  std::int64_t First(std::int64_t all) const { return rank * Count(all); }

  friend bool operator==(const LayerShard&, const LayerShard&) = default;
};

// INVALID_ARGUMENT when `size` does not divide what is dealt out; names the first such number.
absl::Status CheckShards(const TextConfig& text, int size);

// The model as its layers look to one rank: with its heads and its inner size. REQUIRES:
// CheckShards(text, size) is OK.
TextConfig ShardOf(TextConfig text, int size);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_SHARD_H_
