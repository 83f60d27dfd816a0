// On tensors of the CPU that stand for those of a GPU (tests/support/cuda_emulator_torch.h). What
// is computed on CPUs in earnest is in tests/unit/model/network/linear_test.cc.
#include "model/kernels/cuda/device_matrix.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/kernels/cuda/tensors.h"
#include "tests/support/cuda_emulator_torch.h"

namespace llava::model {
namespace {

constexpr std::int64_t kGroup = 128;

at::Tensor RandomCodes(std::int64_t out, std::int64_t in) {
  return at::randint(-127, 128, {out, in}, at::kChar);
}

at::Tensor NumbersOf(const at::Tensor& codes, const at::Tensor& scales) {
  return codes.to(at::kFloat) * scales.repeat_interleave(kGroup, 1).narrow(1, 0, codes.size(1));
}

// Codes for few rows, numbers for many, of parts one below the other.
TEST(DeviceMatrixTest, ProductsWithInt8AreThoseOfItsNumbers) {
  at::manual_seed(7);
  const std::vector<at::Tensor> codes = {RandomCodes(7, 304), RandomCodes(12, 304)};
  const std::vector<at::Tensor> scales = {at::randn({7, 3}) / 100, at::randn({12, 3}) / 100};
  const DeviceMatrix matrix = DeviceMatrix::Int8(codes, scales, kGroup);
  EXPECT_EQ(matrix.out(), 19);
  EXPECT_EQ(matrix.in(), 304);
  EXPECT_EQ(matrix.bytes(), 19 * (304 + 3 * 4));
  const at::Tensor numbers =
      at::cat({NumbersOf(codes[0], scales[0]), NumbersOf(codes[1], scales[1])});
  const at::Tensor bias = at::randn({19});
  for (const std::int64_t rows : {0, 1, 5, 32, 33, 70}) {
    SCOPED_TRACE(rows);
    const at::Tensor x = at::randn({rows, 308}).narrow(1, 4, 304);  // not in whole parts
    const std::uint64_t before = cuda_emulator::Launches();
    const at::Tensor y = matrix.Multiply(x, bias);
    EXPECT_EQ(cuda_emulator::Launches() - before, rows == 0 ? 0u : 1u);
    EXPECT_TRUE(at::allclose(y, at::linear(x, numbers, bias), 1e-4, 1e-3));
    EXPECT_TRUE(at::allclose(matrix.Multiply(x, {}) + bias, y, 1e-4, 1e-3));
    const at::Tensor narrow = matrix.Multiply(x.to(at::kBFloat16), bias);
    EXPECT_EQ(narrow.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::allclose(narrow.to(at::kFloat), y, 3e-2, 0.5));
  }
}

TEST(DeviceMatrixTest, WeightsBecomeE4m3InOneLaunchForEachPart) {
  at::manual_seed(8);
  const std::vector<at::Tensor> parts = {at::randn({5, 48}), at::randn({9, 48})};
  const at::Tensor x = at::randn({3, 48});
  const std::uint64_t before = cuda_emulator::Launches();
  const DeviceMatrix matrix = DeviceMatrix::E4m3(parts);
  EXPECT_EQ(cuda_emulator::Launches() - before, 2u);
  EXPECT_EQ(matrix.bytes(), 14 * (48 + 4));
  const at::Tensor exact = at::linear(x, at::cat(parts));
  EXPECT_LT(((matrix.Multiply(x, {}) - exact).norm() / exact.norm()).item<double>(), 0.08);
}

TEST(DeviceMatrixTest, AGpuHasACapability) { EXPECT_EQ(ComputeCapability(at::kCPU), 90); }

}  // namespace
}  // namespace llava::model
