#include "model/network/rotary.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>

namespace llava::model {
namespace {

TextConfig Heads(const RopeConfig& rope) {
  TextConfig config;
  config.head_dim = 8;
  config.rope = rope;
  return config;
}

at::Tensor Angle(const RotaryAngles& angles) { return at::atan2(angles.sin, angles.cos).flatten(); }

TEST(RotaryTest, TheFirstFrequencyIsOneAndTheOthersFall) {
  const Rotary rotary(Heads({.theta = 16}), at::kCPU);
  const at::Tensor angle = Angle(rotary.Angles(at::tensor({1}, at::kLong)));
  EXPECT_TRUE(at::allclose(angle, at::tensor({1.0f, 0.5f, 0.25f, 0.125f})));
}

TEST(RotaryTest, LongropeDividesEachFrequencyAndScales) {
  const Rotary rotary(Heads({.theta = 16,
                             .scaling = RopeConfig::Scaling::kLongrope,
                             .short_factors = {1, 2, 4, 1},
                             .long_factors = {9, 9, 9, 9},
                             .attention_factor = 1.5}),
                      at::kCPU);
  const RotaryAngles angles = rotary.Angles(at::tensor({1}, at::kLong));
  EXPECT_TRUE(at::allclose(Angle(angles), at::tensor({1.0f, 0.25f, 0.0625f, 0.125f})));
  EXPECT_NEAR((angles.sin.square() + angles.cos.square()).max().item<double>(), 2.25, 1e-5);
}

// The others stay as they are, in place and not, in every dtype.
TEST(RotaryTest, OnlyTheFirstDimensionsOfAHeadAreRotated) {
  const Rotary rotary(Heads({.theta = 16, .rotated = 4}), at::kCPU);
  const RotaryAngles angles = rotary.Angles(at::arange(3, at::kLong));
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::arange(3 * 2 * 8, at::kFloat).view({3, 2, 8}).div(10).to(dtype);
    const at::Tensor y = Rotary::Rotate(x, angles);
    EXPECT_EQ(y.scalar_type(), dtype);
    EXPECT_TRUE(at::equal(y.slice(-1, 4), x.slice(-1, 4)));
    EXPECT_TRUE(at::equal(y[0], x[0])) << "position 0";
    EXPECT_FALSE(at::equal(y[1].slice(-1, 0, 4), x[1].slice(-1, 0, 4)));
    const at::Tensor first = Rotary::Rotate(x.slice(-1, 0, 4), angles);
    EXPECT_TRUE(at::equal(y.slice(-1, 0, 4), first));
    const at::Tensor in_place = x.clone();
    Rotary::RotateInPlace(in_place, angles);
    EXPECT_TRUE(at::equal(in_place, y));
  }
}

// In one pass over the rows: what ATen's operators and their gradients say.
TEST(RotaryTest, IsLearnedThroughAsItsFormulaIs) {
  at::manual_seed(3);
  const Rotary rotary(Heads({.theta = 16}), at::kCPU);
  const RotaryAngles angles = rotary.Angles(at::arange(5, at::kLong));
  const at::Tensor qkv = at::randn({5, 4, 8}), wanted = at::randn({5, 3, 8});
  const auto gradient = [&](const std::function<at::Tensor(const at::Tensor&)>& rotate) {
    const at::Tensor leaf = qkv.clone().requires_grad_();
    const at::Tensor y = rotate(leaf.narrow(1, 0, 3));
    (y * wanted).sum().backward();
    return std::pair(y.detach(), leaf.grad());
  };
  const auto [y, grad] = gradient([&](const at::Tensor& x) { return Rotary::Rotate(x, angles); });
  const auto [expected, expected_grad] = gradient([&](const at::Tensor& x) {
    const at::Tensor first = x.slice(-1, 0, 4), second = x.slice(-1, 4);
    return at::cat(
        {first * angles.cos - second * angles.sin, second * angles.cos + first * angles.sin}, -1);
  });
  EXPECT_TRUE(at::allclose(y, expected, 1e-6, 1e-6));
  EXPECT_TRUE(at::allclose(grad, expected_grad, 1e-6, 1e-6));
  EXPECT_TRUE(at::equal(grad.select(1, 3), at::zeros({5, 8})));
}

}  // namespace
}  // namespace llava::model
