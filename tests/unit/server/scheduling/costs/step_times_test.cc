#include "server/scheduling/costs/step_times.h"

#include <gtest/gtest.h>

#include <chrono>

namespace llava::scheduling {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// 10 ms a step, 1 ms a row, 1 us a key.
Duration Cost(const StepShape& shape) {
  return milliseconds(10 + shape.rows) + microseconds(shape.keys);
}

StepShape Prompt(int start, int count) { return {count, KeysOf(start, count)}; }

void Prompts(StepTimes& times, int start, int count, int steps = 1) {
  for (int i = 0; i < steps; ++i) {
    times.Forwarded(Prompt(start, count), count, Cost(Prompt(start, count)));
  }
}

void Decodes(StepTimes& times, int rows, int keys, int steps = 1) {
  for (int i = 0; i < steps; ++i) times.Forwarded({rows, keys}, 0, Cost({rows, keys}));
}

TEST(StepTimesTest, KeysAreThoseBeforeATokenAndItself) {
  EXPECT_EQ(KeysOf(0, 3), 1 + 2 + 3);
  EXPECT_EQ(KeysOf(10, 2), 11 + 12);
  EXPECT_EQ(KeysOf(10, 0), 0);
}

TEST(StepTimesTest, KnowsNothingAtFirst) {
  StepTimes times;
  EXPECT_FALSE(times.KnowsPrompts());
  EXPECT_EQ(times.Forward({100, 1000}), 0);
  EXPECT_EQ(times.Parts(1000), 1);
  EXPECT_EQ(times.OfParts(3), 0);
  Decodes(times, 4, 100);
  EXPECT_FALSE(times.KnowsPrompts());
}

TEST(StepTimesTest, LearnsWhatAStepARowAndAKeyCost) {
  StepTimes times;
  Prompts(times, 0, 100);
  Prompts(times, 1000, 50);
  Prompts(times, 0, 20);
  Decodes(times, 4, 2000);
  EXPECT_NEAR(times.Forward({64, 10'000}), Seconds(Cost({64, 10'000})), 1e-4);
  EXPECT_NEAR(times.Forward({1, 1}), 0.011, 1e-4);
}

// The same time buys fewer tokens of a long prompt.
TEST(StepTimesTest, LateChunksAreDearer) {
  StepTimes times;
  Prompts(times, 0, 100);
  Prompts(times, 1000, 50);
  Prompts(times, 0, 20);
  Decodes(times, 4, 2000);
  for (const int start : {0, 1000, 4000}) {
    const int tokens = times.PromptTokens(start, 0.1);
    EXPECT_LE(Cost(Prompt(start, tokens)) - milliseconds(10), milliseconds(100)) << start;
    EXPECT_GT(Cost(Prompt(start, tokens + 2)) - milliseconds(10), milliseconds(100)) << start;
  }
}

TEST(StepTimesTest, GrowsToTwiceWhatWasMeasured) {
  StepTimes times;
  Prompts(times, 0, 30);
  EXPECT_EQ(times.PromptTokens(0, 1000), 60);
  Prompts(times, 0, 5);
  EXPECT_EQ(times.PromptTokens(0, 1000), 60);
  StepTimes few;
  Prompts(few, 0, 2);
  EXPECT_EQ(few.PromptTokens(0, 1000), StepTimes::kFirstTokens);
  EXPECT_EQ(few.PromptTokens(0, -1), 0);
}

// A step that took two minutes because the machine was paused is neither believed nor forgotten
// for: what was learned before goes on, except that the next step is careful.
TEST(StepTimesTest, AnOutlierDoesNotEnter) {
  StepTimes times;
  Prompts(times, 0, 100, 4);
  Prompts(times, 0, 20, 4);
  Decodes(times, 4, 100, 4);
  times.Forwarded(Prompt(0, 50), 50, seconds(120));
  EXPECT_GT(times.Forward({50, 1275}), 50);
  Prompts(times, 0, 50);
  EXPECT_NEAR(times.Forward({50, 1275}), Seconds(Cost({50, 1275})), 0.005);
}

TEST(StepTimesTest, ADeviceThatBecameSlowIsBelievedAtOnce) {
  StepTimes times;
  Prompts(times, 0, 100, 8);
  Prompts(times, 0, 20, 8);
  times.Forwarded(Prompt(0, 20), 20, 3 * Cost(Prompt(0, 20)));
  EXPECT_NEAR(times.Forward(Prompt(0, 100)), 3 * Seconds(Cost(Prompt(0, 100))), 0.1);
}

// Long answers between two prompts do not push out what prompts cost.
TEST(StepTimesTest, DecodesAreRememberedApart) {
  StepTimes times;
  Prompts(times, 0, 100, 3);
  Prompts(times, 0, 20, 3);
  Decodes(times, 4, 1000, 500);
  EXPECT_NEAR(times.Forward({104, 6050}), Seconds(Cost({104, 6050})), 0.002);
}

// While all steps are alike, nothing tells a row from a step; still no cost is below 0.
TEST(StepTimesTest, StepsThatAreAlike) {
  StepTimes times;
  Prompts(times, 0, 64, 20);
  EXPECT_NEAR(times.Forward(Prompt(0, 64)), Seconds(Cost(Prompt(0, 64))), 1e-4);
  EXPECT_GE(times.Forward({1, 1}), 0);
  EXPECT_LE(times.Forward({1, 1}), times.Forward(Prompt(0, 64)));
  EXPECT_GE(times.PromptTokens(0, 0.08), 50);
}

TEST(StepTimesTest, APartOfTheTowerCostsWhatItTypicallyDid) {
  StepTimes times;
  for (int i = 0; i < 3; ++i) times.Encoded(10, milliseconds(50));
  EXPECT_EQ(times.Parts(0.0501), 10);
  EXPECT_EQ(times.Parts(0.004), 0);
  EXPECT_NEAR(times.OfParts(4), 0.02, 1e-9);
  times.Encoded(1, milliseconds(25));  // dearer: believed
  EXPECT_EQ(times.Parts(0.0501), 2);
  times.Encoded(1, milliseconds(1));  // cheaper: one of four
  EXPECT_EQ(times.Parts(0.0501), 10);
  times.Encoded(0, seconds(1));
  EXPECT_EQ(times.Parts(0.0501), 10);
}

}  // namespace
}  // namespace llava::scheduling
