#include "training/evaluate/asking/report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Report, SaysScoresIntervalsAndWhatIsMissing) {
  EvaluationReport report;
  report.bench = "pope";
  report.judge = "labels";
  report.questions = 9;
  report.unanswered = 2;
  report.scores = {{"f1", 0.90919}};
  report.intervals = {{"f1", {0.9, 0.92}}};
  const std::string table = ReportTable(report);
  EXPECT_THAT(table, HasSubstr("pope, 9 questions, judge: labels\n"));
  EXPECT_THAT(table, HasSubstr("f1                          90.92  [90.00, 92.00]\n"));
  EXPECT_THAT(table, HasSubstr("2 questions without an answer count as wrong"));
  EXPECT_THAT(ReportJson(report),
              HasSubstr(R"("f1":{"value":9.0919E-1,"low":9E-1,"high":9.2E-1})"));
  EXPECT_EQ(ScoreText("mme", 1531.5), "1531.50");
  EXPECT_THAT(NotReached({"f1=0.9", "f1=0.95", "none=0", "f1"}, report.scores),
              testing::ElementsAre("f1=0.95", "none=0", "f1"));
  EXPECT_THAT(table, Not(HasSubstr("cost")));
  report.cost = 1.5;
  report.cost_of_run = 0.25;
  EXPECT_THAT(ReportTable(report), HasSubstr("cost 1.5000, of which this run 0.2500\n"));
  report.judge_failed = 1;
  EXPECT_THAT(ReportTable(report), HasSubstr("1 reviews without scores are left out"));
}

TEST(Report, ThePageShowsWrongAnswersAndEscapesThem) {
  test::BenchFolder folder;
  folder.Add("a.jpg", "one");
  Benchmark bench;
  bench.name = "rows";
  bench.questions.resize(2);
  bench.questions[0].prompt = "<script>";
  bench.questions[0].images = {folder.path() + "/a.jpg"};
  bench.questions[1].prompt = "right one";
  std::vector<Grade> grades(2);
  grades[0].expected = "a & b";
  grades[1].value = 1;
  const std::string page = WrongPage(bench, grades, {"<b>", "x"});
  EXPECT_THAT(page, HasSubstr("1 of 2 answers are wrong"));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(page, HasSubstr("a &amp; b"));
  EXPECT_THAT(page, HasSubstr("base64,b25l"));
  EXPECT_THAT(page, Not(HasSubstr("<script>")));
  EXPECT_THAT(page, Not(HasSubstr("right one")));
}

}  // namespace
}  // namespace llava::training
