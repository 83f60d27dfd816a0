// The one linear layer of the model: y = x Wᵀ + b.
#ifndef LLAVA_MODEL_NETWORK_LINEAR_H_
#define LLAVA_MODEL_NETWORK_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/kernels/cpu/packed_matrix.h"
#include "model/kernels/cuda/device_matrix.h"
#include "model/network/lora.h"

namespace llava::model {

// Rows of a matrix of codes that are numbers at once.
inline constexpr std::int64_t kDecodedRows = 1024;

// A value; copies share the weights. Forward is const and may run on several threads at once.
class Linear {
 public:
  Linear() = default;

  // weight_OI: [out, in] floating point; bias_O: [out] or undefined. Shared, not copied: training
  // updates the tensors in place.
  explicit Linear(at::Tensor weight_OI, at::Tensor bias_O = {});
  // A layer of codes: to be packed, or as it is the frozen base of an adapter (Dettmers et al.,
  // QLoRA, arXiv 2305.14314), of which kDecodedRows are decoded at a time when they are read.
  explicit Linear(QuantizedMatrix weight, at::Tensor bias_O = {});

  // x: [..., in] -> [..., out], in the dtype of x. Differentiable, but for codes.
  at::Tensor Forward(const at::Tensor& x) const;

  // The layers of one input as one layer for inference only, with weights as `format`; its outputs
  // are theirs, one after the other. All with a bias or all without, all of codes, which are then
  // of `format`, or none; none packed. A DeviceMatrix of kFp8 and of codes that lie on a GPU, else
  // a PackedMatrix on the CPU, elsewhere a tensor of DtypeOf(format). Copies, and lets go of the
  // originals.
  static Linear Packed(std::vector<Linear> layers, WeightFormat format);
  void Pack(WeightFormat format) { *this = Packed({std::move(*this)}, format); }

  // The layer that computes `count` of the outputs, from `first` on. Shares the weights. REQUIRES:
  // not packed, no adapter.
  Linear Rows(std::int64_t first, std::int64_t count) const;
  // The layer of `count` of the inputs, from `first` on: those of all inputs add up to the whole
  // when one of them has the bias. Shares the weights, but not codes. REQUIRES: not packed, no
  // adapter; of codes `first` and `count` are multiples of their groups.
  Linear Columns(std::int64_t first, std::int64_t count, bool with_bias) const;
  // The same layer, on a GPU with weights of its own: those of which it was a part can go.
  Linear Compact() const;

  // Adds an adapter, which the caller trains instead of the weight.
  void Attach(std::shared_ptr<const Lora> lora) { lora_ = std::move(lora); }

  // Takes the adapter off again, having added what it learned to the weight; codes stay as they
  // are.
  void MergeLora();

  // Whether there is a weight, in any form.
  bool is_there() const { return is_packed() || codes_ || weight_OI_.defined(); }
  std::int64_t in_features() const;
  std::int64_t out_features() const;
  // Undefined when packed for our kernels or in 8 bits, and of codes.
  const at::Tensor& weight() const { return weight_OI_; }
  const at::Tensor& bias() const { return bias_O_; }

 private:
  bool is_packed() const { return packed_ != nullptr || on_device_ != nullptr; }

  at::Tensor weight_OI_;
  at::Tensor bias_O_;
  std::optional<QuantizedMatrix> codes_;  // in place of the weight
  std::shared_ptr<const PackedMatrix> packed_;
  std::shared_ptr<const DeviceMatrix> on_device_;  // instead of packed_
  std::shared_ptr<const Lora> lora_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_LINEAR_H_
