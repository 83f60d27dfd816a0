#include "server/scheduling/step_clock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>

namespace llava::scheduling {
namespace {

using std::chrono::milliseconds;

constexpr int kAny = std::numeric_limits<int>::max();

class StepClockTest : public ::testing::Test {
 protected:
  // 10 ms a step, 1 ms a row, 2 ms a part.
  void Learn() {
    for (const int rows : {5, 40, 100}) {
      times_.Forwarded({rows, 0}, rows, milliseconds(10 + rows));
    }
    times_.Encoded(10, milliseconds(20));
  }

  void Plan(int rows) { plan_.total_tokens += rows; }

  StepTimes times_;
  StepPlan plan_;
  StepClock clock_{&times_, milliseconds(100), &plan_};
};

TEST_F(StepClockTest, WithoutTimesAnyTimeWillDo) {
  StepClock clock(nullptr, {}, &plan_);
  clock.HasReader();
  clock.Encodes(1000);
  clock.PromptPlanned();
  EXPECT_EQ(clock.Tokens(0), kAny);
  EXPECT_GT(clock.Parts(0, 0), kAny);
  EXPECT_FALSE(clock.IsOver());
}

TEST_F(StepClockTest, WhileNobodyReadsTheFirstPromptHasAnyTimeAndTheNextHasWhatIsLeft) {
  Learn();
  EXPECT_EQ(clock_.Tokens(0), kAny);
  EXPECT_GT(clock_.Parts(0, 0), kAny);
  clock_.Encodes(20);
  EXPECT_EQ(clock_.Tokens(0), kAny) << "its own pictures do not count";
  Plan(30);
  clock_.PromptPlanned();
  EXPECT_NEAR(clock_.Tokens(0), 20, 1);
  EXPECT_FALSE(clock_.IsOver());
  Plan(20);
  EXPECT_LE(clock_.Tokens(0), 1);
  Plan(2);
  EXPECT_TRUE(clock_.IsOver());
}

TEST_F(StepClockTest, BesideReadersAStepHasItsTime) {
  Learn();
  clock_.HasReader();
  Plan(10);
  EXPECT_NEAR(clock_.Tokens(0), 80, 1);
  EXPECT_NEAR(static_cast<double>(clock_.Parts(0, 0)), 40, 1);
  EXPECT_NEAR(static_cast<double>(clock_.Parts(0, 30)), 25, 1) << "less what is before the image";
  clock_.Encodes(20);
  EXPECT_NEAR(clock_.Tokens(0), 40, 1);
}

TEST_F(StepClockTest, NewWorkHasHalfOfTheTimeWhateverTheDecodesTake) {
  Learn();
  clock_.HasReader();
  Plan(500);
  EXPECT_NEAR(clock_.Tokens(0), 50, 1);
  Plan(50);
  clock_.PromptPlanned();
  EXPECT_LE(clock_.Tokens(0), 1);
}

TEST_F(StepClockTest, TheFirstOfNewWorkIsASmallestPieceAtLeast) {
  for (const int rows : {1, 2, 3}) {
    times_.Forwarded({rows, 0}, rows, std::chrono::seconds(10 * rows));
  }
  times_.Encoded(1, std::chrono::seconds(5));
  clock_.HasReader();
  Plan(1);
  EXPECT_EQ(clock_.Tokens(0), StepClock::kLeastTokens);
  EXPECT_EQ(clock_.Parts(0, 0), 1);
  EXPECT_EQ(clock_.Parts(0, 3), 0) << "the tokens before the image come first";
  clock_.Encodes(1);
  EXPECT_EQ(clock_.Tokens(0), 0);
  EXPECT_EQ(clock_.Parts(0, 0), 0);
  EXPECT_TRUE(clock_.IsOver());
}

TEST_F(StepClockTest, BeginsWithFewTokensWhileNothingIsKnown) {
  clock_.HasReader();
  EXPECT_EQ(clock_.Tokens(0), StepTimes::kFirstTokens);
  EXPECT_EQ(clock_.Parts(0, 0), 1);
  clock_.PromptPlanned();
  EXPECT_EQ(clock_.Tokens(0), 0);
}

}  // namespace
}  // namespace llava::scheduling
