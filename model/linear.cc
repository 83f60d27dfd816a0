#include "model/linear.h"

#include <ATen/ops/linear.h>

#include <optional>
#include <utility>

#include "base/check.h"

namespace llava::model {

Linear::Linear(at::Tensor weight_OI, at::Tensor bias_O)
    : weight_OI_(std::move(weight_OI)), bias_O_(std::move(bias_O)) {
  LLAVA_CHECK_EQ(weight_OI_.dim(), 2);
  if (bias_O_.defined()) LLAVA_CHECK_EQ(bias_O_.size(0), weight_OI_.size(0));
}

at::Tensor Linear::Forward(const at::Tensor& x) const {
  std::optional<at::Tensor> bias;
  if (bias_O_.defined()) bias = bias_O_.to(x.scalar_type());
  return at::linear(x, weight_OI_.to(x.scalar_type()), bias);
}

}  // namespace llava::model
