// Beside the formulas of transformers' activations.py and of torch's documentation, in float64.
#include "model/network/activation.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/where.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace llava::model {
namespace {

using Formula = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor TanhGelu(const at::Tensor& x) {
  return 0.5 * x * (1 + at::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x.pow(3))));
}

std::vector<std::pair<Activation, Formula>> Formulas() {
  return {
      {Activation::kGelu,
       [](const auto& x) { return x * 0.5 * (1 + at::erf(x / std::sqrt(2.0))); }},
      {Activation::kGeluTanh, TanhGelu},
      {Activation::kQuickGelu, [](const auto& x) { return x * at::sigmoid(1.702 * x); }},
      {Activation::kRelu, [](const auto& x) { return x.clamp_min(0); }},
      {Activation::kRelu6, [](const auto& x) { return x.clamp(0, 6); }},
      {Activation::kLeakyRelu, [](const auto& x) { return at::where(x >= 0, x, 0.01 * x); }},
      {Activation::kSilu, [](const auto& x) { return x * at::sigmoid(x); }},
      {Activation::kHardSwish, [](const auto& x) { return x * (x + 3).clamp(0, 6) / 6; }},
      {Activation::kMish, [](const auto& x) { return x * at::tanh(at::log1p(x.exp())); }},
      {Activation::kSigmoid, [](const auto& x) { return 1 / (1 + (-x).exp()); }},
      {Activation::kTanh, [](const auto& x) { return 1 - 2 / ((2 * x).exp() + 1); }},
      {Activation::kIdentity, [](const auto& x) { return x * 1; }},
  };
}

// No point of it is one where a formula has a corner.
at::Tensor Points(at::ScalarType type) { return at::linspace(-8.03, 8.01, 400, type); }

TEST(ActivationTest, IsItsFormula) {
  const at::NoGradGuard no_grad;
  for (const auto& [activation, formula] : Formulas()) {
    const at::Tensor expected = formula(Points(at::kDouble));
    EXPECT_TRUE(at::allclose(Activate(activation, Points(at::kDouble)), expected, 1e-9, 1e-12))
        << ActivationName(activation);
    EXPECT_TRUE(at::allclose(Activate(activation, Points(at::kFloat)).to(at::kDouble), expected,
                             1e-4, 2e-6))
        << ActivationName(activation);
  }
}

TEST(ActivationTest, HasTheGradientsOfItsFormula) {
  const auto gradient = [](const Formula& formula) {
    at::Tensor x = Points(at::kDouble).requires_grad_();
    formula(x).square().sum().backward();
    return x.grad();
  };
  for (const auto& [one, formula] : Formulas()) {
    const Activation activation = one;
    EXPECT_TRUE(at::allclose(
        gradient([activation](const at::Tensor& x) { return Activate(activation, x); }),
        gradient(formula), 1e-7, 1e-9))
        << ActivationName(activation);
  }
}

}  // namespace
}  // namespace llava::model
