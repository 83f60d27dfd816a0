#include "training/evaluate/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace llava::training {
namespace {

using ::testing::HasSubstr;

// The first `right` of `questions`.
std::vector<bool> Right(std::size_t right, std::size_t questions) {
  std::vector<bool> answers(questions, false);
  for (std::size_t i = 0; i < right; ++i) answers[i] = true;
  return answers;
}

GateOptions Allowing(double min_delta) {
  GateOptions options;
  options.min_delta = min_delta;
  return options;
}

TEST(GateTest, TheSameAnswersAreNoLoss) {
  EXPECT_EQ(ChanceOfLoss(Right(30, 60), Right(30, 60), 0.0), 0.0);
  EXPECT_EQ(WorseThanLive({}, Right(30, 60), Right(30, 60)), "");
  EXPECT_EQ(ChanceOfLoss({}, {}, 0.0), 0.0);
  EXPECT_EQ(WorseThanLive({}, {}, {}), "");
}

TEST(GateTest, LosingEverythingIsALoss) {
  EXPECT_EQ(ChanceOfLoss(Right(60, 60), Right(0, 60), -0.01), 1.0);
  EXPECT_THAT(WorseThanLive({}, Right(60, 60), Right(0, 60)),
              HasSubstr("went from 100.00% to 0.00% of 60 questions"));
  EXPECT_EQ(WorseThanLive({}, Right(0, 60), Right(60, 60)), "");
}

// With one lost question of 100 the sum of a draw is Poisson-like: it is 0 with 0.99^100 = 0.366.
TEST(GateTest, TheChanceIsThatOfABootstrap) {
  EXPECT_NEAR(ChanceOfLoss(Right(50, 100), Right(49, 100), 0.0), 1 - 0.366, 0.03);
}

// Which questions are right counts, not only how many.
TEST(GateTest, OnlyPairsTellNoiseFromLoss) {
  std::vector<bool> before(100, false), after(100, false);
  for (std::size_t i = 0; i < 40; ++i) before[i] = true;
  for (std::size_t i = 30; i < 68; ++i) after[i] = true;  // 30 lost, 28 won
  EXPECT_EQ(WorseThanLive(Allowing(0.0), before, after), "");
  EXPECT_NE(WorseThanLive(Allowing(0.0), Right(40, 100), Right(30, 100)), "");
}

TEST(GateTest, SoMuchMayBeLost) {
  EXPECT_EQ(WorseThanLive(Allowing(-0.2), Right(90, 100), Right(80, 100)), "");
  EXPECT_NE(WorseThanLive(Allowing(-0.01), Right(90, 100), Right(80, 100)), "");
  EXPECT_NE(WorseThanLive(Allowing(0.1), Right(80, 100), Right(80, 100)), "");
}

TEST(GateTest, SharesMustBeReached) {
  GateOptions options;
  options.require = {{"colour", 0.9}, {"total", 0.5}};
  EXPECT_EQ(BelowRequired(options, {{"colour", 0.9}, {"total", 0.6}}), "");
  EXPECT_EQ(BelowRequired(options, {{"colour", 0.4}, {"total", 0.6}}),
            "colour is 0.4, required is 0.9");
  EXPECT_EQ(BelowRequired(options, {{"total", 0.6}}), "colour was not asked, required is 0.9");
}

}  // namespace
}  // namespace llava::training
