// Rotary position embeddings (Su et al., arXiv 2104.09864) in the rotate-half layout of Llama in
// transformers (modeling_llama.py, modeling_rope_utils.py). Computed in fp32.
#ifndef LLAVA_MODEL_NETWORK_ROTARY_H_
#define LLAVA_MODEL_NETWORK_ROTARY_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "model/config/config.h"

namespace llava::model {

// cos and sin of each token's angles, [T, 1, R / 2], fp32: of the first R dimensions of a head,
// which are all but where RopeConfig::rotated says fewer. The others stay as they are.
struct RotaryAngles {
  at::Tensor cos;
  at::Tensor sin;
};

// Immutable, hence thread-safe.
class Rotary {
 public:
  Rotary(const TextConfig& config, at::Device device);

  // positions_T: int64 on the device, the token's place in its sequence.
  RotaryAngles Angles(const at::Tensor& positions_T) const;

  // x_THD: [T, heads, D]; the same shape and dtype, rotated. Differentiable once: in one pass over
  // the rows where HasRowKernels takes x_THD, else by ATen's operators.
  static at::Tensor Rotate(const at::Tensor& x_THD, const RotaryAngles& angles);

  // The same, written over x_THD, whose last two dimensions are contiguous. For inference.
  static void RotateInPlace(const at::Tensor& x_THD, const RotaryAngles& angles);

 private:
  at::Tensor frequencies_;  // [R / 2], fp32
  double scale_;            // of cos and sin
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_ROTARY_H_
