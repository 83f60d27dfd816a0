#include "training/evaluate/benchmarks/yes_no_benches.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

constexpr char kLabels[] =
    "{\"question_id\": 1, \"image\": \"a.jpg\", \"text\": \"Is there a dog?\", \"label\": "
    "\"yes\"}\n"
    "{\"question_id\": 2, \"image\": \"a.jpg\", \"text\": \"Is there a cat?\", \"label\": "
    "\"no\"}\n";

TEST(YesNoBenches, PopeHasThreeFiles) {
  test::BenchFolder folder;
  folder.Add("coco/coco_pope_random.json", kLabels).Add("coco/coco_pope_popular.json", kLabels);
  const auto bench = OpenPope({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 4u);
  EXPECT_EQ(bench->questions[3].id, boost::json::value(4));  // ids of the files repeat
  EXPECT_EQ(bench->questions[0].prompt,
            "Is there a dog?\nAnswer the question using a single word or phrase.");
  const auto grades = bench->grade({"Yes", "No", "No", "No"});
  const ScoreTable table = bench->score(UnitsOf(grades, 1));
  EXPECT_DOUBLE_EQ(table.at("popular/f1"), 1);
  EXPECT_DOUBLE_EQ(table.at("random/accuracy"), 0.5);
  folder.Add("llava_pope_test.jsonl",
             "{\"question_id\": 71, \"image\": \"z.jpg\", \"text\": \"A?\", \"category\": "
             "\"random\"}\n{\"question_id\": 72, \"image\": \"z.jpg\", \"text\": \"B?\", "
             "\"category\": \"random\"}\n");
  const auto given = OpenPope({.data = folder.path()});
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_EQ(given->questions[2].id, boost::json::value(71));
  EXPECT_TRUE(absl::IsNotFound(OpenPope({.data = "/nowhere"}).status()));
}

TEST(YesNoBenches, MmeHasTwoQuestionsAPicture) {
  test::BenchFolder folder;
  const std::string text =
      "Is it 2? Please answer yes or no.\tYes\nIs it 3? Please answer yes or "
      "no.\tNo\n";
  folder.Add("MME_Benchmark_release_version/count/1.txt", text);
  folder.Add("MME_Benchmark_release_version/count/1.jpg", "x");
  folder.Add("MME_Benchmark_release_version/posters/questions_answers_YN/tt1.txt", text);
  folder.Add("MME_Benchmark_release_version/posters/images/tt1.png", "x");
  const auto bench = OpenMme({.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  ASSERT_EQ(bench->questions.size(), 4u);
  EXPECT_EQ(bench->questions[0].id, boost::json::value("count/1.jpg"));
  EXPECT_EQ(bench->questions[0].prompt,
            "Is it 2?\nAnswer the question using a single word or phrase.");  // as LLaVA asks
  const auto grades = bench->grade({"Yes", "No.", "yes", "Yes"});
  const ScoreTable table = bench->score(UnitsOf(*bench, grades));
  EXPECT_DOUBLE_EQ(table.at("count"), 200);
  EXPECT_DOUBLE_EQ(table.at("posters"), 50);
  EXPECT_EQ(bench->submission({"Yes", "No.\nx", "yes", "Yes"}).at("count.txt"),
            "1.jpg\tIs it 2? Please answer yes or no.\tYes\tYes\n"
            "1.jpg\tIs it 3? Please answer yes or no.\tNo\tNo. x\n");
  EXPECT_THAT(bench->submission({"", "No", "yes", "Yes"}).at("count.txt"), HasSubstr("Yes\t-\n"));
  folder.Add("MME_Benchmark_release_version/count/2.txt", "One?\tYes\n");
  EXPECT_THAT(std::string(OpenMme({.data = folder.path()}).status().message()),
              HasSubstr("expected a picture"));
}

}  // namespace
}  // namespace llava::training
