// What happens to gradients between the backward pass and the update.
#ifndef LLAVA_TRAINING_OPTIM_GRADIENTS_H_
#define LLAVA_TRAINING_OPTIM_GRADIENTS_H_

#include <vector>

#include "model/tensors/named_tensor.h"

namespace llava::training {

// The L2 norm over the gradients of all parameters, in fp32 (parameters without one count as 0).
// NaN or infinite when any element is.
double GradientNorm(const std::vector<model::NamedTensor>& parameters);

// The factor that brings a norm down to `limit`, as torch's clip_grad_norm_: min(1, limit / (norm +
// 1e-6)). No limit (0): 1.
double ClipFactor(double norm, double limit);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_OPTIM_GRADIENTS_H_
