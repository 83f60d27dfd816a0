// What a recipe takes, and a trigger of such a recipe with a real store of jobs and real shards.
#include "training/service/captured_filters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "capture/open_shard.h"
#include "capture/shard.h"
#include "capture/verdicts.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"
#include "training/service/job_inputs.h"
#include "training/service/job_store.h"
#include "training/service/trigger.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kHour = 3'600'000;
constexpr std::int64_t kNoon = 1'767'268'800'000;
constexpr char kShard[] = "1700000000000";
constexpr char kRecipe[] =
    "name: n\noutput: run\nmodel: {checkpoint: /base}\n"
    "data: {files: ${SHARDS}, images: /p, captured: {dir: %s}}\n"
    "stages:\n  - {name: s, train: [decoder], epochs: 1, batch: 1, rate: 1.0}\n";

class CapturedTriggerTest : public ::testing::Test {
 protected:
  CapturedTriggerTest() {
    std::filesystem::create_directory(Path("shards"));
    WriteRecipe(Path("capture"));
    options_.name = "nightly";
    options_.watch = Path("shards");
    options_.recipe = Path("recipe.yaml");
    options_.scratch = dir_.path();
    store_ = JobStore::Open(Path("jobs.db")).value();
    auto shard = capture::OpenShard::Create(Path("capture"), kShard).value();
    for (const char* id : {"a", "b", "c"}) {
      EXPECT_TRUE(shard->Append(test::CapturedRow("ann", id), {}).ok());
    }
    EXPECT_TRUE(shard->Close().ok());
  }

  std::string Path(const std::string& name) { return dir_.path() + "/" + name; }
  void WriteRecipe(const std::string& captured) {
    std::string text = kRecipe;
    text.replace(text.find("%s"), 2, captured);
    std::ofstream(Path("recipe.yaml")) << text;
  }
  void Judge(const capture::Verdicts& verdicts) {
    ASSERT_TRUE(
        capture::WriteVerdicts(verdicts, capture::ShardFolder(Path("capture"), kShard)).ok());
  }

  absl::Status Look(Trigger& trigger) {
    TriggerJobs jobs;
    jobs.find = [this](const std::string& data) {
      return store_->FindFingerprint("nightly", data);
    };
    jobs.trained = [this](const std::string& data) { return store_->TrainedBy("nightly", data); };
    jobs.newest = [this] { return store_->FindNewest("nightly"); };
    jobs.create = [this](const Job& job, const capture::AdmittedRows& captured) {
      Job made = job;
      made.created_ms = now_ms_;
      made = store_->Insert(made).value();
      return store_->RecordAdmitted("nightly", made.id, captured);
    };
    jobs.retry = [](std::int64_t) { return absl::OkStatus(); };
    jobs.handled = [this] { return store_->HandledMillis("nightly"); };
    jobs.set_handled = [this](std::int64_t ms) { return store_->SetHandledMillis("nightly", ms); };
    jobs.known = [this] { return store_->KnownShards("nightly"); };
    jobs.learned = [this] { return store_->LearnedRows("nightly"); };
    jobs.quarantine = [](const std::string&, const KnownShard&) { return absl::OkStatus(); };
    jobs.say = [this](const std::string& line) { said_.push_back(line); };
    return trigger.Look(jobs, now_ms_);
  }
  void LookThrice(Trigger& trigger) {
    for (int i = 0; i < 3; ++i) {
      const absl::Status looked = Look(trigger);
      ASSERT_TRUE(looked.ok()) << looked;
    }
  }
  std::size_t Jobs() { return store_->List(0, 100)->size(); }
  // The newest job's numbers of captured rows: those that it learns from, those that changed.
  std::pair<std::int64_t, std::int64_t> Captured() {
    const JobInputs inputs = ParseJobInputs(store_->FindNewest("nightly").value()->inputs).value();
    return {inputs.captured, inputs.captured_changed};
  }
  void End(JobState state) {
    Job job = *store_->FindNewest("nightly").value();
    job.state = state;
    job.attempts = 9;  // not tried again
    job.ended_ms = now_ms_;
    ASSERT_TRUE(store_->Update(job).ok());
    if (state != JobState::kSucceeded) return;
    ASSERT_TRUE(store_->LearnAdmitted("nightly", job.id).ok());
  }

  test::TempDir dir_;
  TriggerOptions options_;
  std::unique_ptr<JobStore> store_;
  std::int64_t now_ms_ = kNoon;
  std::vector<std::string> said_;
};

const capture::Verdict kUp = {.thumb = capture::Thumb::kUp};
const capture::Verdict kDown = {.thumb = capture::Thumb::kDown};

TEST(CapturedFiltersTest, AreThoseOfTheStagesEachOnce) {
  constexpr char kTwoStages[] =
      "name: n\noutput: run\nmodel: {checkpoint: ${BASE}}\n"
      "data: {mixture: ${MIXTURE}, images: /p, captured: {dir: /c, verdicts: [corrected]}}\n"
      "stages:\n"
      "  - {name: a, train: [projector], epochs: 1, batch: 1, rate: 1.0}\n"
      "  - {name: b, train: [decoder], epochs: 1, batch: 1, rate: 1.0}\n";
  const auto filters = CapturedFiltersOf(kTwoStages);
  ASSERT_TRUE(filters.ok()) << filters.status();
  ASSERT_EQ(filters->size(), 1u) << "both stages take the same";
  EXPECT_EQ(filters->front().dir, "/c");
  EXPECT_TRUE(filters->front().wanted.corrected);
  EXPECT_FALSE(filters->front().wanted.up);
  EXPECT_TRUE(CapturedFiltersOf("rubbish")->empty());
  EXPECT_EQ(CapturedFiltersOf("captured: 1\n").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CapturedTriggerTest, AVerdictOnARowThatIsLongThereMakesAJob) {
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 0u) << "nobody has said anything of the rows";
  Judge({{0, kUp}});
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 1u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{1}, std::int64_t{1}));
  // The next one waits for the end of this one, and counts from what it has learned.
  Judge({{0, kUp}, {1, {.thumb = capture::Thumb::kDown, .correction = "Two."}}});
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 1u);
  End(JobState::kSucceeded);
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 2u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{2}, std::int64_t{1}));
  End(JobState::kSucceeded);
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 2u);
}

TEST_F(CapturedTriggerTest, VerdictsCountAmongTheNewRowsThatAreWanted) {
  options_.min_new_rows = 2;
  Trigger trigger(options_);
  Judge({{0, kUp}, {1, kDown}});  // one of them changes nothing
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 0u);
  Judge({{0, kUp}, {1, kDown}, {2, kUp}});
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 1u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{2}, std::int64_t{2}));
  End(JobState::kSucceeded);
  // What is no longer liked changes the data as well.
  Judge({{0, kDown}, {1, kUp}, {2, kUp}});
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 2u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{2}, std::int64_t{2}));
}

TEST_F(CapturedTriggerTest, AJobThatFailedHasLearnedNothing) {
  Judge({{0, kUp}});
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 1u);
  End(JobState::kFailed);
  Judge({{0, kUp}, {1, kUp}});
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 2u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{2}, std::int64_t{2}));
}

TEST_F(CapturedTriggerTest, VerdictsAloneMakeANight) {
  options_.schedule = CronSchedule::Parse("0 2 * * *", "UTC").value();
  options_.min_new_rows = 1;
  Trigger trigger(options_);
  LookThrice(trigger);
  Judge({{0, kUp}});
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 0u) << "it is not two o'clock";
  now_ms_ += 24 * kHour;
  ASSERT_TRUE(Look(trigger).ok());
  ASSERT_EQ(Jobs(), 1u);
  End(JobState::kSucceeded);
  now_ms_ += 24 * kHour;
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 1u);
  EXPECT_THAT(said_, ElementsAre(HasSubstr("no job: 0 new rows, at least 1")));
  // People judge all night long: that does not keep the night from coming.
  now_ms_ += 24 * kHour;
  Judge({{0, kUp}, {1, kUp}});
  ASSERT_TRUE(Look(trigger).ok());
  EXPECT_EQ(Jobs(), 2u);
}

TEST_F(CapturedTriggerTest, ARestartedServiceKnowsWhatWasLearned) {
  Judge({{0, kUp}});
  {
    Trigger trigger(options_);
    LookThrice(trigger);
    End(JobState::kSucceeded);
  }
  store_.reset();
  store_ = JobStore::Open(Path("jobs.db")).value();
  options_.min_new_rows = 2;
  Trigger trigger(options_);
  Judge({{0, kUp}, {1, kUp}});
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 1u);
  Judge({{0, kUp}, {1, kUp}, {2, kUp}});
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 2u);
}

TEST_F(CapturedTriggerTest, AFolderThatIsNotThereYetIsWaitedFor) {
  WriteRecipe(Path("elsewhere"));
  Trigger trigger(options_);
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 0u);
  std::filesystem::rename(Path("capture"), Path("elsewhere"));
  ASSERT_TRUE(
      capture::WriteVerdicts({{0, kUp}}, capture::ShardFolder(Path("elsewhere"), kShard)).ok());
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 1u);
}

// The other shards are learned without it; alone it makes no job, and what is mended is news.
TEST_F(CapturedTriggerTest, ADamagedCapturedShardIsSetAside) {
  constexpr char kOther[] = "1700000000001";
  auto shard = capture::OpenShard::Create(Path("capture"), kOther).value();
  ASSERT_TRUE(shard->Append(test::CapturedRow("ann", "d"), {}).ok());
  ASSERT_TRUE(shard->Close().ok());
  const std::string folder = capture::ShardFolder(Path("capture"), kShard);
  const std::string file = capture::RowsFile(folder);
  Judge({{0, kUp}});
  Trigger trigger(options_);
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 1u);
  End(JobState::kSucceeded);
  const std::string whole = *ReadFile(file, 1 << 20);
  std::ofstream(file, std::ios::trunc).close();
  LookThrice(trigger);
  EXPECT_EQ(Jobs(), 1u);
  EXPECT_THAT(said_, ElementsAre(HasSubstr(folder + " is set aside until it changes: ")));
  const std::string other = capture::ShardFolder(Path("capture"), kOther);
  ASSERT_TRUE(capture::WriteVerdicts({{0, kUp}}, other).ok());
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 2u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{1}, std::int64_t{1}));
  const JobInputs inputs = ParseJobInputs(store_->FindNewest("nightly").value()->inputs).value();
  ASSERT_EQ(inputs.set_aside.size(), 1u);
  EXPECT_EQ(inputs.set_aside[0].path, folder);
  EXPECT_THAT(inputs.set_aside[0].why, HasSubstr("is empty"));
  End(JobState::kSucceeded);
  std::ofstream(file) << whole;
  LookThrice(trigger);
  ASSERT_EQ(Jobs(), 3u);
  EXPECT_EQ(Captured(), std::pair(std::int64_t{2}, std::int64_t{1}));
}

TEST_F(CapturedTriggerTest, ARecipeThatCannotBeReadIsAnError) {
  std::ofstream(Path("recipe.yaml")) << "data: {captured: {dir: /c, verdict: up}}\n";
  Trigger trigger(options_);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(std::string(Look(trigger).message()), HasSubstr("recipe.yaml:1"));
  }
}

}  // namespace
}  // namespace llava::training
