// AdamW (Loshchilov and Hutter, 2019) with decoupled weight decay, as torch.optim.AdamW computes
// it:
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   w = w - rate * decay * w - rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
// Weights below fp32 get an fp32 master copy that the update is computed on.
#ifndef LLAVA_TRAINING_OPTIM_ADAMW_H_
#define LLAVA_TRAINING_OPTIM_ADAMW_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/tensors/named_tensor.h"

namespace llava::training {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};

// Parameters that share a peak rate and a decay.
struct ParameterGroup {
  std::string name;  // "decoder", "decoder (no decay)", ... for logs
  double rate = 0.0;
  double weight_decay = 0.0;
  std::vector<model::NamedTensor> parameters;
};

// Norm weights and biases (all tensors with fewer than two dimensions) are not decayed.
bool Decays(const model::NamedTensor& parameter);

// Splits `parameters` into those that decay and those that do not; empty groups are left out.
std::vector<ParameterGroup> SplitByDecay(const std::string& name, double rate, double weight_decay,
                                         const std::vector<model::NamedTensor>& parameters);

// Used by the training thread. Shares the parameters' memory; owns masters and moments.
class AdamW {
 public:
  AdamW(std::vector<ParameterGroup> groups, const AdamWOptions& options);

  const std::vector<ParameterGroup>& groups() const { return groups_; }

  // One update from the parameters' gradients times `gradient_scale`, at `rate_factor` times each
  // group's rate, which changes the gradients' values. A parameter without a gradient keeps its
  // value (and its moments).
  void Step(double rate_factor, double gradient_scale);

  // Drops all gradients.
  void ZeroGradients();

  // What a resume needs: "<parameter>.m", ".v" and, below fp32, ".master", plus the step count.
  // The tensors share memory with the optimizer: copying into them restores it.
  std::vector<model::NamedTensor> State() const;
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

 private:
  struct Slot {
    at::Tensor parameter;
    at::Tensor master;  // the parameter itself when it is fp32
    at::Tensor m;
    at::Tensor v;
  };

  void Update(const ParameterGroup& group, Slot& slot, double rate, double gradient_scale) const;

  const AdamWOptions options_;
  const std::vector<ParameterGroup> groups_;
  std::vector<std::vector<Slot>> slots_;  // as groups_[i].parameters
  std::int64_t steps_ = 0;
};

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_ADAMW_H_
