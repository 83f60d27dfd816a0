#include "training/service/night_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"
#include "training/service/job_inputs.h"

namespace llava::training {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using ::testing::Not;

class NightReportTest : public ::testing::Test {
 protected:
  NightReportTest() {
    JobInputs inputs;
    inputs.shards = {{"/old", "aa", 100, false}, {"/new", "bb", 20, true}};
    inputs.base_version = "cafe";
    job_ = {.id = 7, .state = JobState::kSucceeded, .creator = "nightly"};
    job_.recipe =
        "name: n\noutput: run\nmodel: {from_scratch: /a}\nstages:\n  - {name: s, train: [decoder], "
        "epochs: 1, batch: 1, rate: 1.0, data: {files: [/old], images: /p}}\n";
    job_.inputs = JobInputsJson(inputs);
    std::filesystem::create_directories(dir_.path() + "/run");
    std::filesystem::create_directories(dir_.path() + "/generated");
  }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.path() + "/" + name) << text;
  }
  void WriteAll() {
    Write("run/metrics.jsonl",
          "{\"total_step\":1,\"loss\":2.5}\n{\"validation_loss\":9}\n{\"loss\":0.75}\n{\"los");
    Write("run/finished.json", R"({"version":"beef","dir":"/m/v1","rejected":""})");
    Write("run/gate.json",
          R"({"rejected":"","live":"cafe","exams":[{"name":"evaluate","questions":40,)"
          R"("new":{"share":0.8,"low":0.7,"high":0.9},"live":{"share":0.5,"low":0.4,"high":0.6},)"
          R"("change":{"share":0.3,"low":0.1,"high":0.5},"changed":[{"question":"what | is\nit?",)"
          R"("expected":"red","live":"blue","new":"red"}]}]})");
    Write("generated/report.json",
          R"({"accepted":{"detail":9},"rejected":{"too_short":2,"refusal":1},"cost":0.5})");
  }
  std::string Report() { return NightReport(job_, steps_, dir_.path()); }

  test::TempDir dir_;
  Job job_;
  StepRecords steps_;
};

TEST_F(NightReportTest, SaysWhatWentInAndWhatCameOut) {
  WriteAll();
  steps_["train"] = {StepState::kDone, 1000, 62'500, ""};
  steps_["generate"] = {StepState::kSkipped, 1000, 1000, "ended with exit code 75: gave up"};
  steps_["publish"] = {StepState::kDone, 62'500, 63'000, ""};
  const std::string page = Report();
  EXPECT_THAT(page, HasSubstr("# nightly, job 7: SUCCEEDED"));
  EXPECT_THAT(page, HasSubstr("Published as the latest: beef"));
  EXPECT_THAT(page, HasSubstr("20 new rows, 100 old ones, in 2 files"));
  EXPECT_THAT(page, HasSubstr("generated: 9 accepted, 3 rejected; cost 0.50"));
  EXPECT_THAT(page, HasSubstr("begins with version: cafe"));
  EXPECT_THAT(page, HasSubstr("| generate | skipped | 0 | ended with exit code 75: gave up |\n"
                              "| train | done | 1m1.5s |"));
  EXPECT_THAT(page, HasSubstr("2.5000 at the first step, 0.7500 at the last"));
  EXPECT_THAT(page, HasSubstr("| evaluate | 40 | 50.0 % (40.0 to 60.0) | 80.0 % (70.0 to 90.0) | "
                              "30.0 % (10.0 to 50.0) |"));
  EXPECT_THAT(page, HasSubstr("| what \\| is it? | red | blue | red |"));
}

TEST_F(NightReportTest, ANightThatCameToNothingSaysWhy) {
  job_.state = JobState::kFailed;
  job_.message = "generate: no\nconnection";
  const std::string page = Report();
  EXPECT_THAT(page, HasSubstr("job 7: FAILED\n\ngenerate: no connection\n"));
  EXPECT_THAT(page, HasSubstr("Nothing was published: the live version stays."));
  EXPECT_THAT(page, Not(HasSubstr("## Loss")));
  EXPECT_THAT(page, Not(HasSubstr("Right answers")));
  job_.state = JobState::kRejected;
  WriteAll();
  EXPECT_THAT(Report(), HasSubstr("Kept beside the live version, which stays: beef"));
}

TEST_F(NightReportTest, NamesDamagedShards) {
  JobInputs inputs;
  inputs.set_aside = {{"/cut.gz", "the gzip stream ends too early"}};
  job_.inputs = JobInputsJson(inputs);
  EXPECT_THAT(
      Report(),
      HasSubstr("\n- set aside until it changes: /cut.gz: the gzip stream ends too early\n"));
  EXPECT_THAT(NightMessage(job_, steps_, dir_.path()), HasSubstr(R"("set_aside":["/cut.gz"])"));
}

TEST_F(NightReportTest, AMessageIsTheSameForAProgram) {
  WriteAll();
  const json::object message = json::parse(NightMessage(job_, steps_, dir_.path())).as_object();
  EXPECT_EQ(message.at("job").as_int64(), 7);
  EXPECT_EQ(message.at("trigger").as_string(), "nightly");
  EXPECT_EQ(message.at("state").as_string(), "SUCCEEDED");
  EXPECT_EQ(message.at("version").as_string(), "beef");
  EXPECT_EQ(message.at("base").as_string(), "cafe");
  EXPECT_EQ(message.at("new_rows").as_int64(), 20);
  EXPECT_EQ(message.at("loss").as_double(), 0.75);
  EXPECT_EQ(message.at("exams").at(0).at("new").as_double(), 0.8);
  EXPECT_EQ(message.at("exams").at(0).at("live").as_double(), 0.5);
  EXPECT_EQ(message.at("report").as_string(), dir_.path() + "/report.md");
  EXPECT_FALSE(message.contains("canary"));
  std::filesystem::create_directory(dir_.path() + "/run/anew-2");
  // The newest run has published nothing yet.
  EXPECT_THAT(NightMessage(job_, steps_, dir_.path()), HasSubstr(R"("version":"")"));
  Write("run/anew-2/finished.json", R"({"version":"f00d"})");
  EXPECT_THAT(NightMessage(job_, steps_, dir_.path()), HasSubstr(R"("version":"f00d")"));
}

TEST_F(NightReportTest, AStepThatEndedWellSaysWhatItHasDone) {
  const auto summary = [this](const char* step) {
    return StepSummary(step, job_, steps_, dir_.path());
  };
  for (const char* step : {"generate", "check", "train", "evaluate", "publish", "canary"}) {
    EXPECT_EQ(summary(step), "") << step;
  }
  WriteAll();
  Write("log",
        "rows        20, 0 bad (0.00%)\nturns       40\nrows        25, 2 bad (8.00%)\n"
        "images      3\n{\"loss\": 1}\n");
  EXPECT_EQ(summary("generate"), "9 accepted, 3 rejected; cost 0.50");
  EXPECT_EQ(summary("check"), "rows 25, 2 bad (8.00%)");
  EXPECT_EQ(summary("train"), "2 steps, loss 2.5000 at the first, 0.7500 at the last");
  EXPECT_EQ(summary("evaluate"), "evaluate: 80.0 % of 40 questions");
  EXPECT_EQ(summary("publish"), "published beef");
  EXPECT_EQ(summary("canary"), "the server answers with beef");
}

TEST_F(NightReportTest, TheServersVerdictIsTold) {
  WriteAll();
  steps_["generate"] = {StepState::kSkipped, 1, 1, ""};
  steps_["publish"] = {StepState::kDone, 1, 2, ""};
  steps_["canary"] = {StepState::kDone, 1000, 61'000, ""};
  EXPECT_THAT(Report(), HasSubstr("Published as the latest: beef\n"));
  EXPECT_THAT(Report(), HasSubstr("| canary | done | 1m |"));
  job_.state = JobState::kFailed;  // the server does not answer; the version is what it is
  steps_["canary"] = {StepState::kFailed, 1, 2, "no verdict"};
  EXPECT_THAT(Report(), HasSubstr("Published as the latest: beef\n"));
  job_.state = JobState::kRejected;
  steps_["canary"] = {StepState::kRejected, 1, 2, "rolled back: worse"};
  EXPECT_THAT(Report(), HasSubstr("Published, and taken back by the server: beef\n"));
  EXPECT_THAT(NightMessage(job_, steps_, dir_.path()),
              HasSubstr(R"("canary":{"state":"rejected","message":"rolled back: worse"})"));
}

TEST_F(NightReportTest, AnotherJobsVersionInASharedOutputIsNotTold) {
  WriteAll();
  job_.state = JobState::kFailed;
  steps_["generate"] = {StepState::kSkipped, 1, 1, ""};
  steps_["check"] = {StepState::kFailed, 1, 2, "bad rows"};
  EXPECT_THAT(Report(), HasSubstr("Nothing was published: the live version stays."));
}

}  // namespace
}  // namespace llava::training
