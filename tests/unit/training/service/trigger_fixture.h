// A trigger's folders, and its jobs as a table of the test.
#ifndef LLAVA_TESTS_UNIT_TRAINING_SERVICE_TRIGGER_FIXTURE_H_
#define LLAVA_TESTS_UNIT_TRAINING_SERVICE_TRIGGER_FIXTURE_H_

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/publish/publish.h"
#include "training/service/job_inputs.h"
#include "training/service/trigger.h"

namespace llava::training {

inline constexpr char kRow[] =
    R"({"id":"1","conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})";

inline constexpr std::int64_t kHour = 3'600'000;
inline constexpr std::int64_t kNoon = 1'767'268'800'000;

class TriggerTest : public ::testing::Test {
 protected:
  TriggerTest() {
    std::filesystem::create_directory(Path("shards"));
    Write("recipe.yaml", "data: {files: ${SHARDS}}\n");
    options_ = {.name = "nightly",
                .watch = Path("shards"),
                .recipe = Path("recipe.yaml"),
                .trigger_file = "",
                .published = Path("models"),
                .scratch = dir_.path()};
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
    jobs.trained = [this](const std::string& fingerprint) {
      return trained_.contains(fingerprint) ? 7 : 0;
    };
    jobs.newest = [this] {
      std::optional<Job> newest;
      for (const auto& [fingerprint, job] : jobs_) {
        if (!newest || job.id > newest->id) newest = job;
      }
      return newest;
    };
    jobs.create = [this](const Job& job, const capture::AdmittedRows& captured) {
      EXPECT_TRUE(captured.empty());
      EXPECT_EQ(job.creator, "nightly");
      recipes_.push_back(job.recipe);
      Job created = job;
      created.id = std::ssize(recipes_);
      created.attempts = 1;
      jobs_[job.data_fingerprint] = created;
      return absl::OkStatus();
    };
    jobs.handled = [this] { return handled_ms_; };
    jobs.set_handled = [this](std::int64_t ms) {
      handled_ms_ = ms;
      return absl::OkStatus();
    };
    jobs.known = [this] { return known_; };
    jobs.learned = [] { return capture::AdmittedRows(); };
    jobs.quarantine = [this](const std::string& sha256, const KnownShard& known) {
      known_[sha256] = known;
      return absl::OkStatus();
    };
    jobs.say = [this](const std::string& line) { said_.push_back(line); };
    jobs.retry = [this](std::int64_t id) {
      retried_.push_back(id);
      return absl::OkStatus();
    };
    return trigger.Look(jobs, now_ms_);
  }
  PublishedVersion PublishOrDie(const model::Manifest& manifest) {
    const auto write = [](const std::string& dir) {
      std::ofstream(dir + "/config.json") << "{}";
      return absl::OkStatus();
    };
    RealFiles files;
    return Publish(Path("models"), manifest, write, files).value();
  }
  // At 02:00 each night, UTC; it is noon of the first of January 2026.
  Trigger Nightly() {
    options_.schedule = *CronSchedule::Parse("0 2 * * *", "UTC");
    now_ms_ = kNoon;
    return Trigger(options_);
  }
  void End(JobState state) {
    for (auto& [fingerprint, job] : jobs_) {
      if (HasEnded(job.state)) continue;
      job.state = state;
      job.ended_ms = now_ms_;
      if (state != JobState::kSucceeded) continue;
      const JobInputs inputs = ParseJobInputs(job.inputs).value();
      for (const Shard& shard : inputs.shards) known_[shard.sha256] = {};
    }
  }
  void LookThrice(Trigger& trigger) {
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(Look(trigger).ok());
  }

  test::TempDir dir_;
  TriggerOptions options_;
  std::map<std::string, Job> jobs_;  // by fingerprint
  std::set<std::string> trained_;
  std::vector<std::int64_t> retried_;
  std::int64_t now_ms_ = 1'000'000;
  std::int64_t handled_ms_ = 0;
  std::map<std::string, KnownShard> known_;
  std::vector<std::string> said_;
  std::vector<std::string> recipes_;
};

}  // namespace llava::training

#endif  // LLAVA_TESTS_UNIT_TRAINING_SERVICE_TRIGGER_FIXTURE_H_
