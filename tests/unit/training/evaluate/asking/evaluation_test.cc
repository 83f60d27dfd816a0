#include "training/evaluate/asking/evaluation.h"

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/bench_folder.h"
#include "tests/support/scripted_server.h"

namespace llava::training {
namespace {

using testing::HasSubstr;

class EvaluationTest : public ::testing::Test {
 protected:
  absl::StatusOr<EvaluationReport> Run(const test::ScriptedServer& server) {
    request_.files.data = folder_.path();
    request_.files.images = folder_.path() + "/images";
    const StartModel start = [&]() -> absl::StatusOr<EndpointOptions> {
      ++started_;
      EndpointOptions options;
      options.base_url = server.url();
      options.model = "judge";
      options.max_in_flight = 1;
      options.output_price = output_price_;
      return options;
    };
    return Evaluate(request_, start, clock_, [](const std::string&) {}, nullptr);
  }

  std::string Written(const std::string& name) {
    const auto bytes = ReadFile(request_.out + "/" + name, 1 << 20);
    return bytes.ok() ? *bytes : std::string(bytes.status().message());
  }

  const RealClock clock_;
  test::BenchFolder folder_;
  EvaluationRequest request_;
  int started_ = 0;
  double output_price_ = 0;
};

TEST_F(EvaluationTest, LabelsAreScoredAndAFinishedOneIsNotAskedAgain) {
  folder_.Add("coco_pope_random.json",
              "{\"image\": \"1.jpg\", \"text\": \"A dog?\", \"label\": \"yes\"}\n"
              "{\"image\": \"1.jpg\", \"text\": \"A cat?\", \"label\": \"no\"}\n");
  folder_.Add("images/1.jpg", "\xff\xd8\xff");
  request_.bench = "pope";
  request_.out = folder_.path() + "/out";
  request_.model_id = "tiny";
  test::ScriptedServer server({test::Completion("Yes"), test::Completion("No")});
  const auto report = Run(server);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_DOUBLE_EQ(report->scores.at("f1"), 1);
  EXPECT_EQ(report->judge, "labels");
  EXPECT_EQ(report->fingerprint.size(), 64u);
  EXPECT_THAT(Written("answers.jsonl"), HasSubstr(R"("text":"Yes","answer_id")"));
  EXPECT_THAT(Written("questions.jsonl"), HasSubstr(R"("category":"random")"));
  EXPECT_THAT(Written("results.json"), HasSubstr(R"("bench":"pope")"));
  EXPECT_THAT(Written("table.md"), HasSubstr("random/f1"));
  EXPECT_THAT(Written("wrong.html"), HasSubstr("0 of 2"));
  ASSERT_TRUE(Run(server).ok());
  EXPECT_EQ(started_, 1);
  request_.answers = request_.out + "/answers.jsonl";
  request_.out = "";
  EXPECT_DOUBLE_EQ(Run(server)->scores.at("f1"), 1);
}

TEST_F(EvaluationTest, TheRecordSaysWhatAllRunsHaveCost) {
  folder_.Add("coco_pope_random.json",
              "{\"image\": \"1.jpg\", \"text\": \"A dog?\", \"label\": \"yes\"}\n");
  folder_.Add("images/1.jpg", "\xff\xd8\xff");
  request_.bench = "pope";
  request_.out = folder_.path() + "/out";
  output_price_ = 1e6;
  test::ScriptedServer server({test::Completion("Yes")});  // of 3 tokens
  const auto first = Run(server);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_DOUBLE_EQ(first->cost, 3);
  EXPECT_DOUBLE_EQ(first->cost_of_run, 3);
  const auto again = Run(server);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(started_, 1);
  EXPECT_DOUBLE_EQ(again->cost, 3);
  EXPECT_DOUBLE_EQ(again->cost_of_run, 0);
  EXPECT_THAT(Written("results.json"), HasSubstr(R"("cost":3E0,"cost_of_run":0E0)"));
}

TEST_F(EvaluationTest, AnotherLimitOfTokensIsAnotherEvaluation) {
  folder_.Add("coco_pope_random.json",
              "{\"image\": \"1.jpg\", \"text\": \"A dog?\", \"label\": \"yes\"}\n");
  folder_.Add("images/1.jpg", "\xff\xd8\xff");
  request_.bench = "pope";
  test::ScriptedServer server({test::Completion("Yes")});
  request_.max_tokens = 128;  // its own
  EXPECT_EQ(Run(server)->judge, "labels");
  request_.max_tokens = 7;
  EXPECT_EQ(Run(server)->judge, "labels, answers of 7 tokens");
}

TEST_F(EvaluationTest, AJudgeIsAskedOnceForEachAnswer) {
  test::AddLlavaBench(&folder_);
  folder_.Add("images/1.jpg", "\xff\xd8\xff").Add("images/2.jpg", "\xff\xd8\xff");
  test::ScriptedServer judge({test::Completion("9 8"), test::Completion("nothing")});
  folder_.Add("judge.yaml",
              "endpoint: {base_url: '" + judge.url() + "', model: judge, max_in_flight: 1}\n");
  request_.bench = "llava_bench_coco";
  request_.out = folder_.path() + "/out";
  test::ScriptedServer server({test::Completion("It is.")});
  EXPECT_THAT(std::string(Run(server).status().message()), HasSubstr("needs a judge"));
  EXPECT_EQ(started_, 0);
  request_.judge = folder_.path() + "/judge.yaml";
  const auto report = Run(server);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->judge_failed, 1);
  EXPECT_DOUBLE_EQ(report->scores.at("total"), 8.0 / 9);
  EXPECT_EQ(report->judge, "judge");
  EXPECT_THAT(Written("reviews.jsonl"), HasSubstr("\"tuple\":[9E0,8E0]"));
  request_.as_published = true;
  const auto published = Run(server);
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_DOUBLE_EQ(published->scores.at("total"), 3.5 / 4);
  EXPECT_EQ(published->judge, "judge, as published");  // not to be compared with the other
  EXPECT_EQ(judge.bodies().size(), 2u);                // the ledger knows both
}

TEST_F(EvaluationTest, AJudgeThatScoresNothingIsNoVerdict) {
  test::AddLlavaBench(&folder_);
  folder_.Add("images/1.jpg", "\xff\xd8\xff").Add("images/2.jpg", "\xff\xd8\xff");
  test::ScriptedServer judge({test::HttpText(500, "{}")});
  folder_.Add("judge.yaml", "endpoint: {base_url: '" + judge.url() +
                                "', model: judge, max_attempts: 2, first_retry_seconds: 0.001, "
                                "longest_retry_seconds: 0.001}\n");
  request_.bench = "llava_bench_coco";
  request_.out = folder_.path() + "/out";
  request_.judge = folder_.path() + "/judge.yaml";
  test::ScriptedServer server({test::Completion("It is.")});
  const auto report = Run(server);
  EXPECT_EQ(report.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(report.status().message(),
              testing::AllOf(HasSubstr("has scored none of 2 answers: "), HasSubstr("500")));
}

TEST_F(EvaluationTest, ADryRunWritesWhatWouldBeAsked) {
  test::AddLlavaBench(&folder_);
  request_.bench = "llava_bench_coco";
  request_.out = folder_.path() + "/out";
  request_.dry_run = true;
  test::ScriptedServer server({test::Completion("x")});
  ASSERT_TRUE(Run(server).ok());
  EXPECT_EQ(started_, 0);
  EXPECT_THAT(Written("judge_prompts.jsonl"), HasSubstr(R"([Context]\nOne.\nTwo.\n\ncat: [0.63)"));
  EXPECT_THAT(Written("results.json"), HasSubstr("no such file"));
}

TEST_F(EvaluationTest, EnsemblesTakeAnswersFromFiles) {
  folder_.Add("problems.json",
              R"({"1": {"question": "Q", "choices": ["a", "b"], "answer": 1, "hint": "",
                  "image": null, "subject": "social science", "grade": "grade2"}})");
  folder_.Add("pid_splits.json", R"({"test": ["1"]})");
  folder_.Add("ours.jsonl", R"({"question_id": "1", "text": "The answer is A."})");
  folder_.Add("theirs.json", R"({"outputs": {"1": "The answer is B."}})");
  request_.bench = "scienceqa";
  request_.answers = folder_.path() + "/ours.jsonl";
  test::ScriptedServer server({test::Completion("x")});
  EXPECT_DOUBLE_EQ(Run(server)->scores.at("SOC"), 0);
  EXPECT_EQ(Run(server)->judge, "labels");
  request_.ensemble = "complement";
  request_.theirs = folder_.path() + "/theirs.json";
  EXPECT_DOUBLE_EQ(Run(server)->scores.at("SOC"), 1);
  const std::string complement = Run(server)->judge;
  EXPECT_THAT(complement, testing::MatchesRegex("labels, complement ensemble with [0-9a-f]+"));
  folder_.Add("theirs.json", R"({"outputs": {"1": "The answer is  B."}})");
  EXPECT_NE(Run(server)->judge, complement);  // another model's answers
  request_.ensemble = "judge";
  request_.asked_again = folder_.path() + "/ours.jsonl";
  EXPECT_DOUBLE_EQ(Run(server)->scores.at("SOC"), 0);
  folder_.Add("ours.jsonl", R"({"question_id": "7", "text": "The answer is A."})");
  EXPECT_THAT(std::string(Run(server).status().message()), HasSubstr("answers none"));
}

TEST(ReadAnswers, AnIdOfSeveralQuestionsAnswersNoneOfThemAlone) {
  test::BenchFolder folder;
  folder.Add("count/1.txt", "Is it 2? Please answer yes or no.\tYes\nIs it 3?\tNo\n");
  folder.Add("count/1.jpg", "x");
  const auto bench = OpenBenchmark("mme", {.data = folder.path()});
  ASSERT_TRUE(bench.ok()) << bench.status();
  const auto answers = [&](const std::string& first, const std::string& second) {
    const auto line = [](const std::string& prompt, const std::string& text) {
      return R"({"question_id": "count/1.jpg", "prompt": ")" + prompt + R"(", "text": ")" + text +
             "\"}\n";
    };
    folder.Add("answers.jsonl", line(first, "Yes") + line(second, "No"));
    return ReadAnswers(folder.path() + "/answers.jsonl", *bench);
  };
  const std::string suffix = "\\nAnswer the question using a single word or phrase.";
  const auto theirs = answers("Is it 2?" + suffix, "Is it 3?" + suffix);  // as LLaVA's scripts ask
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_EQ(*theirs, (BenchAnswers{"Yes", "No"}));
  const auto other = answers("Is it 2?" + suffix, "Another question?");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(*other, (BenchAnswers{"Yes", ""}));
  EXPECT_THAT(std::string(answers("One?", "Two?").status().message()),
              HasSubstr("answers none of the questions"));
}

}  // namespace
}  // namespace llava::training
