#include "training/evaluate/asking/judge.h"

#include <cstdlib>
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"
#include "tests/support/scripted_server.h"
#include "training/evaluate/benchmarks/bench_files.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

class JudgeTest : public ::testing::Test {
 protected:
  JudgeTest() {
    test::AddLlavaBench(&folder_);
    bench_ = *OpenBenchmark("llava_bench_coco", {.data = folder_.path()});
  }

  std::vector<Verdicts> Judge(const test::ScriptedServer& server, bool both_orders) {
    EndpointOptions options;
    options.base_url = server.url();
    options.model = "judge";
    options.max_in_flight = 1;
    auto endpoint = Endpoint::Make(options, Ledger(), &clock_);
    return *JudgeAll(bench_, {"A lion.", "A wolf."}, {.both_orders = both_orders}, **endpoint,
                     nullptr, nullptr);
  }

  const RealClock clock_;
  test::BenchFolder folder_;
  Benchmark bench_;
};

TEST_F(JudgeTest, FailuresAreCountedAndNotAveragedIn) {
  test::ScriptedServer server(
      {test::Completion("9 8\\nGood."), test::Completion("Both are fine.")});
  const auto verdicts = Judge(server, false);
  const auto grades = GradesOf(bench_, verdicts, /*as_published=*/false);
  EXPECT_FALSE(grades[1].known);
  EXPECT_DOUBLE_EQ(RelativeByKind(UnitsOf(grades, 1)).at("total"), RoundTo(8.0, 3) / 9);
  const auto published = GradesOf(bench_, verdicts, /*as_published=*/true);
  EXPECT_DOUBLE_EQ(RelativeByKind(UnitsOf(published, 1)).at("total"), 3.5 / 4);
  const std::string lines = ReviewLines(bench_, {"A lion.", "A wolf."}, verdicts);
  EXPECT_THAT(lines, HasSubstr(R"("category":"conv","content":"9 8\nGood.","tuple":[9E0,8E0]})"));
  EXPECT_THAT(lines, HasSubstr(R"("tuple":[-1E0,-1E0]})"));
  EXPECT_THAT(server.bodies()[0], HasSubstr(R"("temperature":2E-1)"));
  EXPECT_THAT(server.bodies()[0], HasSubstr("You are a helpful and precise assistant"));
}

TEST_F(JudgeTest, BothOrdersCancelTheBiasAndShowIt) {
  test::ScriptedServer server({test::Completion("9 7")});  // whatever stands first is better
  const auto verdicts = Judge(server, true);
  const auto grades = GradesOf(bench_, verdicts, false);
  EXPECT_EQ(grades[0].reference, 8);
  EXPECT_EQ(grades[0].value, 8);
  EXPECT_DOUBLE_EQ(*PositionBias(verdicts), 2);
  EXPECT_EQ(server.bodies().size(), 4u);
  EXPECT_THAT(server.bodies()[2], HasSubstr(R"([Assistant 1]\nA lion.)"));
  EXPECT_EQ(PositionBias(Judge(server, false)), std::nullopt);
}

TEST_F(JudgeTest, ReviewsOfOthersAreScored) {
  folder_.Add("reviews.jsonl",
              "{\"question_id\": 1, \"category\": \"conv\", \"tuple\": [8, 6]}\n"
              "{\"question_id\": 2, \"score\": [-1, -1]}\n");
  const auto grades = ReadReviews(folder_.path() + "/reviews.jsonl", false);
  ASSERT_TRUE(grades.ok()) << grades.status();
  EXPECT_DOUBLE_EQ(RelativeByKind(UnitsOf(*grades, 1)).at("conv"), 0.75);
  EXPECT_FALSE((*grades)[1].known);
  EXPECT_TRUE((*ReadReviews(folder_.path() + "/reviews.jsonl", true))[1].known);
  folder_.Add("reviews.jsonl", "{\"tuple\": [8]}\n");
  EXPECT_FALSE(ReadReviews(folder_.path() + "/reviews.jsonl", false).ok());
}

TEST_F(JudgeTest, AsksAgainWhereTwoModelsDiffer) {
  Benchmark bench;
  for (const char* id : {"1", "2"}) {
    bench.questions.emplace_back();
    bench.questions.back().id = id;
    bench.questions.back().prompt = std::string("Question ") + id;
    bench.questions.back().choices = 3;
  }
  test::ScriptedServer server({test::Completion("The answer is C.")});
  EndpointOptions options;
  options.base_url = server.url();
  options.model = "judge";
  auto endpoint = Endpoint::Make(options, Ledger(), &clock_);
  ScienceQaEnsemble ensemble;
  ensemble.theirs = {{"1", "The answer is A."}, {"2", "The answer is B."}};
  ASSERT_TRUE(AskAgain(bench, {"A", "A"}, {}, **endpoint, &ensemble, nullptr).ok());
  EXPECT_EQ(ensemble.asked_again.size(), 1u);
  EXPECT_EQ(ensemble.asked_again["2"], "The answer is C.");
  EXPECT_THAT(server.bodies()[0], HasSubstr("Question 2"));
}

// The original repository's data, where it lies beside this one.
TEST(PublishedReviews, GiveThePublishedNumbers) {
  const char* const data = std::getenv("LLAVA_SHARED_DATA");
  const std::string folder = std::string(data == nullptr ? "../shared/data" : data) +
                             "/llava-repo/llava/eval/table/review/review_";
  if (!std::filesystem::exists(folder + "bard_vicuna-13b.jsonl")) GTEST_SKIP() << folder;
  for (const auto& [name, percent] :
       {std::pair("alpaca-13b", 120.8), {"bard", 98.7}, {"gpt35", 92.1}, {"llama-13b", 135.3}}) {
    const auto grades = ReadReviews(folder + name + "_vicuna-13b.jsonl", false);
    ASSERT_TRUE(grades.ok()) << grades.status();
    EXPECT_EQ(grades->size(), 80u);
    EXPECT_EQ(RoundTo(100 * RelativeByKind(UnitsOf(*grades, 1)).at("total"), 1), percent) << name;
  }
}

}  // namespace
}  // namespace llava::training
