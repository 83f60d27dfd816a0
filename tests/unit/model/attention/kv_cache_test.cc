#include "model/attention/kv_cache.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace llava::model {
namespace {

const KvShape kShape{.layers = 2, .kv_heads = 3, .head_dim = 8};

TEST(KvCacheTest, TakesTheBlocksThatFitIntoTheBudget) {
  EXPECT_EQ(KvCache::BlockBytes(kShape), 2 * 3 * (16 * 8 + 16 * 16) * 4);
  const auto cache = KvCache::Create(kShape, 5 * KvCache::BlockBytes(kShape) + 100);
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(cache->blocks(), 5);
  EXPECT_EQ(cache->shape(), kShape);
}

TEST(KvCacheTest, RefusesWhatItCannotHold) {
  const auto code = [](const KvShape& shape, std::int64_t budget) {
    return KvCache::Create(shape, budget).status().code();
  };
  constexpr std::int64_t kBudget = 1 << 20;
  EXPECT_EQ(code(kShape, 100), absl::StatusCode::kInvalidArgument);
  KvShape shape = kShape;
  shape.head_dim = 9;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  shape.head_dim = 258;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  shape = kShape;
  shape.dtype = at::kHalf;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  shape.dtype = at::kChar;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kOk);
  shape.head_dim = 6;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  shape = kShape;
  shape.dtype = at::kChar;
  shape.layout = KvLayout::kRows;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  shape = kShape;
  shape.dtype = at::kFloat8_e4m3fn;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);  // tiles
  shape.layout = KvLayout::kRows;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kOk);
  shape.head_dim = 12;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  shape = kShape;
  shape.device = at::kCUDA;
  EXPECT_EQ(code(shape, kBudget), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(kShape, std::int64_t{1} << 50), absl::StatusCode::kInvalidArgument);
  shape = {.layers = 100, .kv_heads = 1000, .head_dim = 256};
  EXPECT_EQ(code(shape, std::int64_t{1} << 50), absl::StatusCode::kResourceExhausted);
}

TEST(KvCacheTest, ACopiedBlockIsEqualInAllLayersAndIndependent) {
  for (const KvLayout layout : {KvLayout::kTiles, KvLayout::kRows}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      KvShape shape = kShape;
      shape.layout = layout;
      shape.dtype = dtype;
      KvCache cache = KvCache::Create(shape, 4 * KvCache::BlockBytes(shape)).value();
      const at::Tensor k = at::randn({16, 3, 8}), v = at::randn({16, 3, 8});
      std::vector<std::int64_t> slots;
      for (int i = 0; i < 16; ++i) slots.push_back(16 + i);
      for (int layer = 0; layer < 2; ++layer) cache.Write(layer, k + layer, v + layer, slots);
      cache.CopyBlock(1, 3);
      cache.Write(0, at::zeros({16, 3, 8}), at::zeros({16, 3, 8}), slots);
      const std::vector<std::int32_t> original = {1}, copy = {3};
      for (int layer = 0; layer < 2; ++layer) {
        const auto [copied_k, copied_v] = cache.Read(layer, copy, 16);
        EXPECT_TRUE(at::equal(copied_k, (k + layer).to(dtype)));
        EXPECT_TRUE(at::equal(copied_v, (v + layer).to(dtype)));
      }
      EXPECT_TRUE(at::equal(cache.Read(0, original, 5).first, at::zeros({5, 3, 8}, dtype)));
      EXPECT_TRUE(at::equal(cache.Read(1, original, 5).first, (k + 1).to(dtype).narrow(0, 0, 5)));
    }
  }
}

TEST(KvCacheTest, CodesAreWithinHalfAStepOfWhatWasWritten) {
  KvShape shape = kShape;
  shape.dtype = at::kChar;
  KvCache cache = KvCache::Create(shape, 2 * KvCache::BlockBytes(shape)).value();
  EXPECT_LT(KvCache::BlockBytes(shape), KvCache::BlockBytes(kShape) / 2);
  // A row each: of any size, of zeros, too small for a scale, and with what is no number.
  at::Tensor k = at::randn({16, 3, 8}) * at::pow(10.0, at::arange(-8, 8).view({16, 1, 1}));
  k.select(0, 3).zero_();
  k.select(0, 4).fill_(1e-38);
  k.index_put_({at::tensor(5), at::tensor(1), at::tensor(2)}, at::tensor(std::nanf("")));
  k.index_put_({at::tensor(6), at::tensor(0), at::tensor(7)},
               at::tensor(-std::numeric_limits<float>::infinity()));
  std::vector<std::int64_t> slots(16);
  std::iota(slots.begin(), slots.end(), 16);
  cache.Write(1, k, k.flip({0}), slots);
  const std::vector<std::int32_t> table = {1};
  const auto [held_k, held_v] = cache.Read(1, table, 16);
  const at::Tensor step = k.abs().amax({2}, /*keepdim=*/true) / 127;
  const at::Tensor is_close = (held_k - k).abs() <= step * 0.501 + 1e-29;
  const at::Tensor is_finite = k.isfinite().all(2, /*keepdim=*/true);
  EXPECT_TRUE(at::equal(is_close.logical_and(is_finite), is_finite.expand_as(is_close)));
  EXPECT_TRUE(at::equal(held_k.isnan().all(2, true), is_finite.logical_not()));
  EXPECT_EQ(is_finite.logical_not().sum().item<int>(), 2);
  EXPECT_TRUE(at::equal(held_k.nan_to_num(), held_v.flip({0}).nan_to_num()));
}

TEST(KvCacheTest, Fp8IsRoundedSaturatedAndCopied) {
  KvShape shape = kShape;
  shape.dtype = at::kFloat8_e4m3fn;
  shape.layout = KvLayout::kRows;
  EXPECT_EQ(KvCache::BlockBytes(shape), 2 * 3 * 16 * 8 * 2);
  KvCache cache = KvCache::Create(shape, 3 * KvCache::BlockBytes(shape)).value();
  EXPECT_EQ(cache.blocks(), 3);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    at::Tensor k = at::zeros({1, 3, 8}), held = at::zeros({1, 3, 8});
    const std::vector<std::pair<float, float>> numbers = {
        {17, 16},     {19, 20},        {-1.0625f, -1},  // of two equally near the even one
        {448, 448},   {464, 448},      {-1e9f, -448},      {0.001953125f, 0.001953125f},
        {0.0009f, 0}, {INFINITY, 448}, {-0.28f, -0.28125f}};
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      k.view({-1})[static_cast<std::int64_t>(i)] = numbers[i].first;
      held.view({-1})[static_cast<std::int64_t>(i)] = numbers[i].second;
    }
    k[0][2][7] = std::nanf("");
    cache.Write(1, k.to(dtype), k.flip({1}).to(dtype), std::vector<std::int64_t>{18});
    cache.CopyBlock(1, 2);
    cache.Write(1, at::zeros({1, 3, 8}), at::zeros({1, 3, 8}), std::vector<std::int64_t>{18});
    const std::vector<std::int32_t> table = {2};
    const auto [found_k, found_v] = cache.Read(1, table, 3);
    EXPECT_TRUE(found_k[2][2][7].isnan().item<bool>());
    EXPECT_TRUE(at::equal(found_k[2].nan_to_num(), held[0])) << found_k[2];
    EXPECT_TRUE(at::equal(found_v[2].nan_to_num(), held[0].flip({0}))) << found_v[2];
    EXPECT_TRUE(at::equal(cache.Held(k).to(at::kFloat).nan_to_num(), held));
  }
}

}  // namespace
}  // namespace llava::model
