#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"
#include "training/evaluate/benchmarks/choice_benches.h"

namespace llava::training {
namespace {

TEST(SeedBench, AsksForALetterAndCountsByType) {
  test::BenchFolder folder;
  folder.Add("SEED-Bench.json", R"({"questions": [
    {"question_id": "101", "question": "How many?", "choice_a": "One", "choice_b": "Two",
     "choice_c": "Three", "choice_d": "Four", "answer": "B", "question_type_id": 5,
     "data_type": "image", "data_id": "7_1"},
    {"question_id": "v2", "question": "What next?", "choice_a": "a", "choice_b": "b",
     "choice_c": "c", "choice_d": "d", "answer": "A", "question_type_id": 11,
     "data_type": "video", "data_id": "8.mp4"}],
    "question_type": {"Instances Counting": 5, "Action Prediction": 11}})");
  const auto bench = OpenSeed({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(
      bench->questions[0].prompt,
      "How many?\nA. One\nB. Two\nC. Three\nD. Four\nAnswer with the option's letter from the "
      "given choices directly.");
  EXPECT_EQ(bench->questions[0].id, boost::json::value(101));
  EXPECT_EQ(bench->questions[1].id, boost::json::value("v2"));
  EXPECT_EQ(bench->questions[0].image, "SEED-Bench-image/7_1");
  const auto grades = bench->grade({"B", "A."});  // only the letter itself is right
  const ScoreTable table = bench->score(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(table.at("Instances Counting"), 1);
  EXPECT_DOUBLE_EQ(table.at("video"), 0);
  EXPECT_DOUBLE_EQ(table.at("total"), 0.5);
  EXPECT_EQ(bench->submission({"B", "A."}).at("seed_bench.jsonl"),
            "{\"question_id\":\"101\",\"prediction\":\"B\"}\n"
            "{\"question_id\":\"v2\",\"prediction\":\"A.\"}\n");
  folder.Add("llava-seed-bench.jsonl",
             R"({"question_id": 101, "image": "other", "text": "As asked."})");
  EXPECT_EQ(OpenSeed({.data = folder.path()})->questions[0].prompt, "As asked.");
}

}  // namespace
}  // namespace llava::training
