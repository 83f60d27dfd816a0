#include "training/evaluate/benchmarks/benchmark.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"

namespace llava::training {
namespace {

TEST(BenchmarkTest, NamesLeadToFiles) {
  test::BenchFolder folder;
  test::AddLlavaBench(&folder);
  const auto bench = OpenBenchmark("llava_bench_coco", {.data = folder.path(), .limit = 1});
  ASSERT_TRUE(bench.ok()) << bench.status();
  EXPECT_EQ(bench->questions.size(), 1u);
  EXPECT_EQ(bench->judged.size(), 1u);
  EXPECT_THAT(std::string(OpenBenchmark("mmlu", {}).status().message()),
              testing::HasSubstr("expected gqa, llava_bench_coco"));
  for (const std::string& name : BenchmarkNames()) {
    EXPECT_FALSE(OpenBenchmark(name, {.data = "/nowhere", .scratch = "/nowhere"}).ok()) << name;
  }
}

TEST(BenchmarkTest, FingerprintsTellQuestionsPicturesAndReferencesApart) {
  test::BenchFolder folder;
  test::AddLlavaBench(&folder);
  const auto print = [&] {
    return *FingerprintOf(*OpenBenchmark("llava_bench_coco", {.data = folder.path()}));
  };
  const std::string first = print();
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(print(), first);
  folder.Add("images/2.jpg", "other");
  const std::string picture = print();
  EXPECT_NE(picture, first);
  folder.Add("qa90_gpt4_answer.jsonl",
             "{\"question_id\": 1, \"text\": \"A fox.\"}\n{\"question_id\": 0, \"text\": \"A "
             "cat.\"}\n");
  EXPECT_NE(print(), picture);
  std::filesystem::remove(folder.path() + "/images/1.jpg");
  EXPECT_TRUE(absl::IsNotFound(
      FingerprintOf(*OpenBenchmark("llava_bench_coco", {.data = folder.path()})).status()));
}

}  // namespace
}  // namespace llava::training
