#include "training/service/trigger.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/training/service/trigger_fixture.h"
#include "training/data/instruction_dataset.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(TriggerTest, StartsOneJobForNewShardsOnceTheyAreStill) {
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_TRUE(recipes_.empty());  // nothing there
  Write("shards/b.jsonl", std::string(kRow) + "\n");
  Write("shards/notes.txt", "no shard");
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_TRUE(recipes_.empty());  // may still grow
  Write("shards/a.json", absl::StrCat("[", kRow, "]"));
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_TRUE(recipes_.empty());  // it did
  LookThrice(trigger);
  EXPECT_THAT(recipes_, ElementsAre(absl::StrCat("data: {files: [\"", Path("shards/a.json"),
                                                 "\", \"", Path("shards/b.jsonl"), "\"]}\n")));
  Write("shards/c.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 2u);
}

// As an export writes it on a day without rows: it must not spoil the others' night.
TEST_F(TriggerTest, AnEmptyShardIsLeftOut) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Write("shards/b.jsonl", "");
  Write("shards/c.jsonl", "\n");
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_THAT(recipes_,
              ElementsAre(absl::StrCat("data: {files: [\"", Path("shards/a.jsonl"), "\"]}\n")));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("b.jsonl is left out: it is empty"),
                                 HasSubstr("c.jsonl is left out: it is empty")));
  std::filesystem::remove(Path("shards/a.jsonl"));
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
}

// One that is still being written, or was cut for good, keeps nobody from the others' rows.
TEST_F(TriggerTest, ADamagedShardIsSetAsideUntilItChanges) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Write("shards/b.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10));
  Write("shards/c.jsonl", absl::StrCat(kRow, "\n", std::string(kRow).substr(0, 40)));
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_THAT(recipes_,
              ElementsAre(absl::StrCat("data: {files: [\"", Path("shards/a.jsonl"), "\"]}\n")));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("b.gz is set aside until it changes: the gzip stream "),
                                 HasSubstr("c.jsonl is set aside until it changes: the file ends "
                                           "within the row that begins in line 2")));
  const JobInputs inputs = ParseJobInputs(jobs_.begin()->second.inputs).value();
  EXPECT_EQ(inputs.set_aside.at(0).path, Path("shards/b.gz"));
  End(JobState::kSucceeded);
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  Write("shards/c.jsonl", absl::StrCat(kRow, "\n", kRow));  // is written to its end
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 2u);
  EXPECT_THAT(recipes_[1], HasSubstr(absl::StrCat("\"", Path("shards/c.jsonl"), "\"]}")));
  EXPECT_EQ(said_.size(), 3u);  // the stream that is still cut is named again
}

// What was learned would be learned without it, and what is mended is no news.
TEST_F(TriggerTest, ALearnedShardThatIsDamagedMakesNoJobOfTheOthers) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Write("shards/b.jsonl", absl::StrCat(kRow, "\n", kRow, "\n"));
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 1u);
  End(JobState::kSucceeded);
  Write("shards/b.jsonl", std::string(kRow).substr(0, 40));
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("b.jsonl is set aside until it changes")));
  Write("shards/c.jsonl", std::string(kRow) + "\n\n");  // others' new rows are learned
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 2u);
  EXPECT_THAT(recipes_[1], HasSubstr(absl::StrCat("\"", Path("shards/c.jsonl"), "\"]}")));
}

// An export of a day without rows is empty from the start; this one had rows.
TEST_F(TriggerTest, ALearnedShardThatIsEmptyNowIsDamaged) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Write("shards/b.jsonl", absl::StrCat(kRow, "\n", kRow, "\n"));
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 1u);
  End(JobState::kSucceeded);
  Write("shards/b.jsonl", "");
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("b.jsonl is set aside until it changes: it is empty, "
                                           "and had 2 rows for job 1")));
  for (const char* name : {"shards/c.jsonl", "shards/d.jsonl"}) {
    Write(name, absl::StrCat(R"({"id":")", name, R"(",)", std::string(kRow).substr(1), "\n"));
    LookThrice(trigger);  // others' new rows are learned
    End(JobState::kSucceeded);
  }
  ASSERT_EQ(recipes_.size(), 3u);
  for (const auto& [fingerprint, job] : jobs_) {
    const JobInputs inputs = ParseJobInputs(job.inputs).value();
    if (job.id == 1) continue;
    ASSERT_EQ(inputs.set_aside.size(), 1u) << job.id;
    EXPECT_EQ(inputs.set_aside[0].path, Path("shards/b.jsonl"));
  }
}

TEST_F(TriggerTest, DoesNotTrainTwiceOnTheSameShards) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  const auto shards = ListShards(Path("shards"));
  const auto fingerprint = FingerprintOf(*shards);
  // The same as training writes into the manifest.
  EXPECT_EQ(*fingerprint, InstructionDataset::Open(*shards, {})->digests().at(0).Hex());
  model::Manifest manifest;
  manifest.data_fingerprint = *fingerprint;
  PublishOrDie(manifest);
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_TRUE(recipes_.empty());

  options_.published = "";
  trained_.insert(*fingerprint);  // by a job that was deleted since
  Trigger after_deletion(options_);
  LookThrice(after_deletion);
  EXPECT_TRUE(recipes_.empty());

  trained_.clear();
  jobs_[*fingerprint] = {.id = 1};  // a job is at it
  Trigger second(options_);
  LookThrice(second);
  EXPECT_TRUE(recipes_.empty());
}

TEST_F(TriggerTest, AFailedJobIsTriedAgainLaterAndLater) {
  options_.retries = 2;
  options_.backoff_ms = 60'000;
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(jobs_.size(), 1u);
  Job& job = jobs_.begin()->second;
  job.state = JobState::kFailed;
  job.ended_ms = now_ms_;
  now_ms_ += 59'999;
  LookThrice(trigger);
  EXPECT_THAT(retried_, ElementsAre());
  now_ms_ += 1;
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_THAT(retried_, ElementsAre(1));
  job.attempts = 2;
  job.ended_ms = now_ms_;
  now_ms_ += 119'999;
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_EQ(retried_.size(), 1u);
  now_ms_ += 1;
  Trigger after_a_restart(options_);  // remembers nothing
  ASSERT_TRUE(Look(after_a_restart).ok());
  EXPECT_EQ(retried_.size(), 2u);
  job.attempts = 3;
  now_ms_ += 100'000'000;
  LookThrice(trigger);
  EXPECT_EQ(retried_.size(), 2u);
  EXPECT_EQ(recipes_.size(), 1u);
}

TEST_F(TriggerTest, WhatWasPublishedOfOtherShardsDoesNotCount) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  model::Manifest manifest;
  manifest.data_fingerprint = std::string(64, '0');
  PublishOrDie(manifest);
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
}

TEST_F(TriggerTest, MakesJobsAtItsTimeOnly) {
  Trigger trigger = Nightly();
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  now_ms_ += 14 * kHour - 1;
  LookThrice(trigger);
  EXPECT_TRUE(recipes_.empty());  // a millisecond before 02:00
  now_ms_ += 1;
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 1u);
  EXPECT_THAT(jobs_.begin()->second.inputs, HasSubstr("\"new\":true"));
  End(JobState::kSucceeded);
  Write("shards/b.jsonl", std::string(kRow) + "\n\n");
  now_ms_ += 23 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  now_ms_ += kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 2u);
  EXPECT_THAT(said_, ElementsAre());
}

TEST_F(TriggerTest, ATimeThatItMissedIsMadeUpForOnce) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  {
    Trigger trigger = Nightly();
    LookThrice(trigger);
  }
  now_ms_ += 100 * kHour;  // the service was down for four nights
  Trigger after(options_);
  LookThrice(after);
  EXPECT_EQ(recipes_.size(), 1u);
  End(JobState::kFailed);
  now_ms_ += kHour;
  options_.retries = 0;
  Trigger later(options_);
  LookThrice(later);
  EXPECT_EQ(recipes_.size(), 1u);
}

TEST_F(TriggerTest, AClockThatIsSetBackRepeatsNothingAndLosesNothing) {
  Trigger trigger = Nightly();
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  now_ms_ += 14 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  End(JobState::kSucceeded);
  Write("shards/b.jsonl", std::string(kRow) + "\n\n");
  now_ms_ -= kHour;  // 01:00 again, then 02:00 again
  LookThrice(trigger);
  now_ms_ += kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 2u);
  // Ten years ahead, by mistake, for one night, and back again: the nights go on.
  End(JobState::kSucceeded);
  now_ms_ += 87'600 * kHour;
  LookThrice(trigger);
  now_ms_ -= 87'600 * kHour;
  LookThrice(trigger);
  Write("shards/c.jsonl", std::string(kRow) + "\n\n\n");
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 2u);
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 3u);
}

TEST_F(TriggerTest, ANightWaitsForTheJobBeforeAndForTheFolderToBeStill) {
  Trigger trigger = Nightly();
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  now_ms_ += 14 * kHour;
  LookThrice(trigger);
  Write("shards/b.jsonl", std::string(kRow) + "\n\n");
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);  // the first job still runs
  End(JobState::kSucceeded);
  Write("shards/c.jsonl", std::string(kRow) + "\n\n\n");
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_EQ(recipes_.size(), 1u);
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_EQ(recipes_.size(), 2u);
  EXPECT_THAT(recipes_[1], HasSubstr("c.jsonl"));
}

TEST_F(TriggerTest, TooFewNewRowsMakeNoJobAndThatIsSaid) {
  options_.min_new_rows = 2;
  Trigger trigger = Nightly();
  Write("shards/a.jsonl", std::string(kRow) + "\n" + kRow + "\n");
  LookThrice(trigger);
  now_ms_ += 14 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  End(JobState::kSucceeded);
  Write("shards/b.jsonl", std::string(kRow) + "\n");
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  EXPECT_THAT(said_, ElementsAre("no job: 1 new rows, at least 2 are wanted"));
  Write("shards/c.jsonl", std::string(kRow) + "\n\n");
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 2u);
}

TEST_F(TriggerTest, ANightThatFailedIsANewJobTheNextNight) {
  options_.retries = 0;
  Trigger trigger = Nightly();
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  for (const JobState end : {JobState::kFailed, JobState::kRejected, JobState::kFailed}) {
    now_ms_ += 24 * kHour;
    LookThrice(trigger);
    End(end);
  }
  EXPECT_EQ(recipes_.size(), 2u);
  EXPECT_THAT(said_, ElementsAre("no job: the same shards as those of job 2"));
}

TEST_F(TriggerTest, AJobHasADeadlineAndIsNotRetriedBehindIt) {
  options_.deadline_ms = 2 * kHour;
  options_.backoff_ms = kHour;
  options_.retries = 9;
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(jobs_.size(), 1u);
  EXPECT_EQ(jobs_.begin()->second.deadline_ms, now_ms_ + 2 * kHour);
  End(JobState::kFailed);
  now_ms_ += 2 * kHour;  // it waited for too long: queued again it ends, and somebody hears of it
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_EQ(retried_.size(), 1u);
  jobs_.begin()->second.ended_ms = now_ms_ - kHour;  // would wait until the deadline
  now_ms_ += 9 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(retried_.size(), 1u);
}

TEST_F(TriggerTest, ANightThatWaitsToBeTriedAgainIsNotReplaced) {
  options_.retries = 1;
  options_.backoff_ms = 30 * kHour;
  Trigger trigger = Nightly();
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  now_ms_ += 14 * kHour;
  LookThrice(trigger);
  End(JobState::kFailed);
  Write("shards/b.jsonl", std::string(kRow) + "\n\n");
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  now_ms_ += 6 * kHour;
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_THAT(retried_, ElementsAre(1));
  now_ms_ -= 1000 * kHour;  // the clock was wrong: nobody waits for that long
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_THAT(retried_, ElementsAre(1, 1));
}

TEST_F(TriggerTest, KilledBetweenMakingAJobAndNotingItMakesNoSecondOne) {
  options_.always = true;
  Trigger trigger = Nightly();
  LookThrice(trigger);
  now_ms_ += 14 * kHour;
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 1u);
  EXPECT_EQ(recipes_[0], "data: {files: [\"generated/instruct.jsonl\"]}\n");  // no rows yet
  jobs_.begin()->second.created_ms = now_ms_;
  handled_ms_ = kNoon;
  End(JobState::kSucceeded);
  Trigger after(options_);
  LookThrice(after);
  EXPECT_EQ(recipes_.size(), 1u);
  now_ms_ += 24 * kHour;
  LookThrice(after);
  EXPECT_EQ(recipes_.size(), 2u);
}

TEST_F(TriggerTest, WhatWasNewToAVersionThatWasTakenBackIsLearnedByNobodyElse) {
  model::Manifest manifest;
  const PublishedVersion good = PublishOrDie(manifest);
  manifest.name = "bad";
  const PublishedVersion bad = PublishOrDie(manifest);
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Write("shards/b.jsonl", std::string(kRow) + "\n\n");
  Write("shards/c.jsonl", std::string(kRow) + "\n\n\n");
  known_[Sha256Of(std::string(kRow) + "\n").Hex()] = {good.version, ""};
  known_[Sha256Of(std::string(kRow) + "\n\n").Hex()] = {bad.version, ""};
  std::filesystem::create_directory(Path("models/.rolled-back"));
  Write("models/.rolled-back/" + bad.version, "endless answers");
  Write("recipe.yaml", "model: {checkpoint: ${BASE}}\ndata: {mixture: ${MIXTURE}}\n");
  options_.mix = {0.5, 0.5};
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(recipes_.size(), 1u);
  EXPECT_EQ(recipes_[0],
            absl::StrCat("model: {checkpoint: \"", good.dir, "\"}\ndata: {mixture: [{file: \"",
                         Path("shards/a.jsonl"), "\", weight: 1}, {file: \"",
                         Path("shards/c.jsonl"), "\", weight: 1}]}\n"));
  EXPECT_THAT(jobs_.begin()->second.inputs, HasSubstr(good.version));  // `latest` is the bad one
  EXPECT_THAT(said_, ElementsAre(HasSubstr("b.jsonl is in quarantine: version ")));
  EXPECT_THAT(said_[0], HasSubstr("endless answers"));
}

TEST_F(TriggerTest, WaitsForItsTriggerFile) {
  options_.trigger_file = Path("READY");
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_TRUE(recipes_.empty());
  Write("READY", "");
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
  Write("shards/b.jsonl", std::string(kRow) + "\n");
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);  // not touched
  Write("READY", "again");
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 2u);
}

TEST_F(TriggerTest, TriesAgainAfterAnError) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  std::filesystem::remove(Path("recipe.yaml"));
  Trigger trigger(options_);
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_THAT(std::string(Look(trigger).message()), HasSubstr("recipe.yaml"));
  Write("recipe.yaml", "x");
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_THAT(recipes_, ElementsAre("x"));
  std::filesystem::remove_all(Path("shards"));
  EXPECT_EQ(Look(trigger).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::training
