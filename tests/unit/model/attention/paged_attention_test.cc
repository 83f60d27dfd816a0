// Both backends, told of batch after batch. tests/property/paged_attention_test.cc has random ones.
#include "model/attention/paged_attention.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "model/attention/sdpa_attention.h"

namespace llava::model {
namespace {

using testing::ElementsAre;

constexpr int kBlocks = 8, kHeads = 4, kKvHeads = 2, kHeadDim = 16;

class PagedAttentionTest : public testing::TestWithParam<KvLayout> {
 protected:
  PagedAttentionTest()
      : cache_(*KvCache::Create(Shape(), kBlocks * KvCache::BlockBytes(Shape()))),
        attention_(MakePagedAttention(cache_)) {
    at::manual_seed(4);
  }

  static KvShape Shape() {
    return {.layers = 1, .kv_heads = kKvHeads, .head_dim = kHeadDim, .layout = GetParam()};
  }

  // A sequence of `length` tokens with all its queries, keys and values.
  struct Sequence {
    explicit Sequence(std::int64_t length, std::vector<std::int32_t> table)
        : q(at::randn({length, kHeads, kHeadDim})),
          k(at::randn({length, kKvHeads, kHeadDim})),
          v(at::randn({length, kKvHeads, kHeadDim})),
          expected(SdpaAttention({length}).Forward(0, q, k, v)),
          blocks(std::move(table)) {}

    at::Tensor q, k, v, expected;
    std::vector<std::int32_t> blocks;
    std::int64_t computed = 0;
  };

  // The next tokens of some sequences in one batch, each compared with what SDPA gives.
  void Run(const std::vector<std::pair<Sequence*, std::int64_t>>& chunks) {
    std::vector<PagedSequence> batch;
    std::vector<at::Tensor> q, k, v, expected;
    std::int64_t row = 0;
    for (const auto& [sequence, tokens] : chunks) {
      batch.push_back({row, tokens, sequence->computed, sequence->blocks});
      const auto part = [&, first = sequence->computed, count = tokens](const at::Tensor& x) {
        return x.narrow(0, first, count);
      };
      q.push_back(part(sequence->q));
      k.push_back(part(sequence->k));
      v.push_back(part(sequence->v));
      expected.push_back(part(sequence->expected));
      sequence->computed += tokens;
      row += tokens;
    }
    attention_->Refill(batch);
    for (int pass = 0; pass < 2; ++pass) {  // as if there were two layers
      const at::Tensor out = attention_->Forward(0, at::cat(q), at::cat(k), at::cat(v));
      EXPECT_TRUE(at::allclose(out, at::cat(expected), 1e-4, 1e-5));
    }
  }

  KvCache cache_;
  std::unique_ptr<PagedAttention> attention_;
};

TEST_P(PagedAttentionTest, ABatchMixesFirstChunksLaterChunksAndDecodedTokens) {
  Sequence a(40, {5, 0, 3}), b(20, {1, 7}), c(3, {2});
  Run({{&a, 20}});
  Run({{&b, 19}, {&a, 10}});
  Run({{&a, 9}, {&b, 1}, {&c, 2}});
  // Decoded tokens, which stand apart from each other in the batch or follow each other.
  Run({{&a, 1}, {&c, 1}});
}

TEST_P(PagedAttentionTest, ABatchKnowsNothingOfTheOneBefore) {
  Sequence a(33, {0, 1, 2}), b(1, {3}), c(2, {4});
  Run({{&a, 32}, {&b, 1}, {&c, 1}});
  Run({{&c, 1}});
  Run({{&a, 1}});
}

TEST_P(PagedAttentionTest, SlotsAreThoseOfTheBlockTables) {
  const std::vector<std::int32_t> a = {5, 2}, b = {3};
  const std::vector<PagedSequence> batch = {{0, 3, 15, a}, {3, 1, 0, b}};
  std::vector<std::int64_t> slots = {99};
  FillSlots(batch, cache_, slots);
  EXPECT_THAT(slots, ElementsAre(5 * kKvBlockTokens + 15, 2 * kKvBlockTokens,
                                 2 * kKvBlockTokens + 1, 3 * kKvBlockTokens));
}

TEST_P(PagedAttentionTest, ABatchThatDoesNotFitIsOurBug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::vector<std::int32_t> one = {0}, outside = {kBlocks};
  const std::vector<PagedSequence> bad[] = {
      {{1, 1, 0, one}},               // a gap before it
      {{0, 0, 0, one}},               // no token
      {{0, 1, kKvBlockTokens, one}},  // more tokens than its blocks hold
      {{0, 1, 0, outside}},           // a block that the cache does not have
  };
  for (const std::vector<PagedSequence>& batch : bad) EXPECT_DEATH(attention_->Refill(batch), "");
}

INSTANTIATE_TEST_SUITE_P(Layouts, PagedAttentionTest,
                         testing::Values(KvLayout::kTiles, KvLayout::kRows),
                         [](const testing::TestParamInfo<KvLayout>& layout) {
                           return layout.param == KvLayout::kTiles ? "tiles" : "rows";
                         });

}  // namespace
}  // namespace llava::model
