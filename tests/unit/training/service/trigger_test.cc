#include "training/service/trigger.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/data/instruction_dataset.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRow[] =
    R"({"id":"1","conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})";

class TriggerTest : public ::testing::Test {
 protected:
  TriggerTest() {
    std::filesystem::create_directory(Path("shards"));
    Write("recipe.yaml", "data: {files: ${SHARDS}}\n");
    options_ = {.name = "nightly",
                .watch = Path("shards"),
                .recipe = Path("recipe.yaml"),
                .trigger_file = "",
                .published = Path("models")};
  }

  std::string Path(const std::string& name) { return dir_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(Path(name)) << text;
  }

  absl::Status Look(Trigger& trigger) {
    TriggerJobs jobs;
    jobs.find = [this](const std::string& fingerprint) {
      const auto found = jobs_.find(fingerprint);
      return found == jobs_.end() ? std::optional<Job>() : std::optional<Job>(found->second);
    };
    jobs.create = [this](const std::string& recipe, const std::string& creator,
                         const std::string& fingerprint) {
      EXPECT_EQ(creator, "nightly");
      recipes_.push_back(recipe);
      jobs_[fingerprint] = {.id = std::ssize(recipes_), .attempts = 1};
      return absl::OkStatus();
    };
    jobs.retry = [this](std::int64_t id) {
      retried_.push_back(id);
      return absl::OkStatus();
    };
    return trigger.Look(jobs, now_ms_);
  }
  void LookThrice(Trigger& trigger) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(Look(trigger).ok());
  }

  test::TempDir dir_;
  TriggerOptions options_;
  std::map<std::string, Job> jobs_;  // by fingerprint
  std::vector<std::int64_t> retried_;
  std::int64_t now_ms_ = 1'000'000;
  std::vector<std::string> recipes_;
};

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

TEST_F(TriggerTest, DoesNotTrainTwiceOnTheSameShards) {
  Write("shards/a.jsonl", std::string(kRow) + "\n");
  const auto shards = ListShards(Path("shards"));
  const auto fingerprint = FingerprintOf(*shards);
  // The same as training writes into the manifest.
  EXPECT_EQ(*fingerprint, InstructionDataset::Open(*shards, {})->digests().at(0).Hex());
  model::Manifest manifest;
  manifest.data_fingerprint = *fingerprint;
  const auto write = [](const std::string& dir) {
    std::ofstream(dir + "/config.json") << "{}";
    return absl::OkStatus();
  };
  RealFiles files;
  ASSERT_TRUE(Publish(Path("models"), manifest, write, files).ok());
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_TRUE(recipes_.empty());

  options_.published = "";
  jobs_[*fingerprint] = {.id = 1};  // a job is at it
  Trigger second(options_);
  LookThrice(second);
  EXPECT_TRUE(recipes_.empty());
}

TEST_F(TriggerTest, AFailedJobIsTriedAgainLaterAndLater) {
  options_.retries = 2;
  options_.retry_seconds = 60;
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
  const auto write = [](const std::string& dir) {
    std::ofstream(dir + "/config.json") << "{}";
    return absl::OkStatus();
  };
  RealFiles files;
  ASSERT_TRUE(Publish(Path("models"), manifest, write, files).ok());
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_EQ(recipes_.size(), 1u);
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
  EXPECT_THAT(Look(trigger).message(), HasSubstr("recipe.yaml"));
  Write("recipe.yaml", "x");
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_THAT(recipes_, ElementsAre("x"));
  std::filesystem::remove_all(Path("shards"));
  EXPECT_EQ(Look(trigger).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace llava::training
