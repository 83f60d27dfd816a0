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
  WeightFormat format;

  bool has_codes() const { return GroupOf(format) > 0; }
  // Of weights that formats of numbers hold exactly.
  at::ScalarType dtype() const {
    return format == WeightFormat::kFp32 ? at::kFloat : at::kBFloat16;
  }
};

std::vector<Set> AllSets() {
  std::vector<Set> sets;
  for (const KernelTable* table : SupportedKernels()) {
    for (const WeightFormat format : {WeightFormat::kFp32, WeightFormat::kBlockFloat,
                                      WeightFormat::kInt8, WeightFormat::kInt4}) {
      sets.push_back({table, format});
    }
  }
  return sets;
}

const char* NameOf(WeightFormat format) {
  switch (format) {
    case WeightFormat::kFp32:
      return "fp32";
    case WeightFormat::kBlockFloat:
      return "block_float";
    case WeightFormat::kInt8:
      return "int8";
    case WeightFormat::kInt4:
      return "int4";
    case WeightFormat::kFp8:  // of GPUs
      break;
  }
  return "";
}

// What a matrix of that format stands for.
at::Tensor Rounded(const at::Tensor& weight, WeightFormat format) {
  if (GroupOf(format) == 0) return weight.to(at::kFloat);
  return QuantizeMatrix(weight, format).Rows(at::arange(weight.size(0)));
}

class PackedMatrixTest : public testing::TestWithParam<Set> {
 protected:
  PackedMatrix Pack(const at::Tensor& weight) {
    return PackedMatrix({&weight, 1}, GetParam().format, *GetParam().kernels);
  }
};

// What the matrix holds, [out, in], read off products with unit vectors.
at::Tensor Held(const PackedMatrix& packed) {
  return packed.Multiply(at::eye(packed.in()), {}).t();
}

TEST_P(PackedMatrixTest, HoldsItsPartsOneBelowTheOther) {
  if (GetParam().has_codes()) GTEST_SKIP() << "see HoldsTheCodesOfItsParts";
  at::manual_seed(5);
  for (const std::int64_t in : {1, 7, 64, 130}) {
    // Magnitudes from 1 to 2, all the bits of bf16: block floating point holds these bf16 numbers
    // exactly.
    const at::Tensor all = (at::randint(128, 256, {34, in}) / 128).to(at::kBFloat16);
    const std::vector<at::Tensor> parts = {all.narrow(0, 0, 3).to(at::kFloat),
                                           -all.narrow(0, 3, 21).to(at::kHalf),
                                           all.narrow(0, 24, 10).t().contiguous().t()};
    const PackedMatrix packed(parts, GetParam().format, *GetParam().kernels);
    const at::Tensor expected =
        at::cat({parts[0], parts[1].to(at::kFloat), parts[2].to(at::kFloat)});
    EXPECT_TRUE(at::equal(Held(packed), expected)) << in;
  }
}

TEST_P(PackedMatrixTest, HoldsTheCodesOfItsParts) {
  if (!GetParam().has_codes()) GTEST_SKIP() << "see HoldsItsPartsOneBelowTheOther";
  at::manual_seed(11);
  for (const std::int64_t in : {1, 2, 3, 7, 64, 65, 127, 128, 130, 4100}) {
    const at::Tensor all = at::randn({34, in});
    const std::vector<at::Tensor> parts = {all.narrow(0, 0, 3), all.narrow(0, 3, 21),
                                           all.narrow(0, 24, 10).t().contiguous().t()};
    std::vector<QuantizedMatrix> codes;
    for (const at::Tensor& part : parts) codes.push_back(QuantizeMatrix(part, GetParam().format));
    const at::Tensor from_numbers =
        Held(PackedMatrix(parts, GetParam().format, *GetParam().kernels));
    const at::Tensor from_codes = Held(PackedMatrix(codes, *GetParam().kernels));
    EXPECT_TRUE(at::equal(from_numbers, from_codes)) << in;
    const at::Tensor expected = Rounded(all, GetParam().format);
    EXPECT_TRUE(at::allclose(from_codes, expected, 1e-6, 0)) << in;
  }
}

TEST_P(PackedMatrixTest, IsExactOnSmallIntegers) {
  if (GetParam().has_codes()) GTEST_SKIP() << "codes are not exact";
  at::manual_seed(6);
  for (const std::int64_t in : {1, 50, 127, 128, 129, 1000, 4097, 8300}) {
    const at::Tensor weight = at::randint(-20, 21, {37, in}).to(at::kFloat);
    for (const std::int64_t rows : {1, 6, 20, 100}) {
      const at::Tensor x = at::randint(-20, 21, {rows, in}).to(at::kFloat);
      EXPECT_TRUE(at::equal(Pack(weight).Multiply(x, {}), at::mm(x, weight.t()))) << rows << in;
    }
  }
}

// The largest of each group of a row in the place of all of it.
at::Tensor Tops(const at::Tensor& m, std::int64_t group) {
  const std::int64_t padded = (m.size(1) + group - 1) / group * group;
  return at::constant_pad_nd(m.abs(), {0, padded - m.size(1)})
      .view({m.size(0), padded / group, group})
      .amax(2, true)
      .expand({-1, -1, group})
      .reshape({m.size(0), padded})
      .narrow(1, 0, m.size(1));
}

// What an element of x Wᵀ, W as it is held, may be off by: rounding of fp32 sums and of the numbers
// of x; in block floating point also that of W.
at::Tensor Bound(const at::Tensor& x, const at::Tensor& weight, WeightFormat format) {
  const at::Tensor size = at::mm(x.abs(), weight.abs().t());
  const at::Tensor rounding = size * 2e-6 + 1e-30;
  if (format == WeightFormat::kFp32) return rounding;
  if (format != WeightFormat::kBlockFloat) {
    const double step = format == WeightFormat::kInt8 ? 1.0 / 32768 : 1.0 / 253;
    return rounding + at::mm(Tops(x, GroupOf(format)), weight.abs().t()) * step;
  }
  const at::Tensor x_tops = Tops(x, 128), w_tops = Tops(weight, 128);
  const double step = 1.0 / 4096;
  return rounding + (at::mm(x_tops, weight.abs().t()) + at::mm(x.abs(), w_tops.t())) * step +
         at::mm(x_tops, w_tops.t()) * (step * step);
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
      const at::Tensor weight = at::randn({out, in}).to(GetParam().dtype());
      const at::Tensor bias = at::randn({out});
      const PackedMatrix packed = Pack(weight);
      for (const std::int64_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 24, 25, 250}) {
        const at::Tensor x = at::randn({rows, in});
        const at::Tensor w = Rounded(weight, GetParam().format).to(at::kDouble);
        const at::Tensor b = bias.to(at::kDouble);
        const at::Tensor product = at::linear(x.to(at::kDouble), w);
        const at::Tensor bound = Bound(x.to(at::kDouble), w, GetParam().format);
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
    const at::Tensor w = Rounded(weight, GetParam().format).to(at::kDouble);
    ExpectNear(Pack(weight).Multiply(x, {}), at::mm(x.to(at::kDouble), w.t()),
               Bound(x.to(at::kDouble), w, GetParam().format), absl::StrCat(size));
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
  for (const WeightFormat format :
       {WeightFormat::kBlockFloat, WeightFormat::kInt8, WeightFormat::kInt4}) {
    const std::int64_t in = format == WeightFormat::kInt4 ? 64 : 128;
    const at::Tensor weight = at::randn({100, in});
    const at::Tensor x = at::randn({40, in});
    const at::Tensor expected =
        PackedMatrix({&weight, 1}, format, BaselineKernels()).Multiply(x, {});
    for (const KernelTable* table : SupportedKernels()) {
      const PackedMatrix packed({&weight, 1}, format, *table);
      EXPECT_TRUE(at::equal(packed.Multiply(x, {}), expected)) << table->name << NameOf(format);
    }
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

// Sums of products of bytes are at their largest where all codes are 7, and 15 as they are held.
TEST_P(PackedMatrixTest, HoldsTheLargestSumsOfBytes) {
  at::Tensor weight = at::ones({20, 256});
  weight.index_put_({at::indexing::Slice(), at::indexing::Slice(0, at::indexing::None, 64)},
                    -8.0f / 7);
  const at::Tensor held = Rounded(weight, GetParam().format).to(at::kDouble);
  const at::Tensor x = at::ones({9, 256});
  const at::Tensor y = Pack(weight).Multiply(x, {});
  EXPECT_TRUE(at::allclose(y.to(at::kDouble), at::mm(x.to(at::kDouble), held.t()), 1e-3, 1e-3));
  EXPECT_TRUE(at::allclose(Pack(weight).Multiply(-x, {}), -y, 1e-6, 0));
}

// What lies around a row is not read, and working memory may hold anything.
TEST_P(PackedMatrixTest, NeighboursOfARowDoNotMatter) {
  at::manual_seed(12);
  for (const std::int64_t in : {1, 5, 61, 67, 125, 131, 200}) {
    const PackedMatrix packed = Pack(at::randn({70, in}).to(GetParam().dtype()));
    const at::Tensor x = at::randn({27, in});
    at::Tensor wide = at::full({27, in + 20}, std::numeric_limits<float>::quiet_NaN());
    wide.narrow(1, 10, in).copy_(x);
    const at::Tensor expected = packed.Multiply(x, {});
    ASSERT_TRUE(expected.isfinite().all().item<bool>());
    EXPECT_TRUE(at::equal(packed.Multiply(wide.narrow(1, 10, in), {}), expected)) << in;
    // Freed memory full of NaN, which the next product may be given to work in.
    at::full({64 * 1024}, std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(at::equal(packed.Multiply(x, {}), expected)) << in;
  }
}

TEST_P(PackedMatrixTest, ARowIsTheSameBitsWhateverTheOtherRowsAre) {
  at::manual_seed(3);
  const PackedMatrix packed = Pack(at::randn({130, 600}).to(GetParam().dtype()));
  const at::Tensor x = at::randn({300, 600});
  const at::Tensor all = packed.Multiply(x, {});
  for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 12, 13, 40, 250}) {
    EXPECT_TRUE(at::equal(packed.Multiply(x.narrow(0, 17, rows), {}), all.narrow(0, 17, rows)));
  }
}

TEST_P(PackedMatrixTest, TakesRowsThatAreApart) {
  at::manual_seed(4);
  const PackedMatrix packed = Pack(at::randn({40, 32}).to(GetParam().dtype()));
  for (const std::int64_t rows : {2, 30}) {
    const at::Tensor wide = at::randn({rows, 96});
    const at::Tensor x = wide.narrow(1, 32, 32);
    EXPECT_TRUE(at::equal(packed.Multiply(x, {}), packed.Multiply(x.contiguous(), {})));
  }
}

TEST_P(PackedMatrixTest, WhatIsNotFiniteStaysInItsRow) {
  const PackedMatrix packed = Pack(at::ones({20, 16}).to(GetParam().dtype()));
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
                           return absl::StrCat(set.param.kernels->name, "_",
                                               NameOf(set.param.format));
                         });

}  // namespace
}  // namespace llava::model
