// Attention of prompts' chunks, run by the emulator (tests/support/cuda_emulator.h) and compared
// with ATen. What the kernel should not read is NaN, and what it should not write is looked at.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/attention_limits.h"
#include "base/rng.h"
#include "model/kernels/cuda/kernels.h"
#include "tests/support/guarded_tensor.h"
#include "tests/unit/model/kernels/cuda/paged_cache.h"

namespace llava::model::cuda {
namespace {

using test::GuardedRows;

struct Shape {
  std::int64_t heads = 2, kv_heads = 2, head_dim = 64;
  std::vector<std::int32_t> contexts = {17}, tokens = {5};
  at::ScalarType cache_dtype = at::kBFloat16;
};

// The last queries q [tokens, heads, head_dim] of a sequence with the keys and values k and v, in
// fp64.
at::Tensor Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t group = q.size(1) / k.size(1), context = k.size(0) - q.size(0);
  const auto spread = [&](const at::Tensor& x_TKD) {
    return x_TKD.to(at::kDouble).repeat_interleave(group, 1).transpose(0, 1);
  };
  const at::Tensor mask = at::ones({q.size(0), k.size(0)}, at::kBool).tril(context);
  return at::scaled_dot_product_attention(q.to(at::kDouble).transpose(0, 1), spread(k), spread(v),
                                          mask)
      .transpose(0, 1);
}

void Check(const Shape& shape, Rng& rng) {
  at::manual_seed(rng.Next());
  const auto chunks = static_cast<std::int64_t>(shape.tokens.size());
  std::vector<std::int32_t> lengths, first_rows;
  std::int32_t longest = 0, batch = 1;  // a row of nobody before each chunk, and behind the last
  for (std::size_t i = 0; i < shape.tokens.size(); ++i) {
    lengths.push_back(shape.contexts[i] + shape.tokens[i]);
    longest = std::max(longest, shape.tokens[i]);
    first_rows.push_back(batch);
    batch += shape.tokens[i] + 1;
  }
  const PagedCache cache(lengths, shape.kv_heads, shape.head_dim, shape.cache_dtype, rng);
  const std::int64_t width = shape.heads * shape.head_dim;
  const GuardedRows q((at::randn({batch, width}) * 2).to(at::kBFloat16), rng.Between(0, 9));
  const GuardedRows out(batch, width, rng.Between(0, 9), at::kBFloat16);
  Prompt({.q = q.data(),
          .out = out.data(),
          .q_stride = q.stride(),
          .out_stride = out.stride(),
          .keys = cache.keys.const_data_ptr(),
          .values = cache.values.const_data_ptr(),
          .cache_type = shape.cache_dtype == at::kBFloat16 ? Type::kBfloat16 : Type::kE4m3,
          .chunks = static_cast<int>(chunks),
          .heads = static_cast<int>(shape.heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .head_dim = static_cast<int>(shape.head_dim),
          .first_rows = first_rows.data(),
          .tokens = shape.tokens.data(),
          .contexts = shape.contexts.data(),
          .tables = cache.table.data(),
          .table_stride = static_cast<int>(cache.widest),
          .longest = longest},
         nullptr);
  at::Tensor of_nobody = at::ones({batch}, at::kBool);
  for (std::int64_t i = 0; i < chunks; ++i) {
    const auto rows = [&](const at::Tensor& x) {
      return x.narrow(0, first_rows[i], shape.tokens[i]);
    };
    rows(of_nobody).fill_(false);
    const auto& [k, v] = cache.sequences[i];
    const at::Tensor expected =
        Attend(rows(q.rows()).reshape({shape.tokens[i], shape.heads, -1}), k, v).flatten(1);
    const at::Tensor found = rows(out.rows()).to(at::kDouble);
    EXPECT_TRUE(at::allclose(found, expected, 1e-2, 5e-3))
        << shape.tokens[i] << " tokens after " << shape.contexts[i] << ": largest difference "
        << (found - expected).abs().max().item<double>();
  }
  EXPECT_TRUE(out.rows().index({of_nobody}).isnan().all().item<bool>());
  EXPECT_TRUE(out.nothing_around_was_written());
}

TEST(CudaPromptTest, ChunksAndContextsAroundABlocksEnd) {
  Rng rng(1);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat8_e4m3fn}) {
    Check({.contexts = {0, 1, 15, 16, 17, 31, 32, 33, 127},
           .tokens = {2, 15, 2, 16, 17, 1, 33, 31, 5},
           .cache_dtype = dtype},
          rng);
  }
}

TEST(CudaPromptTest, HeadsOfEverySizeAndGroup) {
  Rng rng(2);
  for (const std::int64_t dim : {16, 64, 80, 96, 128, 256}) {
    for (const std::int64_t group : {1, 4}) {
      SCOPED_TRACE(std::to_string(dim) + " dimensions, groups of " + std::to_string(group));
      for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat8_e4m3fn}) {
        Check({.heads = 2 * group,
               .head_dim = dim,
               .contexts = {37},
               .tokens = {18},
               .cache_dtype = dtype},
              rng);
      }
    }
  }
}

TEST(CudaPromptTest, ALongContext) {
  Rng rng(3);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat8_e4m3fn}) {
    Check({.head_dim = 128, .contexts = {700}, .tokens = {35}, .cache_dtype = dtype}, rng);
  }
}

TEST(CudaPromptTest, ShapesByChance) {
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    Shape shape{.kv_heads = rng.Between(1, 2),
                .head_dim = 16 * rng.Between(1, kMaxHeadDim / 16),
                .contexts = {},
                .tokens = {},
                .cache_dtype = rng.Chance(0.5) ? at::kFloat8_e4m3fn : at::kBFloat16};
    shape.heads = shape.kv_heads * rng.Between(1, 3);
    for (std::int64_t i = rng.Between(1, 3); i > 0; --i) {
      shape.contexts.push_back(static_cast<std::int32_t>(rng.Between(0, 150)));
      shape.tokens.push_back(static_cast<std::int32_t>(rng.Between(1, 40)));
    }
    Check(shape, rng);
  }
}

}  // namespace
}  // namespace llava::model::cuda
