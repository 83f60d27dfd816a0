#include "server/registry/canary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace llava::registry {
namespace {

using ::testing::HasSubstr;

class CanaryJudgeTest : public ::testing::Test {
 protected:
  void Canary(int answers, const Observation& observation) {
    for (int i = 0; i < answers; ++i) judge_.AddCanary(observation);
  }
  void Live(int answers, const Observation& observation) {
    for (int i = 0; i < answers; ++i) judge_.AddLive(observation);
  }
  Verdict Judge(Duration after = {}) {
    const Judgement judgement = judge_.Judge(TimePoint{} + after);
    reason_ = judgement.reason;
    cause_ = judgement.cause;
    only_late_ = judgement.only_late;
    return judgement.verdict;
  }

  CanaryJudge judge_{{}, TimePoint{}};
  std::string reason_, cause_;
  bool only_late_ = false;
};

TEST_F(CanaryJudgeTest, WaitsForEnoughAnswers) {
  Canary(19, {.failed = true});
  EXPECT_EQ(Judge(), Verdict::kWait);
  Canary(1, {.failed = true});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_THAT(reason_, HasSubstr("error rate 1"));
}

TEST_F(CanaryJudgeTest, PromotesAfterEnoughGoodAnswersOrTime) {
  Canary(199, {});
  EXPECT_EQ(Judge(), Verdict::kWait);
  EXPECT_EQ(Judge(std::chrono::minutes(10)), Verdict::kPromote);
  Canary(1, {});
  EXPECT_EQ(Judge(), Verdict::kPromote);
}

TEST_F(CanaryJudgeTest, ComparesWithTheLiveVersion) {
  Canary(90, {});
  Canary(10, {.degenerate = true});
  Live(90, {});
  Live(10, {.empty = true});
  EXPECT_EQ(Judge(), Verdict::kWait);  // the live one is just as bad
  Canary(10, {.empty = true});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_THAT(reason_, HasSubstr("empty or degenerate"));
}

TEST_F(CanaryJudgeTest, OneBadAnswerIsChance) {
  Canary(19, {});
  Canary(1, {.failed = true});
  EXPECT_EQ(Judge(), Verdict::kWait);
}

TEST_F(CanaryJudgeTest, SlowerIsWorse) {
  Canary(30, {.first_token_seconds = 0.2, .next_token_seconds = 0.01});
  Live(30, {.first_token_seconds = 0.2, .next_token_seconds = 0.01});
  EXPECT_EQ(Judge(), Verdict::kWait);
  Canary(60, {.first_token_seconds = 0.2, .next_token_seconds = 0.03});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_THAT(reason_, HasSubstr("inter-token"));
}

TEST_F(CanaryJudgeTest, AStutterOfTheMachineIsNoVerdict) {
  Live(30, {.first_token_seconds = 0.2, .next_token_seconds = 0.01});
  Canary(28, {.first_token_seconds = 0.2, .next_token_seconds = 0.01});
  // The machine stood still for two minutes while these two were answered.
  Canary(2, {.first_token_seconds = 130, .next_token_seconds = 20});
  EXPECT_EQ(Judge(), Verdict::kWait);
}

TEST_F(CanaryJudgeTest, WhatOnlyTimeSaysIsNotFinal) {
  Live(30, {.first_token_seconds = 0.1});
  Canary(30, {.first_token_seconds = 130});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_TRUE(only_late_);
  Canary(10, {.failed = true});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_EQ(cause_, "failures");
  EXPECT_FALSE(only_late_);
}

TEST_F(CanaryJudgeTest, DeadlinesThatPassedAreAQuestionOfTimeToo) {
  Live(30, {});
  Canary(30, {});
  Canary(10, {.failed = true, .late = true});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_EQ(cause_, "failures");
  EXPECT_TRUE(only_late_);
}

TEST_F(CanaryJudgeTest, AVersionThatIsSlowForSomeIsSlow) {
  Live(100, {.first_token_seconds = 0.1});
  Canary(70, {.first_token_seconds = 0.1});
  Canary(30, {.first_token_seconds = 0.5});  // for those with an image, perhaps
  EXPECT_EQ(Judge(), Verdict::kRollBack);
}

TEST_F(CanaryJudgeTest, WhenTheTimeIsOverFewAnswersMustDo) {
  Canary(3, {.failed = true});
  EXPECT_EQ(Judge(), Verdict::kWait);
  EXPECT_EQ(Judge(std::chrono::minutes(10)), Verdict::kRollBack);
  EXPECT_EQ(cause_, "failures");
}

TEST_F(CanaryJudgeTest, LessSureOfItsWordsIsWorse) {
  Live(30, {.mean_logprob = -0.2});
  Canary(30, {.mean_logprob = -0.5});
  EXPECT_EQ(Judge(), Verdict::kWait);
  Canary(90, {.mean_logprob = -2.0});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_EQ(cause_, "less_sure");
}

TEST_F(CanaryJudgeTest, NotKnowingWhenToStopIsWorse) {
  Canary(30, {.endless = true});
  EXPECT_EQ(Judge(), Verdict::kWait);  // nothing to compare with: clients may want it so
  Live(20, {});
  Live(20, {.endless = true});
  EXPECT_EQ(Judge(), Verdict::kWait);
  Live(1, {});
  EXPECT_EQ(Judge(), Verdict::kRollBack);
  EXPECT_EQ(cause_, "endless_answers");
  EXPECT_THAT(reason_, HasSubstr("went on until max_tokens 1, live 0.48"));
}

TEST(IsDegenerateTest, FindsWhatIsNoText) {
  EXPECT_TRUE(IsDegenerate("o\x06z cen"));
  EXPECT_TRUE(IsDegenerate("It is \xEF\xBF\xBD red"));
  EXPECT_TRUE(IsDegenerate("\x7F"));
  EXPECT_FALSE(IsDegenerate("Sch\xC3\xB6n, \xE7\xBA\xA2\xE8\x89\xB2\n\t1.\r\n"));
  EXPECT_FALSE(IsDegenerate("cut by max_tokens: \xEF\xBF\xBD"));
}

TEST(IsDegenerateTest, FindsRepetition) {
  EXPECT_TRUE(IsDegenerate(std::string(300, 'a')));
  EXPECT_TRUE(IsDegenerate("It is red red red red red red red"));
  EXPECT_FALSE(IsDegenerate("It is red, very red, red as a rose."));
  EXPECT_FALSE(IsDegenerate(""));
  std::string text = "It shows ";
  for (int i = 0; i < 40; ++i) text += "a red car and ";
  EXPECT_TRUE(IsDegenerate(text));
  EXPECT_FALSE(IsDegenerate("a a a"));
  std::string varied;
  for (int i = 0; i < 100; ++i) varied += std::to_string(i * i) + " ";
  EXPECT_FALSE(IsDegenerate(varied));
}

}  // namespace
}  // namespace llava::registry
