// Paged attention against attention without a cache, on random shapes, block tables and cuts of the
// prompts into chunks. Slots that hold no token yet hold NaN: nobody may read them.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "model/attention/paged_aten_attention.h"
#include "model/attention/paged_cpu_attention.h"
#include "model/attention/sdpa_attention.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

// The kernels of one instruction set, or ATen.
using Backend = const KernelTable*;
constexpr Backend kAten = nullptr;

KvLayout LayoutOf(Backend backend) { return backend == kAten ? KvLayout::kRows : KvLayout::kTiles; }

std::uint64_t FirstSeed() {
  const char* seed = std::getenv("LLAVA_SEED");
  return seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1;
}

// Sequences with all their queries, keys and values, one after the other.
struct World {
  std::int64_t kv_heads, heads, head_dim;
  int window = 0;  // of layer 1; 0: none
  std::vector<std::int64_t> lengths;
  std::vector<std::vector<std::int32_t>> tables;
  at::Tensor q, k, v;

  std::int64_t FirstRow(std::size_t sequence) const {
    std::int64_t row = 0;
    for (std::size_t i = 0; i < sequence; ++i) row += lengths[i];
    return row;
  }
};

// Codes are read by the kernels for CPUs only, e4m3 by all else.
at::ScalarType RandomDtype(Rng& rng, Backend backend) {
  if (rng.Chance(0.4)) return backend == kAten ? at::kFloat8_e4m3fn : at::kChar;
  return rng.Chance(0.5) ? at::kFloat : at::kBFloat16;
}

// Numbers that the cache stores exactly, so that only the arithmetic differs.
at::Tensor RandomNumbers(std::int64_t tokens, std::int64_t heads, std::int64_t head_dim,
                         at::ScalarType dtype) {
  if (dtype != at::kChar) {
    return at::randn({tokens, heads, head_dim}).to(dtype).to(TestDevice(), at::kFloat);
  }
  const at::Tensor codes = at::randint(-127, 128, {tokens, heads, head_dim}).to(at::kFloat);
  codes.select(2, 0).fill_(127);  // so that the scale is the one below
  return codes * at::pow(2.0, at::randint(-8, -4, {tokens, heads, 1}).to(at::kFloat));
}

World RandomWorld(Rng& rng, at::ScalarType dtype, bool is_long = false) {
  constexpr std::int64_t kDims[] = {2, 16, 20, 64, 80, 96, 128, 256};
  World w;
  w.kv_heads = rng.Between(1, 3);
  w.heads = w.kv_heads * rng.Between(1, is_long ? 12 : 5);
  w.head_dim = kDims[rng.Below(std::size(kDims))];
  if (dtype == at::kChar) w.head_dim = 4 * rng.Between(1, 64);
  if (dtype == at::kFloat8_e4m3fn) w.head_dim = 8 * rng.Between(1, 32);
  std::int64_t tokens = 0, blocks = 0;
  const std::int64_t sequences = rng.Between(1, 5);
  for (std::int64_t i = 0; i < sequences; ++i) {
    w.lengths.push_back(is_long ? rng.Between(2, 1200)
                                : rng.Between(1, rng.Chance(0.3) ? 150 : 40));
    tokens += w.lengths.back();
    blocks += (w.lengths.back() + kKvBlockTokens - 1) / kKvBlockTokens;
  }
  std::vector<std::int32_t> free;
  for (std::int32_t i = 0; i < blocks + 3; ++i) free.push_back(i);
  rng.Shuffle(free);
  for (const std::int64_t length : w.lengths) {
    const std::int64_t count = (length + kKvBlockTokens - 1) / kKvBlockTokens;
    w.tables.emplace_back(free.end() - count, free.end());
    free.resize(free.size() - count);
  }
  if (rng.Chance(0.4)) w.window = static_cast<int>(rng.Between(1, is_long ? 700 : 60));
  at::manual_seed(rng.Next());
  w.q = at::randn({tokens, w.heads, w.head_dim}, at::device(TestDevice())) * 2.0;
  w.k = RandomNumbers(tokens, w.kv_heads, w.head_dim, dtype);
  w.v = RandomNumbers(tokens, w.kv_heads, w.head_dim, dtype);
  return w;
}

KvCache PoisonedCache(const World& w, at::ScalarType dtype, KvLayout layout) {
  const KvShape shape{.layers = 2,
                      .kv_heads = static_cast<int>(w.kv_heads),
                      .head_dim = static_cast<int>(w.head_dim),
                      .dtype = dtype,
                      .device = TestDevice(),
                      .layout = layout,
                      .windows = w.window == 0 ? std::vector<int>() : std::vector{0, w.window}};
  std::int64_t blocks = 3;
  for (const auto& table : w.tables) blocks += static_cast<std::int64_t>(table.size());
  KvCache cache = KvCache::Create(shape, blocks * KvCache::BlockBytes(shape)).value();
  const at::Tensor nan = at::full({blocks * kKvBlockTokens, w.kv_heads, w.head_dim},
                                  std::numeric_limits<float>::quiet_NaN(), w.k.options());
  std::vector<std::int64_t> slots(blocks * kKvBlockTokens);
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int64_t>(i);
  for (int layer = 0; layer < 2; ++layer) cache.Write(layer, nan, nan, slots);
  return cache;
}

// Of layer 1, without a cache.
at::Tensor Expected(const World& w) {
  const at::Tensor q = w.q.to(at::kFloat), k = w.k.to(at::kFloat), v = w.v.to(at::kFloat);
  if (w.window == 0) return SdpaAttention(w.lengths).Forward(0, q, k, v);
  std::vector<at::Tensor> outputs;
  for (std::size_t i = 0; i < w.lengths.size(); ++i) {
    const auto heads_first = [&](const at::Tensor& x) {
      const at::Tensor rows = x.narrow(0, w.FirstRow(i), w.lengths[i]);
      return rows.repeat_interleave(w.heads / x.size(1), /*dim=*/1).transpose(0, 1).unsqueeze(0);
    };
    const at::Tensor token = at::arange(w.lengths[i], at::device(TestDevice()).dtype(at::kLong));
    const at::Tensor distance = token.unsqueeze(1) - token;
    const at::Tensor seen = (distance >= 0).logical_and(distance < w.window);
    outputs.push_back(
        at::scaled_dot_product_attention(heads_first(q), heads_first(k), heads_first(v), seen)
            .squeeze(0)
            .transpose(0, 1));
  }
  return at::cat(outputs);
}

std::unique_ptr<PagedAttention> Make(Backend backend, KvCache& cache) {
  if (backend == kAten) return std::make_unique<PagedAtenAttention>(cache);
  return std::make_unique<PagedCpuAttention>(cache, *backend);
}

// Runs all sequences in steps: each step a random chunk of some of them. One backend for all steps,
// which grow and shrink.
at::Tensor RunInChunks(const World& w, KvCache& cache, Backend backend, Rng& rng,
                       std::int64_t longest_chunk) {
  constexpr int kLayer = 1;
  std::vector<std::int64_t> done(w.lengths.size(), 0);
  at::Tensor out = at::zeros_like(w.q);
  const std::unique_ptr<PagedAttention> attention = Make(backend, cache);
  for (bool all_done = false; !all_done;) {
    std::vector<PagedSequence> step;
    std::vector<at::Tensor> rows;
    std::int64_t row = 0;
    all_done = true;
    for (std::size_t i = 0; i < w.lengths.size(); ++i) {
      const std::int64_t left = w.lengths[i] - done[i];
      if (left == 0) continue;
      all_done = false;
      if (rng.Chance(0.2)) continue;
      const std::int64_t count = std::min(left, rng.Between(1, longest_chunk));
      step.push_back({row, count, done[i], w.tables[i]});
      rows.push_back(at::arange(w.FirstRow(i) + done[i], w.FirstRow(i) + done[i] + count));
      done[i] += count;
      row += count;
    }
    if (step.empty()) continue;
    const at::Tensor index = at::cat(rows).to(TestDevice());
    attention->Refill(step);
    const at::Tensor chunk = attention->Forward(
        kLayer, w.q.index_select(0, index), w.k.index_select(0, index), w.v.index_select(0, index));
    out.index_copy_(0, index, chunk);
  }
  return out;
}

// Runs the only sequence in chunks of so many tokens.
at::Tensor RunInChunksOf(const World& w, KvCache& cache, Backend backend, std::int64_t tokens) {
  const std::unique_ptr<PagedAttention> attention = Make(backend, cache);
  std::vector<at::Tensor> chunks;
  for (std::int64_t done = 0; done < w.lengths[0]; done += tokens) {
    const PagedSequence chunk{0, std::min(tokens, w.lengths[0] - done), done, w.tables[0]};
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, done, chunk.tokens); };
    attention->Refill({&chunk, 1});
    chunks.push_back(attention->Forward(1, rows(w.q), rows(w.k), rows(w.v)));
  }
  return at::cat(chunks);
}

class PagedAttentionTest : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (GetParam() != kAten && !TestDevice().is_cpu()) GTEST_SKIP() << "for the CPU only";
  }
};

TEST_P(PagedAttentionTest, EqualsAttentionWithoutACache) {
  const std::uint64_t first = FirstSeed();
  for (std::uint64_t seed = first; seed < first + 25; ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const at::ScalarType dtype = RandomDtype(rng, GetParam());
    const World w = RandomWorld(rng, dtype);
    KvCache cache = PoisonedCache(w, dtype, LayoutOf(GetParam()));
    const at::Tensor expected = Expected(w);
    const at::Tensor out =
        RunInChunks(w, cache, GetParam(), rng, rng.Chance(0.3) ? 1 : rng.Between(2, 150));
    ASSERT_TRUE(at::allclose(out, expected, 1e-4, 1e-5))
        << "largest difference " << (out - expected).abs().max().item<float>();
    for (std::size_t i = 0; i < w.lengths.size(); ++i) {  // and the cache holds what was written
      const auto [k, v] = cache.Read(1, w.tables[i], w.lengths[i]);
      ASSERT_TRUE(at::equal(k.to(at::kFloat), w.k.narrow(0, w.FirstRow(i), w.lengths[i])));
      ASSERT_TRUE(at::equal(v.to(at::kFloat), w.v.narrow(0, w.FirstRow(i), w.lengths[i])));
    }
  }
}

TEST_P(PagedAttentionTest, TheCutIntoChunksChangesNoBit) {
  if (GetParam() == kAten) GTEST_SKIP() << "promised by the kernels only";
  const std::uint64_t first = FirstSeed();
  for (std::uint64_t seed = first; seed < first + 8; ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const at::ScalarType dtype = seed % 2 == 0 ? at::kBFloat16 : at::kChar;
    const World w = RandomWorld(rng, dtype);
    KvCache cache = PoisonedCache(w, dtype, KvLayout::kTiles);
    const at::Tensor whole = RunInChunks(w, cache, GetParam(), rng, 1000);
    ASSERT_TRUE(at::equal(whole, RunInChunks(w, cache, GetParam(), rng, 1)));
    ASSERT_TRUE(at::equal(whole, RunInChunks(w, cache, GetParam(), rng, 7)));
  }
}

// The same for chunks that fill tiles of rows, are one row short of it, or have many tiles, and for
// one thread and four.
TEST_P(PagedAttentionTest, ChunksOfAnySizeAndAnyNumberOfThreadsChangeNoBit) {
  if (GetParam() == kAten) GTEST_SKIP() << "promised by the kernels only";
  const int threads = at::get_num_threads();
  const std::uint64_t first = FirstSeed();
  for (std::uint64_t seed = first; seed < first + 3; ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const at::ScalarType dtype = seed % 2 == 0 ? at::kBFloat16 : at::kChar;
    World w = RandomWorld(rng, dtype);
    const std::int64_t length = 550;  // of one sequence
    w.lengths = {length};
    w.tables = {{}};
    for (std::int32_t i = 0; i < 35; ++i) w.tables[0].push_back(34 - i);
    w.q = at::randn({length, w.heads, w.head_dim});
    w.k = at::randn({length, w.kv_heads, w.head_dim}).to(at::kBFloat16).to(at::kFloat);
    w.v = at::randn({length, w.kv_heads, w.head_dim}).to(at::kBFloat16).to(at::kFloat);
    KvCache cache = PoisonedCache(w, dtype, KvLayout::kTiles);
    const at::Tensor whole = RunInChunksOf(w, cache, GetParam(), length);
    for (const std::int64_t chunk : {1, 6, 7, 64, 512}) {
      at::set_num_threads(chunk % 2 == 0 ? 1 : 4);
      EXPECT_TRUE(at::equal(whole, RunInChunksOf(w, cache, GetParam(), chunk))) << chunk;
    }
    at::set_num_threads(threads);
  }
}

TEST_P(PagedAttentionTest, TakesSlicesOfOneProjectionAndBf16Queries) {
  Rng rng(FirstSeed());
  const World w = RandomWorld(rng, at::kBFloat16);
  const at::Tensor qkv = at::cat({w.q, w.k, w.v}, 1).to(at::kBFloat16);
  const auto slice = [&](std::int64_t at, std::int64_t n) { return qkv.narrow(1, at, n); };
  const at::Tensor q = slice(0, w.heads), k = slice(w.heads, w.kv_heads),
                   v = slice(w.heads + w.kv_heads, w.kv_heads);
  std::vector<PagedSequence> sequences;
  for (std::size_t i = 0; i < w.lengths.size(); ++i) {
    sequences.push_back({w.FirstRow(i), w.lengths[i], 0, w.tables[i]});
  }
  KvCache cache = PoisonedCache(w, at::kBFloat16, LayoutOf(GetParam()));
  const std::unique_ptr<PagedAttention> attention = Make(GetParam(), cache);
  attention->Refill(sequences);
  const at::Tensor out = attention->Forward(0, q, k, v);
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  const at::Tensor expected = SdpaAttention(w.lengths).Forward(0, w.q, w.k, w.v);
  EXPECT_TRUE(at::allclose(out.to(at::kFloat), expected, 2e-2, 2e-2));
}

// Numbers of 16 bits, as serving has them on GPUs.
TEST_P(PagedAttentionTest, EqualsAttentionWithoutACacheInBf16) {
  const std::uint64_t first = FirstSeed();
  for (std::uint64_t seed = first; seed < first + 8; ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const at::ScalarType dtype =
        GetParam() == kAten && seed % 2 == 0 ? at::kFloat8_e4m3fn : at::kBFloat16;
    World w = RandomWorld(rng, dtype);
    for (at::Tensor* x : {&w.q, &w.k, &w.v}) *x = x->to(at::kBFloat16);
    KvCache cache = PoisonedCache(w, dtype, LayoutOf(GetParam()));
    const at::Tensor out = RunInChunks(w, cache, GetParam(), rng, rng.Between(2, 60));
    const at::Tensor expected = Expected(w);
    ASSERT_TRUE(at::allclose(out.to(at::kFloat), expected, 2e-2, 2e-2))
        << "largest difference " << (out.to(at::kFloat) - expected).abs().max().item<float>();
  }
}

// The last tokens of all sequences in one step, and contexts that kernels cut into parts.
TEST_P(PagedAttentionTest, OneTokenOfEachAfterLongPrompts) {
  const std::uint64_t first = FirstSeed();
  for (std::uint64_t seed = first; seed < first + 6; ++seed) {
    SCOPED_TRACE("LLAVA_SEED=" + std::to_string(seed));
    Rng rng(seed);
    const at::ScalarType dtype = RandomDtype(rng, GetParam());
    const World w = RandomWorld(rng, dtype, /*is_long=*/true);
    KvCache cache = PoisonedCache(w, dtype, LayoutOf(GetParam()));
    const std::unique_ptr<PagedAttention> attention = Make(GetParam(), cache);
    std::vector<PagedSequence> step;
    std::vector<std::int64_t> last;
    for (std::size_t i = 0; i < w.lengths.size(); ++i) {
      const std::int64_t row = w.FirstRow(i), prompt = w.lengths[i] - 1;
      const auto rows = [&](const at::Tensor& x) { return x.narrow(0, row, prompt); };
      const PagedSequence chunk{0, prompt, 0, w.tables[i]};
      attention->Refill({&chunk, 1});
      attention->Forward(1, rows(w.q), rows(w.k), rows(w.v));
      step.push_back({static_cast<std::int64_t>(i), 1, prompt, w.tables[i]});
      last.push_back(row + prompt);
    }
    const at::Tensor index = at::tensor(last).to(TestDevice());
    const auto rows = [&](const at::Tensor& x) { return x.index_select(0, index); };
    const at::Tensor expected = rows(Expected(w));
    attention->Refill(step);
    for (int turn = 0; turn < 2; ++turn) {  // as for a second layer
      const at::Tensor out = attention->Forward(1, rows(w.q), rows(w.k), rows(w.v));
      ASSERT_TRUE(at::allclose(out, expected, 1e-4, 1e-5))
          << "largest difference " << (out - expected).abs().max().item<float>();
    }
  }
}

std::vector<Backend> AllBackends() {
  std::vector<Backend> all = SupportedKernels();
  all.push_back(kAten);
  return all;
}

std::string Name(const testing::TestParamInfo<Backend>& backend) {
  return backend.param == kAten ? "aten" : backend.param->name;
}

INSTANTIATE_TEST_SUITE_P(Backends, PagedAttentionTest, testing::ValuesIn(AllBackends()), Name);

}  // namespace
}  // namespace llava::model
