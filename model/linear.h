// The one linear layer of the model: y = x Wᵀ + b.
#ifndef LLAVA_MODEL_LINEAR_H_
#define LLAVA_MODEL_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace llava::model {

// A value; copies share the weights. Forward is const and may run on several threads at once.
class Linear {
 public:
  Linear() = default;

  // weight_OI: [out, in] floating point; bias_O: [out] or undefined. Shared, not copied: training
  // updates the tensors in place.
  explicit Linear(at::Tensor weight_OI, at::Tensor bias_O = {});

  // x: [..., in] -> [..., out], in the dtype of x. Differentiable.
  at::Tensor Forward(const at::Tensor& x) const;

  std::int64_t in_features() const { return weight_OI_.size(1); }
  std::int64_t out_features() const { return weight_OI_.size(0); }
  const at::Tensor& weight() const { return weight_OI_; }
  const at::Tensor& bias() const { return bias_O_; }

 private:
  at::Tensor weight_OI_;
  at::Tensor bias_O_;
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_LINEAR_H_
