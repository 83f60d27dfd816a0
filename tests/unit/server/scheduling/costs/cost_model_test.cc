#include "server/scheduling/costs/cost_model.h"

#include <gtest/gtest.h>

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint kNow{seconds(100)};
constexpr Work kPrompt{.prompt_tokens = 100, .images = 0, .decode_steps = 0};
constexpr Work kImage{.prompt_tokens = 0, .images = 1, .decode_steps = 0};
constexpr Work kDecode{.prompt_tokens = 0, .images = 0, .decode_steps = 10};

void Decodes(CostModel& model, int steps, Duration each) {
  for (int i = 0; i < steps; ++i) model.StepDone(0, 4, 0, {}, each, kNow);
}

TEST(CostModelTest, KnowsNothingAtFirstAndLearns) {
  CostModel model;
  const Work work{.prompt_tokens = 100, .images = 1, .decode_steps = 10};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(model.Estimate(work, kNow), Duration{}) << i << " measurements are no evidence";
    model.StepDone(200, 0, 2, milliseconds(60), milliseconds(100), kNow);
    model.StepDone(0, 4, 0, {}, milliseconds(7), kNow);
  }
  EXPECT_EQ(model.Estimate(work, kNow), milliseconds(30 + 50 + 70));
  EXPECT_EQ(model.Estimate(kImage, kNow), milliseconds(30));
  EXPECT_EQ(model.Estimate(kPrompt, kNow), milliseconds(50));
  EXPECT_EQ(model.Estimate(kDecode, kNow), milliseconds(70));
}

TEST(CostModelTest, DecodesBesideAPromptShareItsStep) {
  CostModel model;
  for (int i = 0; i < 3; ++i) model.StepDone(60, 40, 0, {}, milliseconds(100), kNow);
  EXPECT_EQ(model.Estimate(kPrompt, kNow), milliseconds(100));
  EXPECT_EQ(model.Estimate(kDecode, kNow), Duration{});
}

TEST(CostModelTest, AShortPromptSaysNothingAboutOneToken) {
  CostModel model;
  for (int i = 0; i < 3; ++i) model.StepDone(15, 0, 0, {}, milliseconds(150), kNow);
  EXPECT_EQ(model.Estimate(kPrompt, kNow), Duration{});
  EXPECT_EQ(model.Estimate(kDecode, kNow), Duration{});
  for (int i = 0; i < 3; ++i) model.StepDone(16, 0, 0, {}, milliseconds(16), kNow);
  EXPECT_EQ(model.Estimate(kPrompt, kNow), milliseconds(100));
}

// A paused virtual machine, a throttled container: one step took two minutes.
TEST(CostModelTest, AnOutlierDoesNotEnter) {
  CostModel model;
  Decodes(model, 30, milliseconds(5));
  const Duration before = model.Estimate(kDecode, kNow);
  Decodes(model, 1, seconds(130));
  EXPECT_EQ(model.Estimate(kDecode, kNow), before);
  Decodes(model, 10, seconds(130));  // and not even many
  EXPECT_EQ(model.Estimate(kDecode, kNow), before);
}

TEST(CostModelTest, ASlowFirstStepIsNotBelieved) {
  CostModel model;
  Decodes(model, 1, seconds(130));
  EXPECT_EQ(model.Estimate(kDecode, kNow), Duration{});
  Decodes(model, 2, milliseconds(5));
  EXPECT_EQ(model.Estimate(kDecode, kNow), milliseconds(50));
}

TEST(CostModelTest, ADeviceThatBecameSlowIsBelieved) {
  CostModel model;
  Decodes(model, 30, milliseconds(5));
  Decodes(model, 13, milliseconds(50));
  EXPECT_EQ(model.Estimate(kDecode, kNow), milliseconds(500));
}

TEST(CostModelTest, AFewQuickStepsHealALongStutter) {
  CostModel model;
  Decodes(model, 100, seconds(13));
  EXPECT_EQ(model.Estimate(kDecode, kNow), seconds(130));
  Decodes(model, 4, milliseconds(5));
  EXPECT_EQ(model.Estimate(kDecode, kNow), milliseconds(50));
}

TEST(CostModelTest, WhatIsNotMeasuredAgainIsForgotten) {
  CostModel model;
  Decodes(model, 100, seconds(8));
  EXPECT_EQ(model.Estimate(kDecode, kNow), seconds(80));
  EXPECT_EQ(model.Estimate(kDecode, kNow + CostModel::kHalfLife), seconds(40));
  EXPECT_EQ(model.Estimate(kDecode, kNow + 3 * CostModel::kHalfLife), seconds(10));
  EXPECT_LT(model.Estimate(kDecode, kNow + std::chrono::minutes(2)), milliseconds(20));
}

// Prompts are computed all the time and are no news of decodes.
TEST(CostModelTest, EachKindOfWorkAgesAlone) {
  CostModel model;
  Decodes(model, 3, seconds(8));
  const TimePoint later = kNow + CostModel::kHalfLife;
  for (int i = 0; i < 3; ++i) model.StepDone(100, 0, 1, seconds(2), seconds(4), later);
  EXPECT_EQ(model.Estimate(kDecode, later), seconds(40));
  EXPECT_EQ(model.Estimate(kPrompt, later), seconds(4));
  EXPECT_EQ(model.Estimate(kImage, later), seconds(2));
}

}  // namespace
}  // namespace llava::scheduling
