#include "model/network/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "model/network/linear.h"

namespace llava::model {
namespace {

at::Tensor Waves(std::int64_t rows, std::int64_t columns, double step) {
  return at::sin(at::arange(rows * columns, at::kFloat) * step).view({rows, columns});
}

Lora Adapter(double dropout) {
  return {.a_RI = Waves(3, 10, 0.7),
          .b_OR = Waves(6, 3, 1.3),
          .scale = 2.5,
          .dropout = dropout,
          .seed = 11};
}

// What a forward pass over [rows, inputs] multiplies its inputs by.
at::Tensor MaskOf(const Lora& lora, std::int64_t rows, std::int64_t inputs) {
  Lora same = lora;
  same.a_RI = same.b_OR = at::eye(inputs);
  same.scale = 1.0;
  return same.Forward(at::ones({rows, inputs}));
}

// Values and gradients of x, A and B for the loss sum(y * weights).
std::vector<at::Tensor> Learned(const at::Tensor& y, const std::vector<at::Tensor>& inputs) {
  (y * Waves(y.size(0), y.size(1), 0.3)).sum().backward();
  std::vector<at::Tensor> result = {y.detach()};
  for (const at::Tensor& input : inputs) result.push_back(input.grad());
  return result;
}

TEST(LoraTest, GradientsAreThoseOfTheFormula) {
  for (const double dropout : {0.0, 0.4}) {
    Lora lora = Adapter(dropout);
    const at::Tensor mask = dropout > 0.0 ? MaskOf(lora, 7, 10) : at::ones({7, 10});
    const auto leaf = [](const at::Tensor& tensor) {
      return tensor.detach().clone().requires_grad_(true);
    };
    const std::vector<at::Tensor> ours = {leaf(Waves(7, 10, 0.9)), leaf(lora.a_RI),
                                          leaf(lora.b_OR)};
    const std::vector<at::Tensor> plain = {leaf(ours[0]), leaf(ours[1]), leaf(ours[2])};
    lora.a_RI = ours[1];
    lora.b_OR = ours[2];
    const auto found = Learned(lora.Forward(ours[0]), ours);
    const auto expected =
        Learned(at::linear(at::linear(plain[0] * mask, plain[1]), plain[2]) * lora.scale, plain);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(at::allclose(found[i], expected[i], 1e-5, 1e-5)) << i << ", dropout " << dropout;
    }
  }
}

TEST(LoraTest, NothingIsComputedForAnInputThatNeedsNoGradient) {
  Lora lora = Adapter(0.0);
  lora.a_RI.requires_grad_(true);
  const at::Tensor x = Waves(7, 10, 0.9);
  lora.Forward(x).sum().backward();
  EXPECT_TRUE(lora.a_RI.grad().defined());
  EXPECT_FALSE(x.grad().defined());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(lora.Forward(x).requires_grad());
}

TEST(LoraTest, DropsTheShareThatItShouldAndKeepsTheMean) {
  Lora lora = Adapter(0.25);
  const at::Tensor mask = MaskOf(lora, 400, 50);
  const double dropped = (mask == 0.0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(dropped, 0.25, 4 * std::sqrt(0.25 * 0.75 / 20000.0));
  EXPECT_FLOAT_EQ(mask.max().item<float>(), 4.0F / 3.0F);
  EXPECT_TRUE(at::equal(mask, MaskOf(lora, 400, 50)));
  lora.seed = 12;
  EXPECT_FALSE(at::equal(mask, MaskOf(lora, 400, 50)));
}

TEST(LoraTest, MergedIsTheWeightWithWhatIsAdded) {
  const Lora lora = Adapter(0.0);
  const at::Tensor x = Waves(7, 10, 0.9), weight = Waves(6, 10, 0.2);
  EXPECT_TRUE(at::allclose(at::linear(x, weight) + lora.Forward(x),
                           at::linear(x, lora.Merged(weight)), 1e-5, 1e-5));
}

// Of more rows than are measured at once.
TEST(LoraTest, MergedRowsHaveTheirMagnitudes) {
  Lora lora = Adapter(0.0);
  lora.b_OR = Waves(600, 3, 1.3);
  lora.magnitude_O = at::arange(600, at::kFloat) + 1.0;
  const at::Tensor weight = Waves(600, 10, 0.2);
  const at::Tensor merged = lora.Merged(weight);
  EXPECT_TRUE(at::allclose(merged.norm(2, 1), lora.magnitude_O, 1e-5, 1e-5));
  lora.magnitude_O = at::Tensor();
  const at::Tensor sum = lora.Merged(weight);
  EXPECT_TRUE(
      at::allclose(merged / merged.norm(2, 1, true), sum / sum.norm(2, 1, true), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(lora.Lengths(weight), sum.norm(2, 1), 1e-5, 1e-5));
}

TEST(LoraTest, ARowOfZerosStaysOne) {
  Lora lora = Adapter(0.0);
  lora.b_OR = at::zeros({6, 3});
  const at::Tensor weight = Waves(6, 10, 0.2);
  weight[2].zero_();
  lora.magnitude_O = lora.Lengths(weight);
  EXPECT_TRUE(at::equal(lora.Merged(weight), weight));
}

// The lengths are constants: a gradient through them would be another.
TEST(LoraTest, GradientsUnderMagnitudesAreThoseOfTheFormula) {
  const at::Tensor weight = Waves(6, 10, 0.2), bias = Waves(6, 1, 0.4).view({6});
  const auto leaf = [](const at::Tensor& tensor) {
    return tensor.detach().clone().requires_grad_(true);
  };
  auto lora = std::make_shared<Lora>(Adapter(0.0));
  lora->magnitude_O = at::arange(6, at::kFloat) + 0.5;
  const std::vector<at::Tensor> ours = {leaf(Waves(7, 10, 0.9)), leaf(lora->a_RI), leaf(lora->b_OR),
                                        leaf(lora->magnitude_O)};
  const std::vector<at::Tensor> plain = {leaf(ours[0]), leaf(ours[1]), leaf(ours[2]),
                                         leaf(ours[3])};
  lora->a_RI = ours[1];
  lora->b_OR = ours[2];
  lora->magnitude_O = ours[3];
  Linear layer(weight, bias);
  layer.Attach(lora);
  const auto found = Learned(layer.Forward(ours[0]), ours);
  const at::Tensor sum = weight + at::matmul(plain[2], plain[1]) * lora->scale;
  const at::Tensor factors = plain[3] / sum.detach().norm(2, 1);
  const auto expected = Learned(at::linear(plain[0], sum) * factors + bias, plain);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(at::allclose(found[i], expected[i], 1e-5, 1e-5)) << i;
  }
}

}  // namespace
}  // namespace llava::model
