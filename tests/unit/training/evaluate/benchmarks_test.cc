#include "training/evaluate/benchmarks.h"

#include "gtest/gtest.h"

namespace llava::training {
namespace {

TEST(PopeTest, ReadsLikeTheReference) {
  EXPECT_TRUE(PopeSaysYes("Yes, there is."));
  EXPECT_TRUE(PopeSaysYes("There is a dog. It is not red."));  // only the first sentence counts
  EXPECT_TRUE(PopeSaysYes("Nothing"));                         // whole words
  EXPECT_FALSE(PopeSaysYes("No, there isn't"));
  EXPECT_FALSE(PopeSaysYes("There is no dog"));
  EXPECT_FALSE(PopeSaysYes("I do not see one."));
  PopeScore score;
  for (int i = 0; i < 6; ++i) score.Add(true, true);
  for (int i = 0; i < 2; ++i) score.Add(true, false);
  for (int i = 0; i < 3; ++i) score.Add(false, true);
  score.Add(false, false);
  EXPECT_DOUBLE_EQ(score.Accuracy(), 7.0 / 12);
  EXPECT_DOUBLE_EQ(score.Precision(), 0.75);
  EXPECT_DOUBLE_EQ(score.Recall(), 6.0 / 9);
  EXPECT_DOUBLE_EQ(score.F1(), 12.0 / 17);
  EXPECT_DOUBLE_EQ(score.YesShare(), 8.0 / 12);
  EXPECT_EQ(PopeScore().F1(), 0.0);
}

TEST(ScienceQaTest, ReadsLikeTheReference) {
  EXPECT_EQ(ParseScienceQaAnswer("B", 4), 1);
  EXPECT_EQ(ParseScienceQaAnswer("C. Because", 4), 2);
  EXPECT_EQ(ParseScienceQaAnswer("It melts. The answer is D.", 4), 3);
  EXPECT_EQ(ParseScienceQaAnswer("The answer is A. The answer is B.", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("E", 4), -1);  // no such choice
  EXPECT_EQ(ParseScienceQaAnswer("F", 9), -1);
  EXPECT_EQ(ParseScienceQaAnswer("b", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("", 4), -1);
}

TEST(ReviewTest, ReadsScoresAndSummarisesLikeTheReference) {
  EXPECT_EQ(ParseReviewScores("8 9\nBecause"), std::make_pair(8.0, 9.0));
  EXPECT_EQ(ParseReviewScores("8,7.5"), std::make_pair(8.0, 7.5));
  EXPECT_EQ(ParseReviewScores("8, 7"), std::make_pair(-1.0, -1.0));  // two spaces: three parts
  EXPECT_EQ(ParseReviewScores("8 9 \n"), std::make_pair(-1.0, -1.0));
  EXPECT_EQ(ParseReviewScores("Assistant 1: 8"), std::make_pair(-1.0, -1.0));
  const auto summary = SummariseReviews({{"conv", {10, 8}}, {"conv", {10, 9}}, {"detail", {5, 4}}});
  EXPECT_DOUBLE_EQ(summary.at("conv"), 85);
  EXPECT_DOUBLE_EQ(summary.at("detail"), 80);
  EXPECT_DOUBLE_EQ(summary.at("all"), 84);
}

// Words are what stands between spaces once the commas are gone, and case counts.
TEST(PopeTest, KeepsTheReferencesQuirks) {
  EXPECT_TRUE(PopeSaysYes(""));
  EXPECT_TRUE(PopeSaysYes("NO"));
  EXPECT_TRUE(PopeSaysYes(". No"));
  EXPECT_TRUE(PopeSaysYes("Well,no"));
  EXPECT_FALSE(PopeSaysYes("Well, no"));
  EXPECT_TRUE(PopeSaysYes("Not at all"));
}

TEST(PopeTest, SharesOfNothingAreZero) {
  const PopeScore none;
  EXPECT_EQ(none.Accuracy(), 0.0);
  EXPECT_EQ(none.Precision(), 0.0);
  EXPECT_EQ(none.Recall(), 0.0);
  EXPECT_EQ(none.YesShare(), 0.0);
  EXPECT_TRUE(SummariseReviews({}).empty());
  EXPECT_EQ(SummariseReviews({{"conv", {0, 7}}}).at("conv"), 0.0);
}

TEST(ScienceQaTest, TakesALetterWithAFullStopAndASpaceOnly) {
  EXPECT_EQ(ParseScienceQaAnswer("A.", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("A.Because", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("A cat", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("E. Because", 5), 4);
  EXPECT_EQ(ParseScienceQaAnswer("D", 4), 3);  // the last choice
  EXPECT_EQ(ParseScienceQaAnswer("The answer is D", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("The answer is d.", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("The answer is E.", 4), -1);
  EXPECT_EQ(ParseScienceQaAnswer("The answer is A", 4), -1);  // cut before its full stop
}

}  // namespace
}  // namespace llava::training
