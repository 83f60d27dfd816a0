// Norms of rows, run by the emulator (tests/support/cuda_emulator.h) and compared with ATen.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"
#include "model/kernels/cuda/kernels.h"
#include "tests/support/guarded_tensor.h"

namespace llava::model::cuda {
namespace {

using test::GuardedRows;

constexpr float kEps = 1e-5f;

// In fp64, of numbers of any dtype.
at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor wide = x.to(at::kDouble);
  return wide / (wide.square().mean(-1, /*keepdim=*/true) + kEps).sqrt() * weight.to(at::kDouble);
}

void ExpectClose(const at::Tensor& found, const at::Tensor& expected) {
  const double tolerance = found.scalar_type() == at::kFloat ? 1e-5 : 4e-3;  // half a last place
  EXPECT_TRUE(at::allclose(found.to(at::kDouble), expected, tolerance, 1e-5))
      << "largest difference " << (found.to(at::kDouble) - expected).abs().max().item<double>();
}

AddRmsNormArgs Args(const GuardedRows& x, const GuardedRows& weight, const GuardedRows& y) {
  const auto n = static_cast<int>(weight.rows().size(1));
  const bool is_float = x.rows().scalar_type() == at::kFloat;
  return {.x = x.data(),
          .x_stride = x.stride(),
          .inner = static_cast<int>(x.rows().size(1)) / n,
          .more = nullptr,
          .more_stride = 0,
          .weight = weight.data(),
          .sum = nullptr,
          .y = y.data(),
          .type = is_float ? Type::kFloat : Type::kBfloat16,
          .rows = static_cast<int>(y.rows().size(0)),
          .n = n,
          .eps = kEps};
}

class CudaNormTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  // Sizes of one thread's part, of less than a warp, of many parts for each thread.
  static constexpr std::int64_t kSizes[] = {8, 40, 256, 1024, 4096, 5120, 8200};

  static at::Tensor Random(std::int64_t rows, std::int64_t width) {
    return (at::randn({rows, width}) * 3).to(GetParam());
  }
  static std::int64_t Gap(Rng& rng) { return 8 * rng.Between(0, 2); }
};

TEST_P(CudaNormTest, NormsRows) {
  Rng rng(1);
  at::manual_seed(1);
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(n);
    const GuardedRows x(Random(3, n), Gap(rng)), weight(Random(1, n), 0);
    const GuardedRows y(3, n, 0, GetParam());
    AddRmsNorm(Args(x, weight, y), nullptr);
    ExpectClose(y.rows(), Norm(x.rows(), weight.rows()));
    EXPECT_TRUE(y.nothing_around_was_written());
  }
}

TEST_P(CudaNormTest, NormsHeadsOfARow) {
  Rng rng(2);
  at::manual_seed(2);
  for (const std::int64_t dim : {64, 128}) {
    const GuardedRows x(Random(4, 3 * dim), Gap(rng)), weight(Random(1, dim), 0);
    const GuardedRows y(12, dim, 0, GetParam());
    AddRmsNorm(Args(x, weight, y), nullptr);
    ExpectClose(y.rows(), Norm(x.rows().reshape({12, dim}), weight.rows()));
    EXPECT_TRUE(y.nothing_around_was_written());
  }
}

TEST_P(CudaNormTest, AddsBefore) {
  Rng rng(3);
  at::manual_seed(3);
  for (const std::int64_t n : kSizes) {
    SCOPED_TRACE(n);
    const GuardedRows x(Random(3, n), Gap(rng)), more(Random(3, n), Gap(rng)),
        weight(Random(1, n), 0);
    const at::Tensor before = x.rows().clone();
    const GuardedRows sum(3, n, 0, GetParam()), y(3, n, 0, GetParam());
    AddRmsNormArgs args = Args(x, weight, y);
    args.more = more.data();
    args.more_stride = more.stride();
    args.sum = sum.data();
    AddRmsNorm(args, nullptr);
    EXPECT_TRUE(at::equal(sum.rows(), before + more.rows()));  // as ATen rounds it
    EXPECT_TRUE(at::equal(x.rows(), before));
    ExpectClose(y.rows(), Norm(sum.rows(), weight.rows()));
    EXPECT_TRUE(sum.nothing_around_was_written() && y.nothing_around_was_written());
  }
}

TEST_P(CudaNormTest, NoRowsAreNoLaunch) {
  const GuardedRows x(Random(1, 8), 0), y(0, 8, 0, GetParam());
  AddRmsNorm(Args(x, x, y), nullptr);
  EXPECT_TRUE(y.nothing_around_was_written());
}

INSTANTIATE_TEST_SUITE_P(Dtypes, CudaNormTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const testing::TestParamInfo<at::ScalarType>& dtype) {
                           return dtype.param == at::kFloat ? "fp32" : "bf16";
                         });

}  // namespace
}  // namespace llava::model::cuda
