// A LoRA adapter in PEFT's layout as tensors: its folder's adapter_config.json and
// adapter_model.safetensors, checked against each other.
#ifndef LLAVA_MODEL_ADAPTER_ADAPTER_WEIGHTS_H_
#define LLAVA_MODEL_ADAPTER_ADAPTER_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "model/config/decoder_products.h"
#include "model/config/shard.h"

namespace llava::model {

// What is added to one product of the decoder: scale B A x.
struct AdaptedWeights {
  AdaptedProduct product;
  at::Tensor a_RI;              // [rank, in], fp32
  at::Tensor b_OR;              // [out, rank], fp32, the scale in it
  at::Tensor magnitude_O = {};  // [out], fp32, of DoRA: the lengths that the sum's rows get
};

struct AdapterWeights {
  std::string base;                      // as adapter_config.json calls it; may be empty
  std::string targets;                   // as it says them
  Digest digest;                         // of all that the adapter computes
  int rank = 0;                          // the greatest
  bool dora = false;                     // every product has magnitudes, or none has
  std::int64_t bytes = 0;                // of the tensors, in fp32
  std::vector<AdaptedWeights> products;  // by layer, then in the order of DecoderProducts

  std::vector<AdaptedProduct> adapted() const;
};

// Reads and checks: names, shapes, ranks, what belongs together, finite values, that the
// configuration targets what there is, and that what it targets in the decoder is there. No base is
// looked at: see CheckFits. The errors are those of AdapterConfig::Read and ReadSafetensors;
// besides RESOURCE_EXHAUSTED for more than `max_bytes`, INVALID_ARGUMENT for a tensor that does not
// fit, DATA_LOSS for NaN, UNIMPLEMENTED for tensors of other parts than the decoder's layers
// (vision tower, projector, embeddings, head).
absl::StatusOr<AdapterWeights> ReadAdapter(const std::string& dir, std::int64_t max_bytes);

// What a rank adds to its part of each product (ShardOf of `text`, the whole model's configuration,
// has them): of q, k, v, gate and up some outputs, of o and down what some inputs give. Products
// that are one matrix of the model are apart then. Shares the tensors.
AdapterWeights ShardOf(const AdapterWeights& weights, const TextConfig& text,
                       const LayerShard& shard);

}  // namespace llava::model

#endif  // LLAVA_MODEL_ADAPTER_ADAPTER_WEIGHTS_H_
