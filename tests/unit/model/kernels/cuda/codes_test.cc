// Weights and rows of 8 bits, run by the emulator (tests/support/cuda_emulator.h).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/kernels/cuda/e4m3.h"
#include "model/kernels/cuda/kernels.h"
#include "tests/support/guarded_tensor.h"

namespace llava::model::cuda {
namespace {

using test::GuardedRows;

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

Type TypeOf(at::ScalarType dtype) { return dtype == at::kFloat ? Type::kFloat : Type::kBfloat16; }

// The same as in plain C++, bit for bit.
void CheckQuantized(const at::Tensor& x, const at::Tensor& codes, const at::Tensor& scales) {
  const at::Tensor wide = x.to(at::kFloat).contiguous();
  for (std::int64_t row = 0; row < x.size(0); ++row) {
    const float* const numbers = wide[row].const_data_ptr<float>();
    float largest = 0;
    for (std::int64_t i = 0; i < x.size(1); ++i) {
      if (!std::isnan(numbers[i])) largest = std::max(largest, std::fabs(numbers[i]));
    }
    const float scale = E4m3Scale(largest);
    EXPECT_EQ(scales[row].item<float>(), scale);
    const auto* const found = codes[row].const_data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < x.size(1); ++i) {
      ASSERT_EQ(found[i], ToE4m3(numbers[i] / scale)) << row << ", " << i << ": " << numbers[i];
    }
  }
}

TEST(CudaCodesTest, QuantisesRows) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Rng rng(1);
  at::manual_seed(1);
  for (const at::ScalarType dtype : kDtypes) {
    for (const std::int64_t n : {8, 40, 256, 4096, 8200}) {
      SCOPED_TRACE(n);
      at::Tensor numbers = at::randn({7, n}) * at::randn({7, n}).exp();
      numbers[1].zero_();
      numbers[2].mul_(1e-38);
      numbers[3][n / 2] = kInfinity;
      numbers[4][0] = std::numeric_limits<double>::quiet_NaN();
      numbers[5][n - 1] = -1e30;
      const GuardedRows x(numbers.to(dtype), 8 * rng.Between(0, 2));
      const at::Tensor codes = at::zeros({7, n}, at::kByte), scales = at::zeros({7}, at::kFloat);
      QuantizeRows({.x = x.data(),
                    .type = TypeOf(dtype),
                    .x_stride = x.stride(),
                    .rows = 7,
                    .n = static_cast<int>(n),
                    .codes = codes.mutable_data_ptr<std::uint8_t>(),
                    .scales = scales.mutable_data_ptr<float>()},
                   nullptr);
      CheckQuantized(x.rows(), codes, scales);
      EXPECT_EQ(codes[1].max().item<int>(), 0);
      EXPECT_EQ(codes[3][n / 2].item<int>(), 0x7e);
      EXPECT_EQ(codes[4][0].item<int>(), kE4m3Nan);
      EXPECT_EQ(codes[5][n - 1].item<int>(), 0xfe);
    }
  }
}

// Codes with a scale for `group` of them, and their numbers in fp64.
struct Matrix {
  Matrix(std::int64_t out, std::int64_t in, std::int64_t group)
      : codes(at::randint(-127, 128, {out, in}, at::kChar)),
        scales(at::randn({out, (in + group - 1) / group}).abs() / 100),
        numbers(codes.to(at::kDouble) *
                scales.to(at::kDouble).repeat_interleave(group, 1).narrow(1, 0, in)),
        weights{.codes = codes.const_data_ptr<std::int8_t>(),
                .scales = scales.const_data_ptr<float>(),
                .out = static_cast<int>(out),
                .in = static_cast<int>(in),
                .group = static_cast<int>(group),
                .groups = static_cast<int>(scales.size(1))} {}

  at::Tensor codes, scales, numbers;
  Int8Weights weights;
};

void CheckProduct(Rng& rng, at::ScalarType dtype, std::int64_t rows, std::int64_t in) {
  const std::int64_t out = rng.Between(1, 13);
  const Matrix matrix(out, in, rng.Chance(0.5) ? 128 : 64);
  const GuardedRows x(at::randn({rows, in}).to(dtype), 8 * rng.Between(0, 2));
  const GuardedRows y(rows, out, 0, dtype);
  const bool biased = rng.Chance(0.5);
  const at::Tensor bias = at::randn({out}).to(dtype);
  Int8Product({.weights = matrix.weights,
               .x = x.data(),
               .bias = biased ? bias.const_data_ptr() : nullptr,
               .y = y.data(),
               .type = TypeOf(dtype),
               .x_stride = x.stride(),
               .rows = static_cast<int>(rows)},
              nullptr);
  at::Tensor exact = at::matmul(x.rows().to(at::kDouble), matrix.numbers.t());
  at::Tensor size = at::matmul(x.rows().to(at::kDouble).abs(), matrix.numbers.abs().t());
  if (biased) exact += bias.to(at::kDouble);
  if (biased) size += bias.to(at::kDouble).abs();
  // Each addend passes through fewer than in / 32 + 40 roundings of fp32, the result one of dtype.
  const double last = dtype == at::kFloat ? 0x1p-24 : 0x1p-8;
  const at::Tensor bound =
      size * (0x1p-24 * static_cast<double>(in / 32 + 40)) + exact.abs() * last;
  EXPECT_TRUE(((y.rows().to(at::kDouble) - exact).abs() <= bound).all().item<bool>());
  EXPECT_TRUE(y.nothing_around_was_written());
}

TEST(CudaCodesTest, MultipliesFewRowsWithInt8) {
  Rng rng(2);
  at::manual_seed(2);
  for (const at::ScalarType dtype : kDtypes) {
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 8, 9, 17}) {
      for (const std::int64_t in : {16, 144, 512, 1040}) {
        SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(in));
        CheckProduct(rng, dtype, rows, in);
      }
    }
  }
}

TEST(CudaCodesTest, MakesNumbersOfInt8) {
  at::manual_seed(3);
  for (const at::ScalarType dtype : kDtypes) {
    for (const std::int64_t in : {16, 144, 1040}) {
      const Matrix matrix(9, in, 128);
      const GuardedRows numbers(9, in, 0, dtype);
      DequantizeInt8(matrix.weights, TypeOf(dtype), numbers.data(), nullptr);
      EXPECT_TRUE(at::equal(numbers.rows(), matrix.numbers.to(at::kFloat).to(dtype)));
      EXPECT_TRUE(numbers.nothing_around_was_written());
    }
  }
}

}  // namespace
}  // namespace llava::model::cuda
