#include "server/torch/step_inputs.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <vector>

#include "model/attention/kv_cache.h"

namespace llava::engine {
namespace {

using scheduling::BlockId;
using scheduling::SequenceId;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::int64_t> Values(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<std::int64_t>();
  return {data, data + tensor.numel()};
}

// Numbers that are read where they were written, and numbers that go to a device first.
class StepInputsTest : public testing::TestWithParam<bool> {
 protected:
  // Two chunks: of a prompt that has an image, and a decoded token.
  scheduling::StepPlan TwoChunks() const {
    scheduling::StepPlan plan;
    plan.chunks.push_back({SequenceId(1), 16, 0, prompt_, blocks_});
    plan.chunks.push_back({SequenceId(2), 7, 4, {&decoded_, 1}, {&block_, 1}});
    plan.image_rows.push_back({.first_row = 1, .feature = {}, .feature_row = 0, .count = 2});
    for (const int row : {3, 3, 4})
      plan.samples.push_back({row, SequenceId(1), nullptr, {}, {}, 0});
    plan.total_tokens = 5;
    return plan;
  }

  const std::vector<std::int32_t> prompt_ = {5, -200, -200, 6};
  const std::vector<BlockId> blocks_ = {BlockId(9), BlockId(4)};
  const std::int32_t decoded_ = 8;
  const BlockId block_{3};
  static model::KvCache TenBlocks() {
    const model::KvShape shape{
        .layers = 1, .kv_heads = 1, .head_dim = 8, .layout = model::KvLayout::kRows};
    return *model::KvCache::Create(shape, 10 * model::KvCache::BlockBytes(shape));
  }

  model::KvCache cache_ = TenBlocks();
  const std::unique_ptr<model::PagedAttention> attention_ = model::MakePagedAttention(cache_);
  StepInputs inputs_{model::StepBuffer(at::kCPU, /*copies=*/GetParam())};
};

TEST_P(StepInputsTest, AreTheNumbersOfThePlan) {
  inputs_.Refill(TwoChunks(), *attention_);
  EXPECT_THAT(Values(inputs_.ids_T()), ElementsAre(5, 0, 0, 6, 8));
  EXPECT_THAT(Values(inputs_.positions_T()), ElementsAre(16, 17, 18, 19, 7));
  EXPECT_THAT(Values(inputs_.rows_R()), ElementsAre(3, 4));
  EXPECT_THAT(inputs_.row_of_sample(), ElementsAre(0, 0, 1));
  ASSERT_EQ(inputs_.sequences().size(), 2u);
  const model::PagedSequence& chunk = inputs_.sequences()[0];
  EXPECT_EQ(chunk.first_row, 0);
  EXPECT_EQ(chunk.tokens, 4);
  EXPECT_EQ(chunk.context, 16);
  EXPECT_THAT(chunk.blocks, ElementsAre(9, 4));
  const model::PagedSequence& decode = inputs_.sequences()[1];
  EXPECT_EQ(decode.first_row, 4);
  EXPECT_EQ(decode.tokens, 1);
  EXPECT_EQ(decode.context, 7);
  EXPECT_THAT(decode.blocks, ElementsAre(3));
}

class Named final : public scheduling::Adapter {
 public:
  const Digest& digest() const override { return digest_; }

 private:
  const Digest digest_;
};

TEST_P(StepInputsTest, FindTheRowsOfEachAdapter) {
  const Named one, other;
  scheduling::StepPlan plan = TwoChunks();
  plan.chunks[0].adapter = &one;
  inputs_.Refill(plan, *attention_);
  ASSERT_EQ(inputs_.adapted().size(), 1u);
  EXPECT_EQ(inputs_.adapted()[0].adapter, &one);
  EXPECT_THAT(Values(inputs_.adapted()[0].rows_N), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Values(inputs_.adapted()[0].wanted_N), ElementsAre(0));
  EXPECT_THAT(Values(inputs_.rows_R()), ElementsAre(3, 4));
  plan.chunks[1].adapter = &other;
  inputs_.Refill(plan, *attention_);
  ASSERT_EQ(inputs_.adapted().size(), 2u);
  EXPECT_THAT(Values(inputs_.adapted()[1].rows_N), ElementsAre(4));
  EXPECT_THAT(Values(inputs_.adapted()[1].wanted_N), ElementsAre(1));
  plan.chunks[1].adapter = &one;
  inputs_.Refill(plan, *attention_);
  ASSERT_EQ(inputs_.adapted().size(), 1u);
  EXPECT_FALSE(inputs_.adapted()[0].rows_N.defined()) << "all rows need not be picked out";
  inputs_.Refill(TwoChunks(), *attention_);
  EXPECT_THAT(inputs_.adapted(), IsEmpty());
}

TEST_P(StepInputsTest, KeepNothingOfTheStepBefore) {
  inputs_.Refill(TwoChunks(), *attention_);
  scheduling::StepPlan plan;
  plan.chunks.push_back({SequenceId(2), 8, 0, {&decoded_, 1}, {&block_, 1}});
  plan.total_tokens = 1;
  inputs_.Refill(plan, *attention_);
  EXPECT_THAT(Values(inputs_.ids_T()), ElementsAre(8));
  EXPECT_THAT(Values(inputs_.positions_T()), ElementsAre(8));
  EXPECT_EQ(inputs_.rows_R().size(0), 0);
  EXPECT_THAT(inputs_.row_of_sample(), IsEmpty());
  EXPECT_EQ(inputs_.sequences().size(), 1u);
}

// The tables of the attention go with them: it reads what it wrote.
TEST_P(StepInputsTest, BringTheNumbersOfTheAttention) {
  const auto attend = [&](const at::Tensor& x) { return attention_->Forward(0, x, x, x); };
  at::manual_seed(3);
  const at::Tensor all = at::randn({20, 1, 8});
  const std::vector<std::int32_t> ids(20, 7);
  scheduling::StepPlan plan;
  plan.chunks.push_back({SequenceId(1), 0, 0, ids, blocks_});
  plan.total_tokens = 20;
  inputs_.Refill(plan, *attention_);
  const at::Tensor at_once = attend(all);
  for (const int first : {0, 17, 19}) {  // a first chunk, one with a context, a decoded token
    const int count = first == 0 ? 17 : first == 17 ? 2 : 1;
    plan.chunks.front() = {SequenceId(1), first, 0, std::span(ids).first(count), blocks_};
    plan.total_tokens = count;
    inputs_.Refill(plan, *attention_);
    const at::Tensor part = attend(all.narrow(0, first, count));
    EXPECT_TRUE(at::allclose(part, at_once.narrow(0, first, count), 1e-4, 1e-5)) << first;
  }
}

TEST_P(StepInputsTest, AStepLikeTheOneBeforeIsInTheSameMemory) {
  inputs_.Refill(TwoChunks(), *attention_);
  const void* const ids = inputs_.ids_T().const_data_ptr();
  const void* const rows = inputs_.rows_R().const_data_ptr();
  inputs_.Refill(TwoChunks(), *attention_);
  EXPECT_EQ(inputs_.ids_T().const_data_ptr(), ids);
  EXPECT_EQ(inputs_.rows_R().const_data_ptr(), rows);
}

INSTANTIATE_TEST_SUITE_P(Devices, StepInputsTest, testing::Bool(),
                         [](const auto& copies) { return copies.param ? "copies" : "reads"; });

}  // namespace
}  // namespace llava::engine
