#include "training/evaluate/benchmarks/rows_bench.h"

#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

TEST(RowsBench, AsksEachQuestionWithOrWithoutWhatWasSaid) {
  test::BenchFolder folder;
  folder.Add("rows.json", R"([{"id": "1", "image": "a.png", "kinds": ["colour", "count"],
    "conversations": [{"from": "human", "value": "<image>\nWhich?"},
    {"from": "gpt", "value": "Red"},
    {"from": "human", "value": "How many?"}, {"from": "gpt", "value": "two"}]}])");
  BenchOptions options{.data = folder.path() + "/rows.json", .images = "pictures"};
  const auto bench = OpenRows(options);
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 2u);
  EXPECT_EQ(bench->questions[0].prompt, "Which?");
  EXPECT_EQ(bench->questions[1].images[0], "pictures/a.png");
  EXPECT_TRUE(bench->questions[1].history.empty());
  const ScoreTable table = bench->score(UnitsOf(bench->grade({"red.", "3"}), 1));
  EXPECT_DOUBLE_EQ(table.at("colour"), 1);
  EXPECT_DOUBLE_EQ(table.at("count"), 0);
  options.history = true;
  const auto history = OpenRows(options)->questions[1].history;
  ASSERT_EQ(history.size(), 1u);
  EXPECT_EQ(history[0], std::pair(std::string("Which?"), std::string("Red")));
}

TEST(RowsBench, MetricsDifferInWhatTheyForgive) {
  const auto right = [](const std::string& metric, const char* expected, const char* answer) {
    return (*RowMetricByName(metric))(expected, answer);
  };
  EXPECT_FALSE(right("exact", "red", "It is red"));
  EXPECT_TRUE(right("contains", "red", "It is Red."));
  EXPECT_FALSE(right("contains", "red", "It is bored"));
  EXPECT_TRUE(right("vqa", "two dogs", "2 dogs"));
  EXPECT_TRUE(right("number", "3", "There are three."));
  EXPECT_FALSE(right("number", "3", "There are some."));
  EXPECT_FALSE(right("number", "some", "some"));
  EXPECT_TRUE(right("letter", "B", "(B) blue"));
  EXPECT_FALSE(RowMetricByName("bleu").ok());
}

}  // namespace
}  // namespace llava::training
