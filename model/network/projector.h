// The bridge from the vision tower to the language model: one linear layer (LLaVA, arXiv
// 2304.08485, section 4.1) or a chain of them with activations between (1.5, arXiv 2310.03744),
// after a layer norm in VipLLaVA (arXiv 2312.00784).
#ifndef LLAVA_MODEL_NETWORK_PROJECTOR_H_
#define LLAVA_MODEL_NETWORK_PROJECTOR_H_

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "model/config/config.h"
#include "model/network/activation.h"
#include "model/network/layer_norm.h"
#include "model/network/linear.h"
#include "model/network/weights.h"

namespace llava::model {

// Forward is const and thread-compatible.
class Projector {
 public:
  Projector(const LlavaConfig& config, WeightSource& source);

  // [..., features] -> [..., hidden], in the dtype of the input. Differentiable.
  at::Tensor Forward(const at::Tensor& features) const;

 private:
  Activation activation_;
  std::optional<LayerNorm> norm_;
  std::vector<Linear> layers_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_PROJECTOR_H_
