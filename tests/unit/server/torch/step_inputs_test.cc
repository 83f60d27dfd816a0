#include "server/torch/step_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

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

class StepInputsTest : public testing::Test {
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
  StepInputs inputs_{at::kCPU};
};

TEST_F(StepInputsTest, AreTheNumbersOfThePlan) {
  inputs_.Refill(TwoChunks());
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

TEST_F(StepInputsTest, FindTheRowsOfEachAdapter) {
  const Named one, other;
  scheduling::StepPlan plan = TwoChunks();
  plan.chunks[0].adapter = &one;
  inputs_.Refill(plan);
  ASSERT_EQ(inputs_.adapted().size(), 1u);
  EXPECT_EQ(inputs_.adapted()[0].adapter, &one);
  EXPECT_THAT(Values(inputs_.adapted()[0].rows_N), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Values(inputs_.adapted()[0].wanted_N), ElementsAre(0));
  EXPECT_THAT(Values(inputs_.rows_R()), ElementsAre(3, 4));
  plan.chunks[1].adapter = &other;
  inputs_.Refill(plan);
  ASSERT_EQ(inputs_.adapted().size(), 2u);
  EXPECT_THAT(Values(inputs_.adapted()[1].rows_N), ElementsAre(4));
  EXPECT_THAT(Values(inputs_.adapted()[1].wanted_N), ElementsAre(1));
  plan.chunks[1].adapter = &one;
  inputs_.Refill(plan);
  ASSERT_EQ(inputs_.adapted().size(), 1u);
  EXPECT_FALSE(inputs_.adapted()[0].rows_N.defined()) << "all rows need not be picked out";
  inputs_.Refill(TwoChunks());
  EXPECT_THAT(inputs_.adapted(), IsEmpty());
}

TEST_F(StepInputsTest, KeepNothingOfTheStepBefore) {
  inputs_.Refill(TwoChunks());
  scheduling::StepPlan plan;
  plan.chunks.push_back({SequenceId(2), 8, 0, {&decoded_, 1}, {&block_, 1}});
  plan.total_tokens = 1;
  inputs_.Refill(plan);
  EXPECT_THAT(Values(inputs_.ids_T()), ElementsAre(8));
  EXPECT_THAT(Values(inputs_.positions_T()), ElementsAre(8));
  EXPECT_EQ(inputs_.rows_R().size(0), 0);
  EXPECT_THAT(inputs_.row_of_sample(), IsEmpty());
  EXPECT_EQ(inputs_.sequences().size(), 1u);
}

TEST_F(StepInputsTest, AStepLikeTheOneBeforeIsInTheSameMemory) {
  inputs_.Refill(TwoChunks());
  const void* const ids = inputs_.ids_T().const_data_ptr();
  const void* const rows = inputs_.rows_R().const_data_ptr();
  inputs_.Refill(TwoChunks());
  EXPECT_EQ(inputs_.ids_T().const_data_ptr(), ids);
  EXPECT_EQ(inputs_.rows_R().const_data_ptr(), rows);
}

}  // namespace
}  // namespace llava::engine
