// Where the kernels for rows are taken, and what they give on the CPU. tests/property has random
// shapes, tests/unit/model/kernels/cuda those of GPUs.
#include "model/network/rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/rms_norm.h>
#include <gtest/gtest.h>

namespace llava::model {
namespace {

TEST(RowsTest, NormsHaveKernelsWhereNoGradientIsRecorded) {
  const at::Tensor x = at::randn({3, 20}), weight = at::ones({20});
  EXPECT_FALSE(HasRmsNormRows(x, weight));
  const at::NoGradGuard no_gradients;
  EXPECT_TRUE(HasRmsNormRows(x, weight));
  EXPECT_FALSE(HasRmsNormRows(x.to(at::kBFloat16), weight));
  EXPECT_FALSE(HasRmsNormRows(x.t(), at::ones({3})));
}

TEST(RowsTest, NormsAreThoseOfAten) {
  const at::NoGradGuard no_gradients;
  at::manual_seed(1);
  const at::Tensor x = at::randn({3, 4, 20}) * 5, weight = at::randn({20});
  EXPECT_TRUE(
      at::allclose(RmsNormRows(x, weight, 1e-5), at::rms_norm(x, {20}, weight, 1e-5), 1e-5, 1e-6));
}

TEST(RowsTest, AnAdditionBeforeANormIsLeftToTheCallerOnTheCpu) {
  const at::NoGradGuard no_gradients;
  at::Tensor x = at::randn({3, 24});
  const at::Tensor before = x.clone();
  EXPECT_FALSE(AddRmsNormRows(x, at::randn({3, 24}), at::ones({24}), 1e-5).has_value());
  EXPECT_TRUE(at::equal(x, before));
}

TEST(RowsTest, PixelsHaveTheValuesOfTheirOwnTable) {
  const at::Tensor bytes = at::arange(2 * 3 * 4 * 5, at::kByte).add_(140).view({2, 3, 4, 5});
  const at::Tensor tables = at::randn({2, 3, 256});
  const at::Tensor found = PixelRows(bytes, tables, at::kFloat);
  for (int b = 0; b < 2; ++b) {
    for (int c = 0; c < 3; ++c) {
      EXPECT_TRUE(at::equal(found[b][c], tables[b][c].take(bytes[b][c].to(at::kLong))));
    }
  }
  EXPECT_TRUE(at::equal(PixelRows(bytes, tables, at::kBFloat16), found.to(at::kBFloat16)));
}

}  // namespace
}  // namespace llava::model
