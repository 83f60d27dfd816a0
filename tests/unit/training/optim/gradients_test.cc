#include "training/optim/gradients.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace llava::training {
namespace {

model::NamedTensor WithGradient(std::int64_t size, double value, at::ScalarType type = at::kFloat) {
  model::NamedTensor parameter{"w", at::zeros({size}, type)};
  parameter.tensor.mutable_grad() = at::full({size}, value, type);
  return parameter;
}

TEST(GradientsTest, TheNormGoesOverAllParametersThatHaveAGradient) {
  const model::NamedTensor untouched{"c", at::zeros({5})};
  EXPECT_DOUBLE_EQ(GradientNorm({WithGradient(1, -3.0), WithGradient(4, 2.0), untouched}), 5.0);
  EXPECT_EQ(GradientNorm({untouched}), 0.0);
  EXPECT_EQ(GradientNorm({}), 0.0);
}

// 4096 squares of 1 stop growing at 256 in bfloat16.
TEST(GradientsTest, TheNormOfBfloat16IsFloat32) {
  EXPECT_NEAR(GradientNorm({WithGradient(4096, 1.0, at::kBFloat16)}), 64.0, 1e-3);
}

TEST(GradientsTest, ABadElementShows) {
  const double infinite = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(GradientNorm({WithGradient(2, 1.0), WithGradient(1, std::nan(""))})));
  EXPECT_EQ(GradientNorm({WithGradient(2, 1.0), WithGradient(1, -infinite)}), infinite);
}

TEST(GradientsTest, ClippingBringsTheNormDownToTheLimitAndNeverUp) {
  EXPECT_DOUBLE_EQ(ClipFactor(5.0, 1.0), 1.0 / (5.0 + 1e-6));  // as torch's clip_grad_norm_
  EXPECT_EQ(ClipFactor(0.5, 1.0), 1.0);
  EXPECT_EQ(ClipFactor(0.0, 1.0), 1.0);
  EXPECT_EQ(ClipFactor(5.0, 0.0), 1.0);  // no limit
}

}  // namespace
}  // namespace llava::training
