// The element-wise kernels against the same in ATen operators, for the dtypes that TestDevice has
// kernels for.
#include <ATen/ATen.h>

#include <vector>

#include "gtest/gtest.h"
#include "model/network/rows.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

class RowKernelsTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    at::manual_seed(7);
    if (!HasRowKernels(Random({2, 2}))) GTEST_SKIP() << "no kernel for this dtype here";
  }
  static at::Tensor Random(at::IntArrayRef shape) {
    return (at::randn(shape) * 3).to(TestDevice(), GetParam());
  }
  static at::Tensor Wide(const at::Tensor& x) { return x.to(at::kFloat); }
  // Up to the rounding of the result.
  static bool Near(const at::Tensor& result, const at::Tensor& exact) {
    const double tolerance = GetParam() == at::kFloat ? 1e-5 : 1e-2;
    return result.scalar_type() == GetParam() && at::allclose(Wide(result), exact, tolerance, 1e-5);
  }
};

TEST_P(RowKernelsTest, SiluTimes) {
  for (const std::int64_t n : {1, 31, 256, 1409}) {
    const at::Tensor gate_up = Random({5, 2 * n});
    const at::Tensor gate = Wide(gate_up.narrow(1, 0, n)), up = Wide(gate_up.narrow(1, n, n));
    EXPECT_TRUE(Near(SiluTimesRows(gate_up), at::silu(gate) * up)) << n;
  }
}

TEST_P(RowKernelsTest, QuickGelu) {
  for (const std::int64_t n : {1, 33, 4096}) {
    const at::Tensor x = Random({2, 3, n});
    EXPECT_TRUE(Near(QuickGeluRows(x), Wide(x) * at::sigmoid(Wide(x) * 1.702))) << n;
  }
}

// The queries and keys of one projection, the values beside them untouched.
TEST_P(RowKernelsTest, RotatesASliceInPlace) {
  for (const std::int64_t dim : {2, 20, 64, 128}) {
    const at::Tensor qkv = Random({7, 6, dim}), before = qkv.clone();
    const at::Tensor angles = Random({7, 1, dim / 2}).to(at::kFloat);
    const at::Tensor cos = angles.cos(), sin = angles.sin();
    RotateRows(qkv.narrow(1, 0, 4), cos, sin);
    const at::Tensor x = Wide(before.narrow(1, 0, 4));
    const at::Tensor a = x.narrow(2, 0, dim / 2), b = x.narrow(2, dim / 2, dim / 2);
    EXPECT_TRUE(Near(qkv.narrow(1, 0, 4), at::cat({a * cos - b * sin, b * cos + a * sin}, 2)));
    EXPECT_TRUE(qkv.narrow(1, 4, 2).equal(before.narrow(1, 4, 2)));
  }
}

// Not near: a lookup has one result.
TEST_P(RowKernelsTest, PixelsHaveTheBitsOfTheirTables) {
  const at::Tensor bytes = at::randint(256, {3, 3, 30, 31}, at::kByte);
  const at::Tensor tables = at::randn({3, 3, 256});
  const at::Tensor places =
      bytes.to(at::kLong).view({9, -1}) + 256 * at::arange(9, at::kLong).unsqueeze(1);
  const at::Tensor found =
      PixelRows(bytes.to(TestDevice()), tables.to(TestDevice()), GetParam()).to(at::kCPU);
  EXPECT_TRUE(at::equal(found, tables.take(places).view(bytes.sizes()).to(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, RowKernelsTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const testing::TestParamInfo<at::ScalarType>& dtype) {
                           return dtype.param == at::kFloat ? "fp32" : "bf16";
                         });

}  // namespace
}  // namespace llava::model
