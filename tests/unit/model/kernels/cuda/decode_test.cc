// Attention of decoded tokens, run by the emulator (tests/support/cuda_emulator.h) and compared
// with ATen. What a kernel should not read is NaN, and what it should not write is looked at.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/attention_limits.h"
#include "base/rng.h"
#include "model/kernels/cuda/kernels.h"
#include "tests/support/guarded_tensor.h"
#include "tests/unit/model/kernels/cuda/paged_cache.h"

namespace llava::model::cuda {
namespace {

using test::GuardedRows;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Type TypeOf(at::ScalarType dtype) {
  if (dtype == at::kFloat8_e4m3fn) return Type::kE4m3;
  return dtype == at::kFloat ? Type::kFloat : Type::kBfloat16;
}

struct Shape {
  std::int64_t heads = 2, kv_heads = 2, head_dim = 64;
  std::vector<std::int32_t> lengths = {17};
  int splits = 1;
  at::ScalarType q_dtype = at::kFloat, cache_dtype = at::kFloat;
};

// q: [heads, head_dim] of one token, which sees all of k and v.
at::Tensor Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t group = q.size(0) / k.size(1);
  const auto spread = [&](const at::Tensor& x_TKD) {
    return x_TKD.to(at::kDouble).repeat_interleave(group, 1).transpose(0, 1);
  };
  const at::Tensor scores =
      at::matmul(spread(k), q.to(at::kDouble).unsqueeze(2)).squeeze(2) / std::sqrt(q.size(1));
  return at::matmul(at::softmax(scores, 1).unsqueeze(1), spread(v)).squeeze(1);
}

void Check(const Shape& shape, Rng& rng) {
  at::manual_seed(rng.Next());
  const PagedCache cache(shape.lengths, shape.kv_heads, shape.head_dim, shape.cache_dtype, rng);
  const auto sequences = static_cast<std::int64_t>(shape.lengths.size());
  // The batch has rows of others too.
  const std::int64_t batch = sequences + 2, width = shape.heads * shape.head_dim;
  std::vector<std::int32_t> rows(batch);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
  rng.Shuffle(rows);
  const GuardedRows q((at::randn({batch, width}) * 2).to(shape.q_dtype), rng.Between(0, 9));
  const GuardedRows out(batch, width, rng.Between(0, 9), shape.q_dtype);
  const std::int64_t heads = sequences * shape.heads;
  std::vector<float> partial(heads * shape.splits * (shape.head_dim + 2), kNan);
  std::vector<int> arrived(heads, 0);
  Decode({.q = q.data(),
          .out = out.data(),
          .q_type = TypeOf(shape.q_dtype),
          .q_stride = q.stride(),
          .out_stride = out.stride(),
          .keys = cache.keys.const_data_ptr(),
          .values = cache.values.const_data_ptr(),
          .cache_type = TypeOf(shape.cache_dtype),
          .sequences = static_cast<int>(sequences),
          .heads = static_cast<int>(shape.heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .head_dim = static_cast<int>(shape.head_dim),
          .lengths = shape.lengths.data(),
          .rows = rows.data(),
          .tables = cache.table.data(),
          .table_stride = static_cast<int>(cache.widest),
          .splits = shape.splits,
          .partial = shape.splits > 1 ? partial.data() : nullptr,
          .arrived = shape.splits > 1 ? arrived.data() : nullptr},
         nullptr);
  const double tolerance = shape.q_dtype == at::kFloat ? 2e-5 : 1e-2;
  for (std::int64_t i = 0; i < batch; ++i) {
    const at::Tensor row = out.rows()[rows[i]];
    if (i >= sequences) {
      EXPECT_TRUE(row.isnan().all().item<bool>()) << "row " << rows[i] << " is of nobody";
      continue;
    }
    const at::Tensor expected = Attend(q.rows()[rows[i]].view({shape.heads, -1}),
                                       cache.sequences[i].first, cache.sequences[i].second);
    EXPECT_TRUE(at::allclose(row.to(at::kDouble), expected.flatten(), tolerance, tolerance))
        << "context of " << shape.lengths[i] << ": largest difference "
        << (row - expected.flatten()).abs().max().item<double>();
  }
  EXPECT_TRUE(out.nothing_around_was_written());
  EXPECT_EQ(arrived, std::vector<int>(heads, 0));
}

TEST(CudaDecodeTest, ContextsAroundABlocksEnd) {
  Rng rng(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Check({.lengths = {1, 15, 16, 17, 31, 33, 64}, .q_dtype = dtype, .cache_dtype = dtype}, rng);
  }
}

TEST(CudaDecodeTest, HeadsOfEverySizeAndGroup) {
  Rng rng(2);
  for (const std::int64_t dim : {8, 64, 80, 96, 128, 256}) {
    for (const std::int64_t group : {1, 2, 4, 5, 8, 11}) {
      SCOPED_TRACE(std::to_string(dim) + " dimensions, groups of " + std::to_string(group));
      for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat8_e4m3fn}) {
        Check({.heads = 2 * group, .head_dim = dim, .lengths = {37}, .cache_dtype = dtype}, rng);
      }
    }
  }
}

// Slots of e4m3 begin at multiples of 8 bytes, not of 16, and its NaN behind a context's end is
// not read either.
TEST(CudaDecodeTest, ContextsInE4m3) {
  Rng rng(5);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Check({.heads = 9,
           .kv_heads = 3,
           .head_dim = 72,
           .lengths = {1, 15, 16, 17, 33, 200},
           .splits = 3,
           .q_dtype = dtype,
           .cache_dtype = at::kFloat8_e4m3fn},
          rng);
  }
}

TEST(CudaDecodeTest, AnyNumberOfSplits) {
  Rng rng(3);
  for (const int splits : {2, 3, 5, 8, 17}) {  // also more than there are tokens
    SCOPED_TRACE(splits);
    Check({.heads = 6, .lengths = {1, 16, 130, 90}, .splits = splits}, rng);
  }
}

TEST(CudaDecodeTest, ALongContext) {
  Rng rng(4);
  Check({.head_dim = 128, .lengths = {900}, .splits = 4, .cache_dtype = at::kBFloat16}, rng);
}

TEST(CudaDecodeTest, ShapesByChance) {
  const auto dtype = [](Rng& rng) { return rng.Chance(0.5) ? at::kFloat : at::kBFloat16; };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    Shape shape{.kv_heads = rng.Between(1, 3),
                .head_dim = 8 * rng.Between(1, kMaxHeadDim / 8),
                .lengths = {},
                .splits = static_cast<int>(rng.Between(1, 4)),
                .q_dtype = dtype(rng),
                .cache_dtype = rng.Chance(0.5) ? at::kFloat8_e4m3fn : dtype(rng)};
    shape.heads = shape.kv_heads * rng.Between(1, 9);
    for (std::int64_t i = rng.Between(1, 3); i > 0; --i) {
      shape.lengths.push_back(static_cast<std::int32_t>(rng.Between(1, 70)));
    }
    Check(shape, rng);
  }
}

}  // namespace
}  // namespace llava::model::cuda
