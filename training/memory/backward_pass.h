// A backward pass as its memory sees it: activations go, block by block, gradients come, and are
// sent in buckets as GradientSync (training/optim/gradient_sync.h) sends them.
#ifndef LLAVA_TRAINING_MEMORY_BACKWARD_PASS_H_
#define LLAVA_TRAINING_MEMORY_BACKWARD_PASS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "training/memory/activations.h"

namespace llava::training {

struct LearnedParameter {
  std::string name;
  std::int64_t elements = 0;
  std::size_t block = 0;  // place among the blocks
};

// Who adds up what.
struct GradientRules {
  std::int64_t element_bytes = 4;  // of parameters and so of gradients
  int ranks = 1;
  bool sharded = false;     // each parameter's gradient and optimizer state with one rank
  std::int64_t passes = 1;  // of a step on one rank
};

// Bytes on the rank that has most, at one moment.
struct PassMemory {
  std::int64_t activations = 0;
  std::int64_t gradients = 0;  // in the parameters' precision
  std::int64_t sums = 0;       // of gradients, in fp32, that this rank owns
  std::int64_t sent = 0;       // buckets on their way
  std::int64_t working = 0;    // copies that the update makes
  std::string moment;          // "the loss of the last pass"

  std::int64_t all() const { return activations + gradients + sums + sent + working; }
};

// The moment of a step at which these are most.
PassMemory MostOfStep(const std::vector<BlockMemory>& blocks,
                      const std::vector<LearnedParameter>& parameters, const GradientRules& rules);

// The parameters whose optimizer state the rank that owns most has: 1 each, else 0.
std::vector<bool> OwnedByHeaviest(const std::vector<LearnedParameter>& parameters,
                                  const GradientRules& rules);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_MEMORY_BACKWARD_PASS_H_
