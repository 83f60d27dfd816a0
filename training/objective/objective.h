// What a stage learns from, as the trainer sees it: passes that give a loss with its graph.
#ifndef LLAVA_TRAINING_OBJECTIVE_OBJECTIVE_H_
#define LLAVA_TRAINING_OBJECTIVE_OBJECTIVE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tensors/named_tensor.h"
#include "training/data/collator.h"

namespace llava::training {

// One forward pass over one micro batch. The loss is a sum, so that passes and ranks add up; the
// trainer divides by the targets of the whole global batch.
struct Pass {
  at::Tensor loss_sum;  // scalar fp32 with its graph; undefined when there was nothing to learn
  std::shared_ptr<const void> inputs = {};  // what the backward pass still reads
  std::int64_t targets = 0;                 // terms of the sum
  std::int64_t correct = 0;                 // targets that were the most likely choice
  double waited_seconds = 0.0;              // for data that was not ready
  BatchStats stats;
  std::vector<std::string> sample_ids;  // for the message when the loss is not finite
};

// Used by the training thread; an object serves one stage from one step on.
class Objective {
 public:
  virtual ~Objective() = default;

  // Before each pass, with the same number in all passes and ranks of a step: what a pass does by
  // chance depends on this and on what it reads.
  virtual void BeginPass(std::uint64_t /*seed*/) {}

  // The next pass of this rank, in the order of steps and of passes within a step.
  virtual absl::StatusOr<Pass> Next() = 0;

  // Steps of one epoch.
  virtual std::int64_t steps_per_epoch() const = 0;

  // Parameters of its own that are trained with the stage and thrown away after it.
  virtual std::vector<model::NamedTensor> extra_parameters() const { return {}; }
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OBJECTIVE_OBJECTIVE_H_
