// Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685): beside the frozen weight W of a linear
// layer, y = W x + alpha / rank * B A dropout(x).
#ifndef LLAVA_MODEL_NETWORK_LORA_H_
#define LLAVA_MODEL_NETWORK_LORA_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace llava::model {

// The adapter of one layer, shared by the layer and its trainer.
struct Lora {
  at::Tensor a_RI;         // [rank, in]
  at::Tensor b_OR;         // [out, rank]; zeros at first, so that the layer begins unchanged
  double scale = 1.0;      // alpha / rank
  double dropout = 0.0;    // share of the inputs that an adapter does not see while it learns
  std::uint64_t seed = 0;  // of the dropout: the same seed drops the same inputs

  // What is added to W x. x: [..., in] -> [..., out], in the dtype of x. Differentiable.
  at::Tensor Forward(const at::Tensor& x) const;

  // [out, in], fp32: what is to be added to W instead.
  at::Tensor Product() const;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_LORA_H_
