#include "model/network/rotary.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/network/rows.h"

namespace llava::model {
namespace {

// Llama 3.1: short wavelengths stay, long ones are stretched by `factor`, between them a ramp.
at::Tensor Llama3Scaled(const at::Tensor& frequencies, const RopeConfig& rope) {
  const at::Tensor turns =
      frequencies * (static_cast<double>(rope.original_max_positions) / (2 * std::numbers::pi));
  const at::Tensor ramp =
      (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor smooth = ramp.clamp(0.0, 1.0);
  return frequencies * (smooth + (1 - smooth) / rope.factor);
}

// YaRN (Peng et al., arXiv 2309.00071): as above, with a ramp over the dimensions between those
// that turn beta_fast and beta_slow times within the original positions.
at::Tensor YarnScaled(const at::Tensor& frequencies, const RopeConfig& rope, int rotated) {
  const auto dimension_of = [&](double turns) {
    return rotated * std::log(rope.original_max_positions / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = dimension_of(rope.beta_fast);
  double high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, rotated - 1.0);
  if (low == high) high += 0.001;
  const at::Tensor ramp =
      ((at::arange(rotated / 2, at::TensorOptions().dtype(at::kFloat)) - low) / (high - low))
          .clamp(0.0, 1.0);
  return frequencies * ((1 - ramp) + ramp / rope.factor);
}

at::Tensor Frequencies(const TextConfig& config) {
  const int rotated = config.rope.rotated != 0 ? config.rope.rotated : config.head_dim;
  const at::Tensor exponents =
      at::arange(0, rotated, 2, at::TensorOptions().dtype(at::kLong)).to(at::kFloat) / rotated;
  const at::Tensor frequencies = at::pow(config.rope.theta, exponents).reciprocal();
  switch (config.rope.scaling) {
    case RopeConfig::Scaling::kLinear:
      return frequencies / config.rope.factor;
    case RopeConfig::Scaling::kLlama3:
      return Llama3Scaled(frequencies, config.rope);
    case RopeConfig::Scaling::kYarn:
      return YarnScaled(frequencies, config.rope, rotated);
    case RopeConfig::Scaling::kLongrope:
      return frequencies / at::tensor(config.rope.short_factors, at::kFloat);
    case RopeConfig::Scaling::kNone:
    case RopeConfig::Scaling::kDynamic:  // none up to text.max_positions
      break;
  }
  return frequencies;
}

at::Tensor RotatedRows(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin) {
  at::Tensor y = x_THD.clone(at::MemoryFormat::Contiguous);
  RotateRows(y, cos, sin);
  return y;
}

// The gradient of a rotation is the gradient of its result, turned back.
class RotatedRowsFunction : public torch::autograd::Function<RotatedRowsFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x_THD,
                            const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return RotatedRows(x_THD, cos, sin);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const torch::autograd::variable_list angles = context->get_saved_variables();
    return {RotatedRows(gradients[0], angles[0], angles[1].neg()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Rotary::Rotary(const TextConfig& config, at::Device device)
    : frequencies_(Frequencies(config).to(device)), scale_(config.rope.attention_factor) {}

RotaryAngles Rotary::Angles(const at::Tensor& positions_T) const {
  const at::Tensor angles = (positions_T.to(at::kFloat).unsqueeze(-1) * frequencies_).unsqueeze(1);
  if (scale_ == 1) return {.cos = angles.cos(), .sin = angles.sin()};
  return {.cos = angles.cos() * scale_, .sin = angles.sin() * scale_};
}

at::Tensor Rotary::Rotate(const at::Tensor& x_THD, const RotaryAngles& angles) {
  const std::int64_t half = angles.cos.size(-1);
  if (x_THD.size(-1) > 2 * half) {
    return at::cat({Rotate(x_THD.slice(-1, 0, 2 * half), angles), x_THD.slice(-1, 2 * half)}, -1);
  }
  if (at::GradMode::is_enabled() && x_THD.requires_grad() && HasRowKernels(x_THD.detach())) {
    return RotatedRowsFunction::apply(x_THD, angles.cos, angles.sin);
  }
  const at::Tensor x = x_THD.to(at::kFloat);
  const at::Tensor first = x.slice(-1, 0, half);
  const at::Tensor second = x.slice(-1, half);
  return at::cat(
             {first * angles.cos - second * angles.sin, second * angles.cos + first * angles.sin},
             -1)
      .to(x_THD.scalar_type());
}

void Rotary::RotateInPlace(const at::Tensor& x_THD, const RotaryAngles& angles) {
  if (x_THD.size(-1) > 2 * angles.cos.size(-1)) {
    const at::Tensor turned = x_THD.slice(-1, 0, 2 * angles.cos.size(-1));
    turned.copy_(Rotate(turned, angles));
    return;
  }
  if (HasRowKernels(x_THD)) return RotateRows(x_THD, angles.cos, angles.sin);
  x_THD.copy_(Rotate(x_THD, angles));
}

}  // namespace llava::model
