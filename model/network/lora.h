// Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685): beside the frozen weight W of a linear
// layer, y = W x + alpha / rank * B A dropout(x). With magnitudes (Liu et al., DoRA, arXiv
// 2402.09353) each row of the sum is scaled to a length that is learned too.
#ifndef LLAVA_MODEL_NETWORK_LORA_H_
#define LLAVA_MODEL_NETWORK_LORA_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "model/adapter/adapter_weights.h"

namespace llava::model {

// The adapter of one layer, shared by the layer and its trainer.
struct Lora {
  at::Tensor a_RI;              // [rank, in]
  at::Tensor b_OR;              // [out, rank]; zeros at first, so that the layer begins unchanged
  at::Tensor magnitude_O = {};  // [out], fp32: lengths of rows of the sum; undefined: as they come
  at::Tensor lengths_O = {};    // Lengths(W), where nothing is learned meanwhile; else undefined
  double scale = 1.0;           // alpha / rank
  double dropout = 0.0;         // share of the inputs that an adapter does not see while it learns
  std::uint64_t seed = 0;       // of the dropout: the same seed drops the same inputs

  // What is added to W x. x: [..., in] -> [..., out], in the dtype of x. Differentiable.
  at::Tensor Forward(const at::Tensor& x) const;

  // [out], fp32: the lengths of the rows of W + scale B A. weight_OI: W, any floating point.
  at::Tensor Lengths(const at::Tensor& weight_OI) const;

  // [out], fp32: what the outputs are multiplied by, magnitude / length. Differentiable in the
  // magnitudes; the lengths are constants to it (section 4.3 of the paper), as in PEFT
  // (tuners/lora/dora.py). REQUIRES: magnitudes.
  at::Tensor Factors(const at::Tensor& weight_OI) const;

  // [out, in], fp32: what is to be used instead of W.
  at::Tensor Merged(const at::Tensor& weight_OI) const;
};

// What an adapter from a folder changes, by the names of the weights.
std::map<std::string, Lora> LorasOf(const AdapterWeights& adapter);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_LORA_H_
