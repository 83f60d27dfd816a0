#include "training/evaluate/score.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/data/scenes/write.h"
#include "training/evaluate/benchmarks.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST(ScoreTest, ForgivesCaseSpaceAndFullStop) {
  EXPECT_TRUE(IsRight("a red circle", " A red  circle. "));
  EXPECT_TRUE(IsRight("CAT", "cat"));
  EXPECT_TRUE(IsRight("7", "7"));
  EXPECT_FALSE(IsRight("top", "top left"));
  EXPECT_FALSE(IsRight("yes", ""));
  EXPECT_FALSE(IsRight("a red circle", "red circle"));
}

TEST(ScoreTest, ReadsEveryQuestionOfAScene) {
  test::TempDir dir;
  ASSERT_TRUE(scenes::WriteScenes({.count = 8, .seed = 3, .turns = 4}, dir.path()).ok());
  const auto items = ReadEvaluationItems(dir.path() + "/instruct.jsonl", 0);
  ASSERT_TRUE(items.ok()) << items.status();
  EXPECT_EQ(items->size(), 32u);
  for (const EvaluationItem& item : *items) {
    EXPECT_NE(item.kind, "all");
    EXPECT_EQ(item.images.size(), 1u);
    EXPECT_EQ(item.question.find("<image>"), std::string::npos);
    EXPECT_FALSE(item.answer.empty());
  }
  EXPECT_EQ(ReadEvaluationItems(dir.path() + "/instruct.jsonl", 2)->size(), 8u);
  EXPECT_EQ(ReadEvaluationItems(dir.path() + "/captions.jsonl", 1)->front().kind, "all");
  EXPECT_EQ(ReadEvaluationItems(dir.path() + "/none", 0).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ScoreTest, AddsUp) {
  const Scores scores = {{"colour", {4, 3}}, {"count", {6, 6}}};
  EXPECT_THAT(ToText(scores), HasSubstr("colour        75.00%  3 of 4"));
  EXPECT_THAT(ToText(scores), HasSubstr("total         90.00%  9 of 10"));
  EXPECT_EQ(Shares(scores).at("total"), 0.9);
  EXPECT_EQ(KindScore().share(), 0.0);
}

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

}  // namespace
}  // namespace llava::training
