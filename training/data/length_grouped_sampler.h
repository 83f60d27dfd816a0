// Which rows make up which global batch: a pure function of (lengths, options, step), so that a
// position is one integer and a resumed run sees exactly the batches it would have seen. The
// grouping follows the reference (LLaVA, llava_trainer.py, group_by_modality_length): batches of
// one modality with rows of similar length, in random order.
#ifndef LLAVA_TRAINING_DATA_LENGTH_GROUPED_SAMPLER_H_
#define LLAVA_TRAINING_DATA_LENGTH_GROUPED_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "base/rng.h"

namespace llava::training {

enum class Grouping { kNone, kLengthAndModality };

// Rows that come more or less often than once an epoch: all from the end of the share before up to
// `end`, `count` of them an epoch, each as often as any other or once more. Which ones come once
// more changes with the epoch.
struct RowShare {
  std::int64_t end = 0;
  std::int64_t count = 0;
};

struct SamplerOptions {
  std::int64_t global_batch = 1;  // rows a step, over all ranks and accumulation passes
  Grouping grouping = Grouping::kNone;
  std::uint64_t seed = 0;
  std::vector<RowShare> shares = {};  // empty: every row once; none of them is
};

// Not thread-safe (it keeps the permutation of the last epoch asked for). Without shares every
// epoch has each row exactly once; its last batch may be smaller than the others.
class LengthGroupedSampler {
 public:
  // `lengths`: one entry a row, negative for rows without images, never 0; not empty.
  LengthGroupedSampler(std::vector<std::int32_t> lengths, SamplerOptions options);

  std::int64_t steps_per_epoch() const;

  // The rows of global step `step` (0, 1, ... over all epochs).
  const std::vector<std::int64_t>& Batch(std::int64_t step);

 private:
  std::int64_t RowsPerEpoch() const;
  std::vector<std::int64_t> RowsOf(Rng& rng) const;
  std::vector<std::vector<std::int64_t>> MakeEpoch(std::int64_t epoch) const;

  const std::vector<std::int32_t> lengths_;
  const SamplerOptions options_;
  std::int64_t epoch_ = -1;
  std::vector<std::vector<std::int64_t>> batches_;  // of epoch_
};

// Deals the rows of a batch to `parts` (ranks x accumulation passes) so that the parts differ by at
// most one row and their total lengths are near each other; longest first. A part may be empty.
std::vector<std::vector<std::int64_t>> SplitEvenly(const std::vector<std::int64_t>& batch,
                                                   const std::vector<std::int32_t>& lengths,
                                                   std::int64_t parts);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_LENGTH_GROUPED_SAMPLER_H_
