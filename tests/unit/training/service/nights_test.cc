// Nights around a real runner; llava-train is a shell script that a test writes.
#include "training/service/nights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kRecipe[] =
    "name: n\noutput: run\nmodel: {from_scratch: /a}\nstages:\n"
    "  - {name: s, train: [decoder], epochs: 1, batch: 1, rate: 1.0, data: {files: ${SHARDS}, "
    "images: /p}}\n";

class NightsTest : public ::testing::Test {
 protected:
  NightsTest() : server_([](std::size_t, const std::string&) { return test::HttpText(204, ""); }) {
    config_.folder = dir_.path();
    config_.pipelines["nightly"] = {};
    TriggerOptions trigger;
    trigger.name = "nightly";
    trigger.retries = 1;
    config_.triggers.push_back(trigger);
    config_.webhooks["nightly"].url = server_.url();
    store_ = *JobStore::Open(dir_.path() + "/jobs.db");
  }
  ~NightsTest() override { Stop(); }

  // `script` is run as llava-train, in the job's folder.
  void Start(const std::string& script) {
    const std::string program = dir_.path() + "/llava-train";
    std::ofstream(program) << "#!/bin/sh\necho $1 $3 $4 >> calls\n" << script;
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    const auto fail = [](const absl::Status& status) { ADD_FAILURE() << status; };
    nights_ = *Nights::Start(config_, program, *store_, clock_, fail);
    JobRunnerOptions options;
    options.folder = dir_.path();
    options.command = {program, "run"};
    options.grace = std::chrono::seconds(20);
    options.steps_of = [this](const Job& job) { return nights_->StepsOf(job); };
    options.on_end = [this](const Job& job) { nights_->OnEnd(job); };
    runner_ = std::make_unique<JobRunner>(*store_, clock_, options);
  }
  void Stop() {
    runner_.reset();
    nights_.reset();
  }

  std::int64_t Create(std::int64_t deadline_ms = 0) {
    JobInputs inputs;
    inputs.shards = {{"/old", "aa", 3, false}, {"/new", "bb", 4, true}};
    inputs.recipe = kRecipe;
    return runner_
        ->Create({.recipe = *RenderRecipe(inputs, {}, std::nullopt),
                  .creator = "nightly",
                  .data_fingerprint = "ff",
                  .deadline_ms = deadline_ms,
                  .inputs = JobInputsJson(inputs)})
        ->id;
  }
  template <typename Condition>
  Job WaitUntil(std::int64_t id, Condition condition) {
    const TimePoint deadline = clock_.Now() + std::chrono::seconds(100);
    for (;;) {
      const std::int64_t seen = runner_->changes();
      const Job job = *store_->Get(id);
      if (condition(job)) return job;
      if (clock_.Now() > deadline) {
        ADD_FAILURE() << "job " << id << " is in state " << static_cast<int>(job.state);
        return job;
      }
      runner_->WaitForChange(seen, clock_.Now() + std::chrono::milliseconds(50));
    }
  }
  Job WaitForEnd(std::int64_t id) {
    return WaitUntil(id, [](const Job& job) { return HasEnded(job.state); });
  }
  void WaitForPosts(std::size_t count) {
    const TimePoint deadline = clock_.Now() + std::chrono::seconds(100);
    while (server_.bodies().size() < count && clock_.Now() < deadline) {
      runner_->WaitForChange(runner_->changes(), clock_.Now() + std::chrono::milliseconds(20));
    }
    ASSERT_EQ(server_.bodies().size(), count);
  }
  std::string File(const std::string& name) {
    return ReadFile(dir_.path() + "/" + name, 1 << 20).value_or("");
  }

  test::TempDir dir_;
  RealClock clock_;
  ServiceConfig config_;
  test::ScriptedServer server_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<Nights> nights_;
  std::unique_ptr<JobRunner> runner_;
};

constexpr char kPublishes[] =
    "test \"$4\" = publish && mkdir -p run && echo '{\"version\":\"beef\"}' > run/finished.json\n"
    "exit 0\n";

TEST_F(NightsTest, ANightEndsWithAReportAMessageAndWhatWasLearnt) {
  Start(kPublishes);
  const Job job = WaitForEnd(Create());
  EXPECT_EQ(job.state, JobState::kSucceeded) << job.message;
  EXPECT_EQ(job.attempts, 1);
  EXPECT_EQ(File("1/calls"),
            "check --max-bad-share 0.01\nrun --until train\nrun --until evaluate\n"
            "run --until publish\n");
  EXPECT_THAT(File("1/report.md"), HasSubstr("Published as the latest: beef"));
  WaitForPosts(1);
  EXPECT_THAT(server_.bodies()[0], HasSubstr("\"version\":\"beef\""));
  EXPECT_THAT(*store_->KnownShards("nightly"), ElementsAre(Pair("bb", KnownShard{"beef", ""})));
  ASSERT_TRUE(runner_->Delete(job.id).ok());
  EXPECT_EQ(*store_->TrainedBy("nightly", "ff"), job.id);
}

TEST_F(NightsTest, KilledBetweenPublishingAndItsRecordItGoesOnThere) {
  // The first time it has published, and the service goes down before that is known.
  Start(
      absl::StrCat("test \"$4\" = publish && ! test -e once && touch once && mkfifo pipe && "
                   "echo '{\"step\":1}' && exec cat pipe\n",
                   kPublishes));
  const std::int64_t id = Create();
  WaitUntil(id, [&](const Job& job) { return !runner_->Progress(job.id).empty(); });
  Stop();
  EXPECT_EQ(store_->Steps(id)->at("publish").state, StepState::kBegun);
  Start(kPublishes);
  EXPECT_EQ(WaitForEnd(id).state, JobState::kSucceeded);
  EXPECT_THAT(File("1/calls"), ::testing::EndsWith("run --until publish\nrun --until publish\n"));
  EXPECT_EQ(File("1/calls").find("train"), File("1/calls").rfind("train"));  // not trained again
}

TEST_F(NightsTest, ARejectedNightQuarantinesItsNewShards) {
  Start(
      "test \"$4\" = evaluate && echo 'rejected: worse' && exit 3\n"
      "test \"$4\" = publish && exit 3\nexit 0\n");
  const Job job = WaitForEnd(Create());
  EXPECT_EQ(job.state, JobState::kRejected);
  EXPECT_EQ(job.message, "rejected: worse");
  const auto known = *store_->KnownShards("nightly");
  EXPECT_EQ(known.at("bb").quarantined, "job 1 was rejected: rejected: worse");
  EXPECT_FALSE(known.contains("aa"));
}

TEST_F(NightsTest, AFailureThatWillBeTriedAgainIsNoEnd) {
  Start("test \"$4\" = train && echo 'disk full' && exit 1\nexit 0\n");
  const std::int64_t id = Create();
  EXPECT_EQ(WaitForEnd(id).message, "train: ended with exit code 1: disk full");
  EXPECT_THAT(File("1/report.md"), HasSubstr("FAILED"));
  ASSERT_TRUE(runner_->Retry(id).ok());
  WaitUntil(id, [](const Job& job) { return job.attempts == 2 && HasEnded(job.state); });
  WaitForPosts(1);
  EXPECT_THAT(server_.bodies()[0], HasSubstr("\"state\":\"FAILED\""));
  EXPECT_TRUE(store_->KnownShards("nightly")->empty());
  EXPECT_EQ(*store_->TrainedBy("nightly", "ff"), 0);
}

TEST_F(NightsTest, AFailureTooNearToItsDeadlineIsTheEnd) {
  Start("test \"$4\" = train && exit 1\nexit 0\n");
  const std::int64_t id = Create(clock_.UnixMillis() + 200'000);  // tried again after 300 s
  EXPECT_EQ(WaitForEnd(id).state, JobState::kFailed);
  WaitForPosts(1);
}

constexpr char kPublishesAndAsks[] =
    "test $1 = canary && echo 'rolled back: worse' && exit $(cat ../verdict)\n"
    "test \"$4\" = publish && mkdir -p run && "
    "echo '{\"version\":\"beef\",\"dir\":\"/m/v1\"}' > run/finished.json\nexit 0\n";

TEST_F(NightsTest, WhatTheServerTakesBackIsInQuarantine) {
  std::ofstream(dir_.path() + "/verdict") << "3";
  config_.pipelines["nightly"].server.address = "h:1";
  Start(kPublishesAndAsks);
  const Job job = WaitForEnd(Create());
  EXPECT_EQ(job.state, JobState::kRejected);
  EXPECT_EQ(job.message, "rolled back: worse");
  EXPECT_THAT(
      *store_->KnownShards("nightly"),
      ElementsAre(Pair("bb", KnownShard{"beef", "job 1 was rejected: rolled back: worse"})));
  EXPECT_THAT(File("1/report.md"), HasSubstr("taken back by the server: beef"));
  WaitForPosts(1);
  EXPECT_THAT(server_.bodies()[0], HasSubstr("\"message\":\"rolled back: worse\""));
}

TEST_F(NightsTest, WhatWasPublishedIsLearntAlthoughTheServerGivesNoVerdict) {
  std::ofstream(dir_.path() + "/verdict") << "75";
  config_.pipelines["nightly"].server.address = "h:1";
  Start(kPublishesAndAsks);
  const std::int64_t id = Create();
  EXPECT_EQ(WaitForEnd(id).state, JobState::kFailed);
  EXPECT_THAT(*store_->KnownShards("nightly"), ElementsAre(Pair("bb", KnownShard{"beef", ""})));
  std::ofstream(dir_.path() + "/verdict") << "0";
  ASSERT_TRUE(runner_->Retry(id).ok());
  EXPECT_EQ(
      WaitUntil(id, [](const Job& job) { return job.attempts == 2 && HasEnded(job.state); }).state,
      JobState::kSucceeded);
  EXPECT_EQ(File("1/calls").find("publish"), File("1/calls").rfind("publish"));
  EXPECT_EQ(store_->Steps(id)->at("canary").state, StepState::kDone);
}

// Ends with exit code 0 once it is asked to end.
constexpr char kEndsWell[] =
    "trap 'exit 0' TERM\nmkfifo pipe\necho '{\"step\":1}'\ncat pipe\nexit 0\n";

TEST_F(NightsTest, WhatWasPublishedAlthoughItWasCancelledIsPublished) {
  Start(
      absl::StrCat("test \"$4\" = publish || exit 0\nmkdir -p run\n"
                   "echo '{\"version\":\"beef\"}' > run/finished.json\n",
                   kEndsWell));
  const std::int64_t id = Create();
  WaitUntil(id, [&](const Job& job) { return !runner_->Progress(job.id).empty(); });
  ASSERT_TRUE(runner_->Cancel(id).ok());
  EXPECT_EQ(WaitForEnd(id).state, JobState::kSucceeded);
  EXPECT_THAT(File("1/report.md"), HasSubstr("Published as the latest: beef"));
  EXPECT_THAT(*store_->KnownShards("nightly"), ElementsAre(Pair("bb", KnownShard{"beef", ""})));
}

TEST_F(NightsTest, NothingFollowsAStepThatWasCancelled) {
  Start(absl::StrCat("test \"$4\" = train || exit 0\n", kEndsWell));
  const std::int64_t id = Create();
  WaitUntil(id, [&](const Job& job) { return !runner_->Progress(job.id).empty(); });
  ASSERT_TRUE(runner_->Cancel(id).ok());
  EXPECT_EQ(WaitForEnd(id).state, JobState::kCancelled);
  EXPECT_THAT(File("1/calls"), ::testing::EndsWith("run --until train\n"));
}

TEST_F(NightsTest, AJobThatNeverRanHasAReportAndItsMessageIsText) {
  Start("");
  nights_->OnEnd({.id = 7,
                  .state = JobState::kCancelled,
                  .creator = "nightly",
                  .message = "no \xff",
                  .inputs = JobInputsJson({})});
  EXPECT_THAT(File("7/report.md"), HasSubstr("CANCELLED"));
  WaitForPosts(1);
  EXPECT_THAT(server_.bodies()[0], HasSubstr("no \xef\xbf\xbd"));
}

TEST_F(NightsTest, WhatAWebhookHasNotTakenIsPostedAfterARestart) {
  Job job = *store_->Insert({.state = JobState::kSucceeded, .creator = "nightly"});
  ASSERT_TRUE(store_->RecordStep(job.id, "webhook", {StepState::kBegun, 1, 0, "{\"a\":1}"}).ok());
  Start("");
  WaitForPosts(1);
  EXPECT_EQ(server_.bodies()[0], "{\"a\":1}");
}

TEST_F(NightsTest, AnEndThatWasNotStoredIsToldOnlyWhenItComesAgain) {
  Start(kPublishes);
  const std::int64_t id = Create();
  WaitForEnd(id);
  WaitForPosts(1);
  Stop();
  Job job = *store_->Get(id);  // as when the service is killed just before this is stored
  job.state = JobState::kRunning;
  ASSERT_TRUE(store_->Update(job).ok());
  ASSERT_TRUE(store_->RecordStep(id, "webhook", {StepState::kBegun, 1, 0, "{}"}).ok());
  Start(kPublishes);
  WaitForEnd(id);
  WaitForPosts(2);
  EXPECT_THAT(server_.bodies()[1], HasSubstr("SUCCEEDED"));
}

TEST_F(NightsTest, JobsOfPeopleAreOneProcess) {
  Start("");
  const auto job = runner_->Create({.recipe = "x", .creator = "nightly"});
  EXPECT_EQ(WaitForEnd(job->id).state, JobState::kSucceeded);
  EXPECT_EQ(File("1/calls"), "run\n");
  EXPECT_EQ(File("1/report.md"), "");
}

}  // namespace
}  // namespace llava::training
