#include "model/linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>

#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"

namespace llava::model {

Linear::Linear(at::Tensor weight_OI, at::Tensor bias_O)
    : weight_OI_(std::move(weight_OI)), bias_O_(std::move(bias_O)) {
  LLAVA_CHECK_EQ(weight_OI_.dim(), 2);
  if (bias_O_.defined()) LLAVA_CHECK_EQ(bias_O_.size(0), weight_OI_.size(0));
}

Linear Linear::Stacked(std::span<const Linear> layers) {
  std::vector<at::Tensor> weights, biases;
  for (const Linear& layer : layers) {
    LLAVA_CHECK(layer.packed_ == nullptr);
    weights.push_back(layer.weight_OI_);
    if (layer.bias_O_.defined()) biases.push_back(layer.bias_O_);
  }
  LLAVA_CHECK(biases.empty() || biases.size() == weights.size());
  return Linear(at::cat(weights), biases.empty() ? at::Tensor() : at::cat(biases));
}

void Linear::Pack() {
  const at::ScalarType dtype = weight_OI_.scalar_type();
  if (!weight_OI_.is_cpu() || (dtype != at::kFloat && dtype != at::kBFloat16)) return;
  if (dtype == at::kBFloat16 && CpuHasBf16Products()) return;
  packed_ = std::make_shared<const PackedMatrix>(weight_OI_);
  weight_OI_ = at::Tensor();
  if (bias_O_.defined()) bias_O_ = bias_O_.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor Linear::Forward(const at::Tensor& x) const {
  if (packed_ != nullptr) {
    const at::Tensor rows = x.to(at::kFloat).reshape({-1, packed_->in()});
    std::vector<std::int64_t> shape = x.sizes().vec();
    shape.back() = packed_->out();
    return packed_->Multiply(rows, bias_O_).view(shape).to(x.scalar_type());
  }
  if (x.scalar_type() != weight_OI_.scalar_type() && !at::GradMode::is_enabled()) {
    // The smaller of the two to convert.
    std::optional<at::Tensor> bias;
    if (bias_O_.defined()) bias = bias_O_;
    return at::linear(x.to(weight_OI_.scalar_type()), weight_OI_, bias).to(x.scalar_type());
  }
  std::optional<at::Tensor> bias;
  if (bias_O_.defined()) bias = bias_O_.to(x.scalar_type());
  return at::linear(x, weight_OI_.to(x.scalar_type()), bias);
}

}  // namespace llava::model
