// Products with weights of 8 bits on TestDevice, near enough to those of the numbers.
#include "model/kernels/cuda/device_matrix.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "model/kernels/cuda/tensors.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

constexpr std::int64_t kRows[] = {1, 2, 7, 32, 33, 150};

at::Tensor Wide(const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); }

// How far a row's numbers are from their e4m3 at most: half a last place of 4 bits, or of the
// smallest numbers half of 2^-9, in scales that make the largest 448.
at::Tensor E4m3Bound(const at::Tensor& x) {
  return x.abs() * 0x1p-4 + x.abs().amax(1, /*keepdim=*/true) / 448 * 0x1p-10;
}

class DeviceMatrixPropertyTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  // Of rows that differ in size.
  static at::Tensor Random(std::int64_t rows, std::int64_t width) {
    return (at::randn({rows, width}) * at::randn({rows, 1}).exp()).to(GetParam());
  }
  static std::int64_t RandomSize(Rng& rng) { return 16 * rng.Between(1, 40); }

  // Sums are rounded as those of bf16 products are.
  static void ExpectWithin(const at::Tensor& found, const at::Tensor& exact,
                           const at::Tensor& bound, const at::Tensor& size) {
    const at::Tensor off = (Wide(found) - exact).abs() - bound - size * 0x1p-7;
    EXPECT_LE(off.max().item<double>(), 0);
    EXPECT_EQ(found.scalar_type(), GetParam());
  }
};

TEST_P(DeviceMatrixPropertyTest, ProductsWithE4m3) {
  const at::Device device = TestDevice();
  if (!device.is_cpu() && ComputeCapability(device) < kE4m3Capability) {
    GTEST_SKIP() << "this GPU does not multiply e4m3";
  }
  Rng rng(1);
  at::manual_seed(1);
  for (const std::int64_t rows : kRows) {
    SCOPED_TRACE(rows);
    const std::int64_t in = RandomSize(rng);
    const at::Tensor a = Random(RandomSize(rng), in), b = Random(RandomSize(rng), in);
    const at::Tensor x = Random(rows, in), bias = at::randn({a.size(0) + b.size(0)});
    const DeviceMatrix matrix =
        DeviceMatrix::E4m3(std::vector<at::Tensor>{a.to(device), b.to(device)});
    const at::Tensor y = matrix.Multiply(x.to(device), bias.to(device));
    const at::Tensor w = Wide(at::cat({a, b})), wide = Wide(x);
    const at::Tensor bound =
        at::linear(E4m3Bound(wide), w.abs() + E4m3Bound(w)) + at::linear(wide.abs(), E4m3Bound(w));
    ExpectWithin(y, at::linear(wide, w, Wide(bias)), bound,
                 at::linear(wide.abs(), w.abs(), Wide(bias).abs()));
    if (device.is_cpu()) continue;
    // The codes are the same on both, and what is left are the sums.
    const DeviceMatrix here = DeviceMatrix::E4m3(std::vector<at::Tensor>{a, b});
    ExpectWithin(y, Wide(here.Multiply(x, bias)), at::zeros({1}, at::kDouble),
                 at::linear(wide.abs(), w.abs(), Wide(bias).abs()));
  }
}

TEST_P(DeviceMatrixPropertyTest, ProductsWithInt8) {
  const at::Device device = TestDevice();
  if (device.is_cpu()) GTEST_SKIP() << "CPUs have a PackedMatrix for it";
  Rng rng(2);
  at::manual_seed(2);
  for (const std::int64_t rows : kRows) {
    SCOPED_TRACE(rows);
    const std::int64_t in = RandomSize(rng), out = rng.Between(1, 300);
    const at::Tensor codes = at::randint(-127, 128, {out, in}, at::kChar);
    const at::Tensor scales = at::randn({out, (in + 127) / 128}) / 100;
    const at::Tensor x = Random(rows, in), bias = at::randn({out});
    const DeviceMatrix matrix =
        DeviceMatrix::Int8(std::vector<at::Tensor>{codes.to(device)},
                           std::vector<at::Tensor>{scales.to(device)}, /*group=*/128);
    const at::Tensor w = Wide(codes) * Wide(scales).repeat_interleave(128, 1).narrow(1, 0, in),
                     wide = Wide(x);
    ExpectWithin(matrix.Multiply(x.to(device), bias.to(device)), at::linear(wide, w, Wide(bias)),
                 at::zeros({1}, at::kDouble), at::linear(wide.abs(), w.abs(), Wide(bias).abs()));
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, DeviceMatrixPropertyTest,
                         testing::Values(at::kFloat, at::kBFloat16), [](const auto& tested) {
                           return std::string(at::toString(tested.param));
                         });

}  // namespace
}  // namespace llava::model
