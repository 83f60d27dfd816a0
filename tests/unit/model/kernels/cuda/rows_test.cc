// Kernels over rows, run by the emulator (tests/support/cuda_emulator.h) and compared with ATen.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/kernels/cuda/kernels.h"
#include "tests/support/guarded_tensor.h"

namespace llava::model::cuda {
namespace {

using test::GuardedRows;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

Type TypeOf(at::ScalarType dtype) {
  if (dtype == at::kFloat8_e4m3fn) return Type::kE4m3;
  return dtype == at::kFloat ? Type::kFloat : Type::kBfloat16;
}

// Equal but for the rounding of the last operation.
void ExpectClose(const at::Tensor& found, const at::Tensor& expected) {
  const double tolerance = found.scalar_type() == at::kFloat ? 1e-5 : 8e-3;
  EXPECT_TRUE(at::allclose(found.to(at::kDouble), expected.to(at::kDouble), tolerance, tolerance))
      << "largest difference "
      << (found.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
}

// Runs check(rng) with other random numbers each time.
template <typename F>
void ForSeeds(std::uint64_t count, const F& check) {
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    at::manual_seed(seed);
    check(rng);
  }
}

at::ScalarType RandomDtype(Rng& rng) { return kDtypes[rng.Below(2)]; }
at::ScalarType RandomCacheDtype(Rng& rng) {
  return rng.Chance(0.5) ? at::kFloat8_e4m3fn : RandomDtype(rng);
}

// A cache [slots, width] after the first rows of `from` were written to `slots`: fp32, and NaN
// elsewhere. ATen's conversion to e4m3 does not saturate.
at::Tensor Written(std::int64_t all_slots, const at::Tensor& slots, const at::Tensor& from,
                   at::ScalarType dtype) {
  const at::Tensor rows = from.narrow(0, 0, slots.size(0));
  const at::Tensor held =
      (dtype == at::kFloat8_e4m3fn ? rows.clamp(-448, 448) : rows).to(dtype).to(at::kFloat);
  return at::full({all_slots, from.size(1)}, kNan, at::dtype(at::kFloat))
      .index_copy_(0, slots, held);
}

TEST(CudaRowsTest, WritesKeysAndValuesToTheirSlots) {
  ForSeeds(20, [](Rng& rng) {
    const at::ScalarType dtype = RandomDtype(rng), cache_dtype = RandomCacheDtype(rng);
    const std::int64_t tokens = rng.Between(0, 20), width = rng.Between(1, 300);
    const double size = rng.Chance(0.5) ? 1 : 300;  // beyond what e4m3 has
    const GuardedRows k((size * at::randn({tokens + 1, width})).to(dtype), rng.Between(0, 9));
    const GuardedRows v((at::randn({tokens + 1, width}) / size).to(dtype), rng.Between(0, 9));
    const GuardedRows keys(64, width, 0, cache_dtype), values(64, width, 0, cache_dtype);
    const at::Tensor slots = at::randperm(64).narrow(0, 0, tokens).contiguous();
    Write({.k = k.data(),
           .v = v.data(),
           .type = TypeOf(dtype),
           .k_stride = k.stride(),
           .v_stride = v.stride(),
           .keys = keys.data(),
           .values = values.data(),
           .cache_type = TypeOf(cache_dtype),
           .slots = slots.const_data_ptr<std::int64_t>(),
           .tokens = static_cast<int>(tokens),
           .width = static_cast<int>(width)},
          nullptr);
    for (const auto& [cache, from] : {std::pair(&keys, &k), std::pair(&values, &v)}) {
      EXPECT_TRUE(at::allclose(cache->rows().to(at::kFloat),
                               Written(64, slots, from->rows(), cache_dtype), 0, 0,
                               /*equal_nan=*/true));
      EXPECT_TRUE(cache->nothing_around_was_written());
    }
  });
}

TEST(CudaRowsTest, RotatesHeads) {
  ForSeeds(20, [](Rng& rng) {
    const std::int64_t tokens = rng.Between(1, 9), heads = rng.Between(1, 5),
                       half = rng.Between(1, 128);
    const at::Tensor x_THD = at::randn({tokens, heads, 2 * half}).to(RandomDtype(rng));
    const at::Tensor angles = at::randn({tokens, half}) * 100;
    const at::Tensor cos = angles.cos(), sin = angles.sin();
    const GuardedRows x(x_THD, rng.Between(0, 9));
    Rotate(x.data(), TypeOf(x_THD.scalar_type()), x.stride(), cos.const_data_ptr<float>(),
           sin.const_data_ptr<float>(), static_cast<int>(tokens), static_cast<int>(heads),
           static_cast<int>(2 * half), nullptr);
    const at::Tensor first = x_THD.narrow(2, 0, half).to(at::kDouble),
                     second = x_THD.narrow(2, half, half).to(at::kDouble);
    const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1);
    ExpectClose(x.rows(), at::cat({first * c - second * s, second * c + first * s}, 2).flatten(1));
    EXPECT_TRUE(x.nothing_around_was_written());
  });
}

// Of random heads, of which the first `rotated` dimensions turn, together and one after the other.
void CheckRotateAndWrite(Rng& rng) {
  constexpr std::int64_t kSlots = 40;
  const at::ScalarType dtype = RandomDtype(rng), cache_dtype = RandomCacheDtype(rng);
  const std::int64_t tokens = rng.Between(0, 9), kv_heads = rng.Between(1, 3),
                     heads = kv_heads * rng.Between(1, 3), dim = 2 * rng.Between(1, 64);
  const std::int64_t turning = rng.Chance(0.5) ? dim / 2 : rng.Between(1, dim / 2);
  const auto random = [&](std::int64_t count) {
    return GuardedRows(at::randn({tokens + 1, count * dim}).to(dtype), rng.Between(0, 9));
  };
  const GuardedRows q = random(heads), k = random(kv_heads), v = random(kv_heads);
  const at::Tensor angles = at::randn({tokens + 1, turning}) * 100;
  const at::Tensor cos = angles.cos(), sin = angles.sin();
  const at::Tensor slots = at::randperm(kSlots).narrow(0, 0, tokens).contiguous();
  const auto turned = [&](const GuardedRows& x, std::int64_t count) {
    const at::Tensor all = x.rows().clone();
    const at::Tensor part = all.view({tokens + 1, count, dim}).slice(2, 0, 2 * turning).clone();
    Rotate(part.data_ptr(), TypeOf(dtype), part.stride(0), cos.const_data_ptr<float>(),
           sin.const_data_ptr<float>(), static_cast<int>(tokens), static_cast<int>(count),
           static_cast<int>(2 * turning), nullptr);
    all.view({tokens + 1, count, dim}).slice(2, 0, 2 * turning).copy_(part);
    return all;
  };
  const at::Tensor turned_q = turned(q, heads), turned_k = turned(k, kv_heads);
  const at::Tensor same_v = v.rows().clone();
  const GuardedRows keys(kSlots, kv_heads * dim, 0, cache_dtype),
      values(kSlots, kv_heads * dim, 0, cache_dtype);
  RotateAndWrite({.q = q.data(),
                  .q_stride = q.stride(),
                  .k = k.data(),
                  .k_stride = k.stride(),
                  .v = v.data(),
                  .v_stride = v.stride(),
                  .type = TypeOf(dtype),
                  .cos = cos.const_data_ptr<float>(),
                  .sin = sin.const_data_ptr<float>(),
                  .rotated = static_cast<int>(2 * turning),
                  .keys = keys.data(),
                  .values = values.data(),
                  .cache_type = TypeOf(cache_dtype),
                  .slots = slots.const_data_ptr<std::int64_t>(),
                  .tokens = static_cast<int>(tokens),
                  .heads = static_cast<int>(heads),
                  .kv_heads = static_cast<int>(kv_heads),
                  .head_dim = static_cast<int>(dim)},
                 nullptr);
  EXPECT_TRUE(at::equal(q.rows(), turned_q));
  EXPECT_TRUE(at::equal(k.rows(), turned_k));
  EXPECT_TRUE(at::equal(v.rows(), same_v));
  for (const auto& [cache, from] : {std::pair(&keys, turned_k), std::pair(&values, same_v)}) {
    EXPECT_TRUE(at::allclose(cache->rows().to(at::kFloat),
                             Written(kSlots, slots, from, cache_dtype), 0, 0, /*equal_nan=*/true));
    EXPECT_TRUE(cache->nothing_around_was_written());
  }
  for (const GuardedRows* rows : {&q, &k, &v}) EXPECT_TRUE(rows->nothing_around_was_written());
}

TEST(CudaRowsTest, RotatesAndWritesAsTheTwoKernelsDo) { ForSeeds(30, CheckRotateAndWrite); }

TEST(CudaRowsTest, GatesValues) {
  ForSeeds(20, [](Rng& rng) {
    const std::int64_t rows = rng.Between(1, 9), n = rng.Between(1, 700);
    const GuardedRows gate_up((at::randn({rows, 2 * n}) * 3).to(RandomDtype(rng)),
                              rng.Between(0, 9));
    const at::ScalarType dtype = gate_up.rows().scalar_type();
    const GuardedRows y(rows, n, 0, dtype);
    SiluTimes(gate_up.data(), TypeOf(dtype), gate_up.stride(), static_cast<int>(rows),
              static_cast<int>(n), y.data(), nullptr);
    const at::Tensor wide = gate_up.rows().to(at::kDouble);
    ExpectClose(y.rows(), at::silu(wide.narrow(1, 0, n)) * wide.narrow(1, n, n));
    EXPECT_TRUE(y.nothing_around_was_written());
  });
}

TEST(CudaRowsTest, AppliesQuickGelu) {
  ForSeeds(10, [](Rng& rng) {
    const std::int64_t n = rng.Between(1, 3000);
    const GuardedRows x((at::randn({1, n}) * 3).to(RandomDtype(rng)), 0);
    const at::ScalarType dtype = x.rows().scalar_type();
    const GuardedRows y(1, n, 0, dtype);
    QuickGelu(x.data(), TypeOf(dtype), n, y.data(), nullptr);
    const at::Tensor wide = x.rows().to(at::kDouble);
    ExpectClose(y.rows(), wide * at::sigmoid(wide * 1.702));
    EXPECT_TRUE(y.nothing_around_was_written());
  });
}

// A lookup and one rounding: the bits of ATen's, from any address on.
TEST(CudaRowsTest, LooksUpPixels) {
  ForSeeds(20, [](Rng& rng) {
    const int planes = 3 * static_cast<int>(rng.Between(1, 3)),
              n = static_cast<int>(rng.Between(1, 900));
    const at::ScalarType dtype = RandomDtype(rng);
    const at::Tensor tables = at::randn({planes, 256});
    const std::int64_t first = rng.Between(0, 5);
    const at::Tensor memory = at::randint(256, {first + std::int64_t{planes} * n}, at::kByte);
    const at::Tensor bytes = memory.narrow(0, first, std::int64_t{planes} * n);
    const GuardedRows y(planes, n, 0, dtype);
    Pixels(bytes.const_data_ptr<std::uint8_t>(), tables.const_data_ptr<float>(), TypeOf(dtype),
           planes, n, y.data(), nullptr);
    const at::Tensor expected = tables.gather(1, bytes.view({planes, n}).to(at::kLong)).to(dtype);
    EXPECT_TRUE(at::equal(y.rows(), expected));
    EXPECT_TRUE(y.nothing_around_was_written());
  });
}

}  // namespace
}  // namespace llava::model::cuda
