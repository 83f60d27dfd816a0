#include "model/kernels/cpu/packed_matrix.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace llava::model {
namespace {

struct Set {
  const KernelTable* kernels;
  at::ScalarType dtype;  // of the weights

  WeightFormat format() const { return WeightFormatOf(dtype); }
};

std::vector<Set> AllSets() {
  std::vector<Set> sets;
  for (const KernelTable* table : SupportedKernels()) {
    sets.push_back({table, at::kFloat});
    sets.push_back({table, at::kBFloat16});
  }
  return sets;
}

class PackedMatrixTest : public testing::TestWithParam<Set> {
 protected:
  PackedMatrix Pack(const at::Tensor& weight) {
    return PackedMatrix({&weight, 1}, GetParam().format(), *GetParam().kernels);
  }
};

// What the matrix holds, [out, in], read off products with unit vectors.
at::Tensor Held(const PackedMatrix& packed) {
  return packed.Multiply(at::eye(packed.in()), {}).t();
}

TEST_P(PackedMatrixTest, HoldsItsPartsOneBelowTheOther) {
  at::manual_seed(5);
  for (const std::int64_t in : {1, 7, 64, 130}) {
    // Magnitudes from 1 to 2, all the bits of bf16: block floating point holds these bf16 numbers
    // exactly.
    const at::Tensor all = (at::randint(128, 256, {34, in}) / 128).to(at::kBFloat16);
    const std::vector<at::Tensor> parts = {all.narrow(0, 0, 3).to(at::kFloat),
                                           -all.narrow(0, 3, 21).to(at::kHalf),
                                           all.narrow(0, 24, 10).t().contiguous().t()};
    const PackedMatrix packed(parts, GetParam().format(), *GetParam().kernels);
    const at::Tensor expected =
        at::cat({parts[0], parts[1].to(at::kFloat), parts[2].to(at::kFloat)});
    EXPECT_TRUE(at::equal(Held(packed), expected)) << in;
  }
}

TEST_P(PackedMatrixTest, IsExactOnSmallIntegers) {
  at::manual_seed(6);
  for (const std::int64_t in : {1, 50, 127, 128, 129, 1000, 4097, 8300}) {
    const at::Tensor weight = at::randint(-20, 21, {37, in}).to(at::kFloat);
    for (const std::int64_t rows : {1, 6, 20, 100}) {
      const at::Tensor x = at::randint(-20, 21, {rows, in}).to(at::kFloat);
      EXPECT_TRUE(at::equal(Pack(weight).Multiply(x, {}), at::mm(x, weight.t()))) << rows << in;
    }
  }
}

// What an element of x Wᵀ may be off by: rounding of fp32 sums; in block floating point also a
// 4096th of the largest in the place of each number.
at::Tensor Bound(const at::Tensor& x, const at::Tensor& weight, at::ScalarType dtype) {
  const at::Tensor size = at::mm(x.abs(), weight.abs().t());
  const at::Tensor rounding = size * 2e-6 + 1e-30;
  if (dtype == at::kFloat) return rounding;
  const auto tops = [](const at::Tensor& m) {  // the largest of each block in place of all of it
    const std::int64_t padded = (m.size(1) + 127) / 128 * 128;
    return at::constant_pad_nd(m.abs(), {0, padded - m.size(1)})
        .view({m.size(0), padded / 128, 128})
        .amax(2, true)
        .expand({-1, -1, 128})
        .reshape({m.size(0), padded})
        .narrow(1, 0, m.size(1));
  };
  const double step = 1.0 / 4096;
  return rounding + (at::mm(tops(x), weight.abs().t()) + at::mm(x.abs(), tops(weight).t())) * step +
         at::mm(tops(x), tops(weight).t()) * (step * step);
}

void ExpectNear(const at::Tensor& found, const at::Tensor& expected, const at::Tensor& bound,
                const std::string& what) {
  const at::Tensor excess = (found.to(at::kDouble) - expected).abs() - bound;
  ASSERT_TRUE(found.isfinite().all().item<bool>()) << what;
  EXPECT_LE(found.numel() == 0 ? 0 : excess.max().item<double>(), 0) << what;
}

TEST_P(PackedMatrixTest, MultipliesLikeAten) {
  at::manual_seed(2);
  for (const std::int64_t out : {1, 50, 300}) {
    for (const std::int64_t in : {1, 3, 257, 600}) {
      const at::Tensor weight = at::randn({out, in}).to(GetParam().dtype);
      const at::Tensor bias = at::randn({out});
      const PackedMatrix packed = Pack(weight);
      for (const std::int64_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 24, 25, 250}) {
        const at::Tensor x = at::randn({rows, in});
        const at::Tensor w = weight.to(at::kDouble), b = bias.to(at::kDouble);
        const at::Tensor product = at::linear(x.to(at::kDouble), w);
        const at::Tensor bound = Bound(x.to(at::kDouble), w, GetParam().dtype);
        const std::string what = absl::StrCat(rows, "x", in, "x", out);
        ExpectNear(packed.Multiply(x, {}), product, bound, what);
        ExpectNear(packed.Multiply(x, bias), product + b, bound + (product + b).abs() * 1e-6, what);
      }
    }
  }
}

TEST_P(PackedMatrixTest, TakesLargeAndSmallNumbersInOneRow) {
  at::manual_seed(7);
  const at::Tensor weight = at::randn({50, 700}).to(at::kBFloat16).to(at::kFloat);
  for (const double size : {1e-36, 1e-20, 1.0, 1e15, 1e30}) {
    at::Tensor x = at::randn({30, 700}) * size;
    x.narrow(1, 100, 1) *= 1000;    // an outlier, as activations of language models have them
    x.narrow(1, 256, 128).zero_();  // a block of zeros
    x[3] = 0;
    ExpectNear(Pack(weight).Multiply(x, {}), at::mm(x.to(at::kDouble), weight.to(at::kDouble).t()),
               Bound(x.to(at::kDouble), weight.to(at::kDouble), GetParam().dtype),
               absl::StrCat(size));
  }
}

// What is stored as float16 or float32 does not lose its bits to bf16 first.
TEST(BlockFloat, KeepsMoreThanBf16OfWiderWeights) {
  at::manual_seed(10);
  for (const at::ScalarType stored : {at::kHalf, at::kFloat}) {
    const at::Tensor weight = at::randn({100, 512}).to(stored);
    const at::Tensor wide = weight.to(at::kFloat);
    const at::Tensor held = Held(PackedMatrix({&weight, 1}, WeightFormat::kBlockFloat));
    EXPECT_LT((held - wide).norm().item<double>(),
              0.3 * (wide.to(at::kBFloat16) - wide).norm().item<double>());
  }
}

// The reason to hold bf16 weights so: what PyTorch calls a bf16 product rounds x to bf16.
TEST(BlockFloat, IsCloserThanBf16Products) {
  at::manual_seed(8);
  const at::Tensor weight = at::randn({200, 2048}).to(at::kBFloat16).to(at::kFloat);
  // An outlier costs its block the small bits, which in the sum weigh less than its own rounding.
  for (const float outlier : {1.0f, 30.0f, 1000.0f}) {
    at::Tensor x = at::randn({100, 2048});
    x.narrow(1, 77, 1) *= outlier;
    const at::Tensor exact = at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
    const at::Tensor rounded =
        at::mm(x.to(at::kBFloat16).to(at::kDouble), weight.to(at::kDouble).t());
    const at::Tensor found = PackedMatrix({&weight, 1}, WeightFormat::kBlockFloat).Multiply(x, {});
    const double share = outlier < 100 ? 0.5 : 1;
    EXPECT_LT((found - exact).norm().item<double>(),
              share * (rounded - exact).norm().item<double>())
        << outlier;
  }
}

// Sums of a block are integers, so with one block all instruction sets round alike.
TEST(BlockFloat, IsTheSameBitsOnEveryInstructionSet) {
  at::manual_seed(9);
  const at::Tensor weight = at::randn({100, 128});
  const at::Tensor x = at::randn({40, 128});
  const at::Tensor expected =
      PackedMatrix({&weight, 1}, WeightFormat::kBlockFloat, BaselineKernels()).Multiply(x, {});
  for (const KernelTable* table : SupportedKernels()) {
    const PackedMatrix packed({&weight, 1}, WeightFormat::kBlockFloat, *table);
    EXPECT_TRUE(at::equal(packed.Multiply(x, {}), expected)) << table->name;
  }
}

// The largest sum that 128 products can have must not overflow.
TEST_P(PackedMatrixTest, HoldsTheLargestSum) {
  const float below_two = std::nextafter(2.0f, 0.0f);
  const at::Tensor y =
      Pack(at::full({20, 256}, -below_two)).Multiply(at::full({9, 256}, below_two), {});
  EXPECT_NEAR(y.min().item<double>(), -1024, 1);
  EXPECT_NEAR(y.max().item<double>(), -1024, 1);
}

TEST_P(PackedMatrixTest, ARowIsTheSameBitsWhateverTheOtherRowsAre) {
  at::manual_seed(3);
  const PackedMatrix packed = Pack(at::randn({130, 600}).to(GetParam().dtype));
  const at::Tensor x = at::randn({300, 600});
  const at::Tensor all = packed.Multiply(x, {});
  for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 12, 13, 40, 250}) {
    EXPECT_TRUE(at::equal(packed.Multiply(x.narrow(0, 17, rows), {}), all.narrow(0, 17, rows)));
  }
}

TEST_P(PackedMatrixTest, TakesRowsThatAreApart) {
  at::manual_seed(4);
  const PackedMatrix packed = Pack(at::randn({40, 32}).to(GetParam().dtype));
  for (const std::int64_t rows : {2, 30}) {
    const at::Tensor wide = at::randn({rows, 96});
    const at::Tensor x = wide.narrow(1, 32, 32);
    EXPECT_TRUE(at::equal(packed.Multiply(x, {}), packed.Multiply(x.contiguous(), {})));
  }
}

TEST_P(PackedMatrixTest, WhatIsNotFiniteStaysInItsRow) {
  const PackedMatrix packed = Pack(at::ones({20, 16}).to(GetParam().dtype));
  at::Tensor x = at::ones({9, 16});
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    x[4][3] = value;
    const at::Tensor bad = packed.Multiply(x, {}).isfinite().logical_not().any(1);
    EXPECT_EQ(bad.sum().item<std::int64_t>(), 1);
    EXPECT_TRUE(bad[4].item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, PackedMatrixTest, testing::ValuesIn(AllSets()),
                         [](const auto& set) {
                           return std::string(set.param.kernels->name) + "_" +
                                  at::toString(set.param.dtype) + "_" + std::to_string(set.index);
                         });

}  // namespace
}  // namespace llava::model
