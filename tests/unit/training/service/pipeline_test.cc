#include "training/service/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRecipe[] =
    "name: n\noutput: run\nmodel: {from_scratch: /a}\nstages:\n"
    "  - {name: s, train: [decoder], epochs: 1, batch: 1, rate: 1.0, data: {mixture: ${MIXTURE}, "
    "images: /p}}\n";

class PipelineTest : public ::testing::Test {
 protected:
  PipelineTest() {
    store_ = *JobStore::Open(dir_.path() + "/jobs.db");
    folder_ = dir_.path() + "/1";
    std::filesystem::create_directory(folder_);
    std::ofstream(dir_.path() + "/plan.yaml") << "output: generated\n";
    JobInputs inputs;
    inputs.shards = {{"/old.jsonl", "aa", 100, false}, {"/new.jsonl", "bb", 20, true}};
    inputs.recipe = kRecipe;
    job_.inputs = JobInputsJson(inputs);
    job_.recipe = *RenderRecipe(inputs, {}, std::nullopt);
    job_ = *store_->Insert(job_);
  }

  Pipeline Make() { return Pipeline(options_, "T", *store_, clock_); }

  // The next command, in a line; the state and message of the end.
  std::string Next() {
    Pipeline pipeline = Make();  // remembers nothing but what is in the database
    const auto step = pipeline.Next(job_, folder_);
    if (!step.ok()) return std::string(step.status().message());
    if (!step->command.empty()) return absl::StrJoin(step->command, " ");
    return absl::StrCat("end ", static_cast<int>(step->state), " ", step->message);
  }
  // "" or why the job fails.
  std::string End(int exit_code, const std::string& why = "") {
    return std::string(Make().Ended(job_, folder_, exit_code, why).message());
  }
  StepState StateOf(const std::string& step) { return store_->Steps(job_.id)->at(step).state; }
  std::string Run(const std::string& until) {
    return absl::StrCat("T run ", folder_, "/recipe.yaml --until ", until);
  }
  void PassUntil(const std::string& command) {
    for (int i = 0; i < 8; ++i) {
      if (Next() == command) return;
      ASSERT_EQ(End(0), "");
    }
    FAIL() << "no " << command;
  }

  test::TempDir dir_;
  ManualClock clock_;
  PipelineOptions options_;
  std::unique_ptr<JobStore> store_;
  std::string folder_;
  Job job_;
};

TEST_F(PipelineTest, StepsComeOneAfterTheOtherAndAreRecorded) {
  options_.images = "/p";
  EXPECT_EQ(Next(), "T check /new.jsonl --max-bad-share 0.01 --images /p");
  EXPECT_EQ(StateOf("generate"), StepState::kSkipped);
  EXPECT_EQ(StateOf("check"), StepState::kBegun);
  clock_.Advance(std::chrono::seconds(7));
  std::ofstream(folder_ + "/log") << "rows        20, 1 bad (5.00%)\n";
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(StateOf("check"), StepState::kDone);
  EXPECT_EQ(store_->Steps(job_.id)->at("check").ended_ms, 7000);
  EXPECT_EQ(store_->Steps(job_.id)->at("check").message, "rows 20, 1 bad (5.00%)");
  EXPECT_EQ(Next(), Run("train"));
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), Run("evaluate"));
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), Run("publish"));
  EXPECT_EQ(StateOf("gate"), StepState::kSkipped);
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), "end 3 ");
  EXPECT_EQ(StateOf("canary"), StepState::kSkipped);
}

TEST_F(PipelineTest, AStepThatWasNotRecordedAsEndedIsRunAgain) {
  PassUntil(Run("publish"));
  EXPECT_EQ(Next(), Run("publish"));  // killed before anything was recorded
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), "end 3 ");
  EXPECT_EQ(Next(), "end 3 ");  // killed before the job's end was
}

TEST_F(PipelineTest, AStepThatFailedFailsTheJobAndIsRunAgainAtTheNextAttempt) {
  PassUntil(Run("train"));
  EXPECT_EQ(End(1, "disk full"), "train: disk full");
  EXPECT_EQ(StateOf("train"), StepState::kFailed);
  EXPECT_EQ(Next(), Run("train"));
  EXPECT_EQ(StateOf("train"), StepState::kBegun);
}

TEST_F(PipelineTest, WhatTheExamRejectsIsKeptByTheRunAndRejectedHere) {
  PassUntil(Run("evaluate"));
  EXPECT_EQ(End(3, "rejected: colour is 0.4"), "");
  // Beside the others, if the recipe says so; and also if the exam would be passed by now.
  EXPECT_EQ(Next(), Run("publish") + " --rejected=colour is 0.4");
  EXPECT_EQ(StateOf("gate"), StepState::kRejected);
  EXPECT_EQ(End(3, "kept"), "");
  EXPECT_EQ(Next(), "end 6 rejected: colour is 0.4");
}

// Then `run` finds that it has finished, and that its version is the latest.
TEST_F(PipelineTest, WhatSomebodyPublishedInSpiteOfTheExamIsPublished) {
  PassUntil(Run("evaluate"));
  EXPECT_EQ(End(3, "rejected: colour is 0.4"), "");
  EXPECT_EQ(Next(), Run("publish") + " --rejected=colour is 0.4");
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), "end 3 ");
}

TEST_F(PipelineTest, AJudgeThatIsDownMeansNothingIsPublished) {
  options_.judged = {"rows", "--data", "/d"};
  const std::string judge = absl::StrCat("T evaluate rows --data /d --checkpoint ", folder_,
                                         "/run/checkpoint --out ", folder_, "/judged");
  PassUntil(judge);
  EXPECT_EQ(End(75, "no connection"), "gate: no connection");
  EXPECT_EQ(Next(), judge);
  EXPECT_EQ(End(1, "--require total=0.8 is not reached"), "");
  EXPECT_EQ(Next(), "end 6 --require total=0.8 is not reached");
  EXPECT_EQ(StateOf("publish"), StepState::kSkipped);
}

TEST_F(PipelineTest, UnlessTheJudgeIsOptional) {
  options_.judged = {"rows"};
  options_.gate_optional = true;
  PassUntil(absl::StrCat("T evaluate rows --checkpoint ", folder_, "/run/checkpoint --out ",
                         folder_, "/judged"));
  EXPECT_EQ(End(75, "no connection"), "");
  EXPECT_EQ(Next(), Run("publish"));
  EXPECT_EQ(StateOf("gate"), StepState::kSkipped);
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), "end 3 ");
}

TEST_F(PipelineTest, GeneratedRowsAreCheckedAndLearnt) {
  options_.generate = dir_.path() + "/plan.yaml";
  options_.mix = {0.5, 0.5};
  EXPECT_EQ(Next(), absl::StrCat("T generate ", folder_, "/plan.yaml"));
  EXPECT_EQ(*ReadFile(folder_ + "/plan.yaml", 100), "output: generated\n");
  std::filesystem::create_directory(folder_ + "/generated");
  std::ofstream(folder_ + "/generated/instruct.jsonl") << "{}\n{}\n{}\n{}\n{}\n";
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), absl::StrCat("T check /new.jsonl ", folder_,
                                 "/generated/instruct.jsonl --max-bad-share 0.01"));
  const std::string recipe = *ReadFile(folder_ + "/recipe.yaml", 10'000);
  EXPECT_THAT(recipe, HasSubstr("{file: \"/old.jsonl\", weight: 0.25}"));  // 25 new rows, 100 old
  EXPECT_THAT(recipe, HasSubstr("/1/generated/instruct.jsonl\", weight: 1}"));
}

// Every answer was refused: the night has its other rows.
TEST_F(PipelineTest, OfNoGeneratedRowsNothingIsCheckedOrLearnt) {
  options_.generate = dir_.path() + "/plan.yaml";
  EXPECT_EQ(Next(), absl::StrCat("T generate ", folder_, "/plan.yaml"));
  std::filesystem::create_directory(folder_ + "/generated");
  std::ofstream(folder_ + "/generated/instruct.jsonl") << "";
  EXPECT_EQ(End(0), "");
  EXPECT_EQ(Next(), "T check /new.jsonl --max-bad-share 0.01");
  EXPECT_THAT(ReadFile(folder_ + "/recipe.yaml", 1 << 20).value(),
              testing::Not(HasSubstr("instruct.jsonl")));
}

TEST_F(PipelineTest, WithoutItsGeneratorANightFailsOrGoesOnAsItIsTold) {
  options_.generate = dir_.path() + "/plan.yaml";
  Next();
  EXPECT_EQ(End(75, "gave up"), "generate: gave up");
  options_.train_without_generated = true;
  Next();
  EXPECT_EQ(End(75, "gave up"), "");
  EXPECT_EQ(StateOf("generate"), StepState::kSkipped);
  EXPECT_EQ(Next(), "T check /new.jsonl --max-bad-share 0.01");
}

TEST_F(PipelineTest, TheServerHasTheLastWord) {
  options_.server = {.address = "h:1", .ca = "/ca", .token_file = "/t", .wait_seconds = 60};
  PassUntil(Run("publish"));
  std::filesystem::create_directory(folder_ + "/run");
  std::ofstream(folder_ + "/run/finished.json") << R"({"version":"beef","dir":"/m/v1"})";
  EXPECT_EQ(End(0), "");
  const std::string canary = "T canary /m/v1 --server h:1 --ca /ca --token-file /t --wait 60";
  EXPECT_EQ(Next(), canary);
  EXPECT_EQ(End(75, "no verdict within 1m"), "canary: no verdict within 1m");
  EXPECT_EQ(Next(), canary);  // nothing is published again
  EXPECT_EQ(End(3, "rolled back: worse"), "");
  EXPECT_EQ(Next(), "end 6 rolled back: worse");
}

TEST_F(PipelineTest, NoServerIsAskedAboutWhatIsNotTheLatest) {
  options_.server.address = "h:1";
  PassUntil(Run("evaluate"));
  EXPECT_EQ(End(3, "rejected: worse"), "");
  Next();
  EXPECT_EQ(End(3, "kept"), "");
  EXPECT_EQ(Next(), "end 6 rejected: worse");
  EXPECT_EQ(StateOf("canary"), StepState::kSkipped);
}

TEST_F(PipelineTest, WhatAnotherJobPublishedInASharedOutputIsNotThisJobs) {
  std::filesystem::create_directory(folder_ + "/run");
  std::ofstream(folder_ + "/run/finished.json") << R"({"version":"beef","dir":"/m/v1"})";
  const auto published = [this] { return PublishedBy(job_, *store_->Steps(job_.id), folder_); };
  EXPECT_TRUE(published().has_value());  // of a job without steps
  PassUntil(Run("evaluate"));
  EXPECT_FALSE(published().has_value());
  PassUntil(Run("publish"));
  EXPECT_EQ(published()->version, "beef");
  EXPECT_EQ(published()->dir, "/m/v1");
}

TEST_F(PipelineTest, AFullDiskIsSaidByTheStepThatMetIt) {
  folder_ = dir_.path() + "/none";  // where nothing can be written
  EXPECT_THAT(Next(), HasSubstr("none/recipe.yaml"));
}

}  // namespace
}  // namespace llava::training
