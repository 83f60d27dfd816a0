// Layer normalization (Ba et al., arXiv 1607.06450) over the last dimension.
#ifndef LLAVA_MODEL_NETWORK_LAYER_NORM_H_
#define LLAVA_MODEL_NETWORK_LAYER_NORM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "model/network/weights.h"

namespace llava::model {

// Forward is const and thread-compatible. Differentiable.
struct LayerNorm {
  at::Tensor weight;
  at::Tensor bias;
  double eps = 1e-5;

  // Takes `prefix`.weight and `prefix`.bias, [size] each.
  LayerNorm(WeightSource& source, const std::string& prefix, std::int64_t size, double epsilon);
  at::Tensor Forward(const at::Tensor& x) const;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_LAYER_NORM_H_
