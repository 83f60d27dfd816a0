// Against attention that is written out: every query with the keys before it, one head at a time.
#include "model/attention/paged_aten_attention.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace llava::model {
namespace {

constexpr int kBlocks = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 8;

// A sequence of `length` tokens whose first `context` are in the cache; the rest is in the batch.
struct Given {
  std::int64_t context = 0;
  std::int64_t tokens = 0;
  std::vector<std::int32_t> blocks = {};
  at::Tensor q = {}, k = {}, v = {};  // of all its tokens
};

class PagedAtenAttentionTest : public testing::Test {
 protected:
  PagedAtenAttentionTest() { at::manual_seed(7); }

  void Make(std::vector<int> windows = {}) {
    const KvShape shape = {.layers = 2,
                           .kv_heads = kKvHeads,
                           .head_dim = kHeadDim,
                           .layout = KvLayout::kRows,
                           .windows = std::move(windows)};
    cache_ =
        std::make_unique<KvCache>(*KvCache::Create(shape, kBlocks * KvCache::BlockBytes(shape)));
    attention_ = std::make_unique<PagedAtenAttention>(*cache_);
  }

  // Blocks are given out from the last one on, so that no table is in order.
  Given Sequence(std::int64_t context, std::int64_t tokens) {
    Given given{.context = context, .tokens = tokens};
    const std::int64_t length = context + tokens;
    for (std::int64_t at = 0; at < length; at += kKvBlockTokens) {
      given.blocks.push_back(--next_block_);
    }
    given.q = at::randn({length, kHeads, kHeadDim});
    given.k = at::randn({length, kKvHeads, kHeadDim});
    given.v = at::randn({length, kKvHeads, kHeadDim});
    return given;
  }

  static at::Tensor Expected(const Given& given, int window) {
    at::Tensor out = at::zeros({given.tokens, kHeads, kHeadDim});
    for (std::int64_t i = 0; i < given.tokens; ++i) {
      const std::int64_t at = given.context + i;
      const std::int64_t first = window > 0 ? std::max<std::int64_t>(0, at + 1 - window) : 0;
      for (int head = 0; head < kHeads; ++head) {
        const int of = head / (kHeads / kKvHeads);
        const at::Tensor keys = given.k.narrow(0, first, at + 1 - first).select(1, of);
        const at::Tensor values = given.v.narrow(0, first, at + 1 - first).select(1, of);
        const at::Tensor scores = keys.mv(given.q[at][head]) / std::sqrt(double{kHeadDim});
        out[i][head].copy_(values.t().mv(scores.softmax(0)));
      }
    }
    return out;
  }

  // One batch of all of them, of rows in this order, in each layer.
  void Check(const std::vector<Given>& all, std::vector<int> windows = {}) {
    if (windows.empty()) windows = {0, 0};
    for (const Given& given : all) {
      if (given.context == 0) continue;
      const std::vector<PagedSequence> before = {{0, given.context, 0, given.blocks}};
      attention_->Refill(before);
      for (int layer = 0; layer < 2; ++layer) {
        attention_->Forward(layer, given.q.narrow(0, 0, given.context),
                            given.k.narrow(0, 0, given.context),
                            given.v.narrow(0, 0, given.context));
      }
    }
    std::vector<PagedSequence> batch;
    std::vector<at::Tensor> q, k, v;
    std::int64_t row = 0;
    for (const Given& given : all) {
      batch.push_back({row, given.tokens, given.context, given.blocks});
      row += given.tokens;
      q.push_back(given.q.narrow(0, given.context, given.tokens));
      k.push_back(given.k.narrow(0, given.context, given.tokens));
      v.push_back(given.v.narrow(0, given.context, given.tokens));
    }
    attention_->Refill(batch);
    for (int layer = 0; layer < 2; ++layer) {
      const at::Tensor out = attention_->Forward(layer, at::cat(q), at::cat(k), at::cat(v));
      for (std::size_t i = 0; i < all.size(); ++i) {
        const at::Tensor got = out.narrow(0, batch[i].first_row, batch[i].tokens);
        EXPECT_TRUE(at::allclose(got, Expected(all[i], windows[static_cast<std::size_t>(layer)]),
                                 1e-4, 1e-5))
            << "sequence " << i << " in layer " << layer;
      }
    }
  }

  std::int32_t next_block_ = kBlocks;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<PagedAtenAttention> attention_;
};

TEST_F(PagedAtenAttentionTest, AFirstChunkSeesItsOwnTokens) {
  Make();
  Check({Sequence(0, 20), Sequence(0, 2)});
}

TEST_F(PagedAtenAttentionTest, ALaterChunkSeesTheCacheToo) {
  Make();
  Check({Sequence(15, 4), Sequence(16, 17), Sequence(1, 2)});
}

// Those of short contexts share one padded call; what pads one is not seen by the other.
TEST_F(PagedAtenAttentionTest, DecodedTokensOfAllContextsAreComputed) {
  Make();
  Check({Sequence(0, 1), Sequence(100, 1), Sequence(15, 1), Sequence(300, 1), Sequence(16, 1)});
}

// Then the rows of a call are no range of the batch.
TEST_F(PagedAtenAttentionTest, DecodedTokensMayStandAmongChunks) {
  Make();
  Check({Sequence(40, 1), Sequence(0, 5), Sequence(20, 1), Sequence(17, 3), Sequence(280, 1)});
}

TEST_F(PagedAtenAttentionTest, ALayersWindowHidesOlderKeys) {
  const std::vector<int> windows = {5, 0};
  Make(windows);
  Check({Sequence(0, 12), Sequence(20, 1), Sequence(2, 1), Sequence(18, 6), Sequence(0, 1)},
        windows);
}

TEST_F(PagedAtenAttentionTest, EveryLayerMayHaveAWindow) {
  const std::vector<int> windows = {5, 5};
  Make(windows);
  Check({Sequence(0, 12), Sequence(20, 1), Sequence(2, 1), Sequence(18, 6), Sequence(0, 1)},
        windows);
}

TEST_F(PagedAtenAttentionTest, RoomForMoreKeysChangesNothing) {
  Make();
  attention_->ReserveKeys(500);
  Check({Sequence(40, 1), Sequence(0, 5), Sequence(17, 3)});
}

}  // namespace
}  // namespace llava::model
