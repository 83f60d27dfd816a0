#include "training/evaluate/grade.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace llava::training {
namespace {

Grade Of(double value, std::vector<std::string> kinds) {
  Grade grade;
  grade.value = value;
  grade.kinds = std::move(kinds);
  return grade;
}

TEST(GradeTest, Table7OfThePaperIsWeightedByQuestion) {
  struct Row {
    int natural, social, language;
    double percent;
  };
  // Right answers of 2252 natural, 889 social and 1100 language questions.
  for (const Row& row : {Row{2035, 853, 968, 90.92}, Row{2035, 849, 974, 90.97},
                         Row{2062, 860, 1002, 92.53}, Row{1893, 653, 961, 82.69}}) {
    std::vector<Grade> grades;
    const auto add = [&](int right, int all, const char* kind) {
      for (int i = 0; i < all; ++i) grades.push_back(Of(i < right ? 1 : 0, {kind}));
    };
    add(row.natural, 2252, "NAT");
    add(row.social, 889, "SOC");
    add(row.language, 1100, "LAN");
    const ScoreTable table = MeanByKind(UnitsOf(grades, 1));
    EXPECT_DOUBLE_EQ(RoundTo(100 * table.at("total"), 2), row.percent);
    EXPECT_DOUBLE_EQ(table.at("SOC"), row.social / 889.0);
  }
}

TEST(GradeTest, WhatIsNotKnownDoesNotCount) {
  std::vector<Grade> grades = {Of(1, {"a"}), Of(0, {"a", "b"}), Of(0, {"a"})};
  grades[2].known = false;
  const ScoreTable table = MeanByKind(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(table.at("a"), 0.5);
  EXPECT_DOUBLE_EQ(table.at("b"), 0);
  EXPECT_DOUBLE_EQ(table.at("total"), 0.5);
  grades[0].known = grades[1].known = false;
  EXPECT_TRUE(MeanByKind(UnitsOf(grades, 1)).empty());
}

TEST(GradeTest, AllRoundsOfAQuestionMustBeRight) {
  const std::vector<Grade> grades = {Of(1, {"a"}), Of(1, {"a"}), Of(1, {"a"}), Of(0, {"a"})};
  EXPECT_DOUBLE_EQ(WholeUnitsByKind(UnitsOf(grades, 2)).at("total"), 0.5);
  EXPECT_DOUBLE_EQ(WholeUnitsByKind(UnitsOf(grades, 4)).at("a"), 0);
}

TEST(GradeTest, PopeCountsYesAsPositive) {
  std::vector<Grade> grades;
  const auto add = [&](int count, const char* said, const char* expected) {
    for (int i = 0; i < count; ++i) {
      grades.push_back({.said = said, .expected = expected, .kinds = {"random"}});
    }
  };
  add(6, "yes", "yes");
  add(2, "yes", "no");
  add(3, "no", "yes");
  add(1, "no", "no");
  const ScoreTable table = YesNoByKind(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(table.at("random/accuracy"), 7.0 / 12);
  EXPECT_DOUBLE_EQ(table.at("random/precision"), 0.75);
  EXPECT_DOUBLE_EQ(table.at("random/recall"), 6.0 / 9);
  EXPECT_DOUBLE_EQ(table.at("random/f1"), 12.0 / 17);
  EXPECT_DOUBLE_EQ(table.at("random/yes"), 8.0 / 12);
  grades.push_back({.said = "no", .expected = "no", .kinds = {"popular"}});
  const ScoreTable both = YesNoByKind(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(both.at("f1"), 6.0 / 17);  // of none there is a ratio of 0
  EXPECT_DOUBLE_EQ(both.at("total"), both.at("f1"));
}

TEST(GradeTest, MmeAddsAccuracyAndWholePictures) {
  const std::vector<Grade> grades = {Of(1, {"count"}),          Of(1, {"count"}),
                                     Of(1, {"count"}),          Of(0, {"count"}),
                                     Of(1, {"code_reasoning"}), Of(1, {"code_reasoning"})};
  const ScoreTable table = MmePoints(UnitsOf(grades, 2));
  EXPECT_DOUBLE_EQ(table.at("count"), 75 + 50);
  EXPECT_DOUBLE_EQ(table.at("perception"), 125);
  EXPECT_DOUBLE_EQ(table.at("cognition"), 200);
  EXPECT_DOUBLE_EQ(table.at("total"), 325);
}

TEST(GradeTest, MeansAreRoundedBeforeTheyAreDivided) {
  std::vector<Grade> grades;
  for (const auto& [reference, value] : {std::pair(9.0, 8.0), {9.0, 7.0}, {8.0, 7.0}}) {
    grades.push_back({.value = value, .reference = reference, .kinds = {"conv"}});
  }
  grades.push_back({.known = false, .kinds = {"conv"}});
  const ScoreTable table = RelativeByKind(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(table.at("conv"), 7.333 / 8.667);
  EXPECT_DOUBLE_EQ(table.at("total/reference"), 0.8667);
  EXPECT_DOUBLE_EQ(table.at("total/answer"), 0.7333);
}

TEST(GradeTest, RoundsAsPython) {
  EXPECT_EQ(RoundTo(2.675, 2), 2.67);  // the binary value is below the tie
  EXPECT_EQ(RoundTo(0.0625, 3), 0.062);
  EXPECT_EQ(RoundTo(0.1875, 3), 0.188);
  EXPECT_EQ(RoundTo(8, 3), 8);
}

TEST(GradeTest, IntervalsHoldTheScoreAndAreTheSameAgain) {
  std::vector<Grade> grades;
  for (int i = 0; i < 200; ++i) grades.push_back(Of(i % 4 == 0 ? 0 : 1, {"a"}));
  const std::vector<Unit> units = UnitsOf(grades, 1);
  const auto intervals = Bootstrap(units, MeanByKind);
  const Interval total = intervals.at("total");
  EXPECT_GT(total.low, 0.65);
  EXPECT_LT(total.low, 0.72);
  EXPECT_GT(total.high, 0.78);
  EXPECT_LT(total.high, 0.85);
  EXPECT_EQ(Bootstrap(units, MeanByKind).at("a").low, intervals.at("a").low);
  EXPECT_TRUE(Bootstrap({}, MeanByKind).empty());
}

}  // namespace
}  // namespace llava::training
