// The greedy answers through the paged KV cache: prompts in pieces, then one token at a time, all
// cases in one batch, equal the reference.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>

#include "model/attention/kv_cache.h"
#include "model/attention/paged_attention.h"
#include "tests/golden/golden_data.h"
#include "tests/support/test_device.h"

namespace llava::model {
namespace {

constexpr double kFp32Tolerance = 1e-4;
constexpr std::int64_t kBlocksEach = 8;  // 128 tokens

// One case on its way: rows of the prompt that are still to come, then ids of the answer.
struct Sequence {
  const GoldenCase* golden = nullptr;
  at::Tensor rows;  // [prompt tokens, hidden]
  std::vector<std::int32_t> blocks;
  std::int64_t context = 0;
  std::size_t step = 0;  // of the answer

  bool in_prompt() const { return context < rows.size(0); }
};

class PagedGolden : public testing::TestWithParam<KvLayout> {
 protected:
  PagedGolden() : model_(LoadGolden(at::kFloat)) {
    if (skipped()) return;
    const TextConfig& text = model_->config().text;
    const KvShape shape{.layers = text.num_layers,
                        .kv_heads = text.num_kv_heads,
                        .head_dim = text.head_dim,
                        .device = TestDevice(),
                        .layout = GetParam()};
    const auto count = static_cast<std::int64_t>(GoldenCases().size());
    auto cache = KvCache::Create(shape, KvCache::BlockBytes(shape) * kBlocksEach * count);
    EXPECT_TRUE(cache.ok()) << cache.status();
    cache_ = std::make_unique<KvCache>(*std::move(cache));
    attention_ = MakePagedAttention(*cache_);
    for (const GoldenCase& golden : GoldenCases()) {
      Sequence sequence{.golden = &golden, .rows = {}, .blocks = {}};
      sequence.rows = GoldenEmbeddings(*model_, golden, golden.input_ids);
      const auto index = static_cast<std::int32_t>(sequences_.size());
      for (std::int32_t i = 0; i < kBlocksEach; ++i) {  // interleaved, so that no table is a range
        sequence.blocks.push_back(i * static_cast<std::int32_t>(count) + index);
      }
      sequences_.push_back(std::move(sequence));
    }
  }

  // The kernels' layout is for the CPU.
  static bool skipped() { return GetParam() == KvLayout::kTiles && !TestDevice().is_cpu(); }

  // One forward pass over the next tokens of all sequences, at most `piece` of each prompt. The
  // logits of each sequence's last row.
  at::Tensor Forward(std::int64_t piece) {
    std::vector<PagedSequence> batch;
    std::vector<at::Tensor> rows;
    std::vector<at::Tensor> positions;
    std::vector<std::int64_t> last;
    std::int64_t first_row = 0;
    for (Sequence& sequence : sequences_) {
      rows.push_back(Next(sequence, piece));
      const std::int64_t tokens = rows.back().size(0);
      batch.push_back({first_row, tokens, sequence.context, sequence.blocks});
      positions.push_back(at::arange(sequence.context, sequence.context + tokens,
                                     at::device(TestDevice()).dtype(at::kLong)));
      first_row += tokens;
      last.push_back(first_row - 1);
      sequence.context += tokens;
    }
    attention_->Refill(batch);
    return model_->Logits(model_->Forward(at::cat(rows), at::cat(positions), *attention_,
                                          at::tensor(last).to(TestDevice())));
  }

  at::Tensor Next(const Sequence& sequence, std::int64_t piece) const {
    if (sequence.in_prompt()) {
      const std::int64_t end = std::min(sequence.context + piece, sequence.rows.size(0));
      return sequence.rows.slice(0, sequence.context, end);
    }
    return model_->Embed(
        at::tensor({sequence.golden->greedy_ids[sequence.step - 1]}).to(TestDevice()));
  }

  // Compares the logits of the sequences that answer; false when all answers are complete.
  bool Check(const at::Tensor& logits) {
    bool more = false;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      Sequence& sequence = sequences_[i];
      const std::vector<std::int64_t>& ids = sequence.golden->greedy_ids;
      more |= sequence.step < ids.size();
      if (sequence.in_prompt() || sequence.step == ids.size()) continue;
      const at::Tensor row = logits[static_cast<std::int64_t>(i)];
      const auto step = static_cast<std::int64_t>(sequence.step);
      EXPECT_LT(MaxDifference(row, sequence.golden->Tensor("step_logits")[step]), kFp32Tolerance);
      EXPECT_EQ(row.argmax().item<std::int64_t>(), ids[sequence.step])
          << sequence.golden->name << ", step " << step;
      ++sequence.step;
    }
    return more;
  }

  const c10::InferenceMode inference_;
  std::unique_ptr<Llava> model_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<PagedAttention> attention_;
  std::vector<Sequence> sequences_;
};

INSTANTIATE_TEST_SUITE_P(Layouts, PagedGolden, testing::Values(KvLayout::kTiles, KvLayout::kRows),
                         [](const testing::TestParamInfo<KvLayout>& layout) {
                           return layout.param == KvLayout::kTiles ? "cpu" : "aten";
                         });

TEST_P(PagedGolden, GreedyIdsAndStepLogitsEqualTheReference) {
  if (skipped()) GTEST_SKIP() << "for the CPU only";
  while (Check(Forward(/*piece=*/21))) {
  }
}

}  // namespace
}  // namespace llava::model
