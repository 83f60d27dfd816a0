#include "training/service/job_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class JobStoreTest : public ::testing::Test {
 protected:
  JobStoreTest() { Open(); }

  void Open() {
    store_.reset();
    auto store = JobStore::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  Job Insert(JobState state, const std::string& fingerprint = "") {
    return *store_->Insert(Job{.state = state, .recipe = "r", .data_fingerprint = fingerprint});
  }
  std::vector<std::int64_t> Ids(const std::vector<Job>& jobs) const {
    std::vector<std::int64_t> ids;
    for (const Job& job : jobs) ids.push_back(job.id);
    return ids;
  }

  test::TempDir dir_;
  const std::string path_ = dir_.path() + "/jobs.db";
  std::unique_ptr<JobStore> store_;
};

TEST_F(JobStoreTest, KeepsEveryFieldOverARestart) {
  Job job{.id = 0,
          .state = JobState::kFailed,
          .recipe = "model: \xE2\x82\xAC\n'; DROP TABLE jobs; --",
          .creator = "alice",
          .created_ms = 1,
          .started_ms = 2,
          .ended_ms = std::int64_t{1} << 40,
          .attempts = 3,
          .cancel_requested = true,
          .message = std::string("a\0b", 3),
          .data_fingerprint = "f",
          .deadline_ms = 5,
          .inputs = "{}",
          .crashes = 6};
  const Job stored = *store_->Insert(job);
  EXPECT_EQ(stored.id, 1);
  job.id = 1;
  EXPECT_EQ(stored, job);
  Open();
  EXPECT_EQ(store_->Get(1).value(), job);
}

TEST_F(JobStoreTest, AnIdIsNeverUsedAgain) {
  Insert(JobState::kQueued);
  const Job second = Insert(JobState::kQueued);
  EXPECT_TRUE(store_->Delete(second.id).ok());
  EXPECT_EQ(Insert(JobState::kQueued).id, second.id + 1);
}

TEST_F(JobStoreTest, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(store_->Get(7).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Update(Job{.id = 7}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Delete(7).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->RequestCancel(7).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(std::string(store_->Get(7).status().message()), "there is no job 7");
}

TEST_F(JobStoreTest, ARequestToCancelIsNotTakenBack) {
  Job job = Insert(JobState::kRunning);
  EXPECT_TRUE(store_->RequestCancel(job.id).ok());
  job.attempts = 2;  // written by the runner, which has not seen the request
  EXPECT_TRUE(store_->Update(job).ok());
  EXPECT_TRUE(store_->Get(job.id)->cancel_requested);
  EXPECT_EQ(store_->Get(job.id)->attempts, 2);
  const Job ended = Insert(JobState::kSucceeded);
  EXPECT_TRUE(store_->RequestCancel(ended.id).ok());
  EXPECT_FALSE(store_->Get(ended.id)->cancel_requested);
}

TEST_F(JobStoreTest, ListsTheNewestFirstInPages) {
  for (int i = 0; i < 5; ++i) Insert(i % 2 == 0 ? JobState::kQueued : JobState::kSucceeded);
  EXPECT_THAT(Ids(*store_->List(0, 2)), ElementsAre(5, 4));
  EXPECT_THAT(Ids(*store_->List(4, 10)), ElementsAre(3, 2, 1));
  EXPECT_THAT(Ids(*store_->List(1, 10)), ElementsAre());
  EXPECT_THAT(Ids(*store_->Unfinished()), ElementsAre(1, 3, 5));
  EXPECT_THAT(*store_->CountByState(),
              ElementsAre(Pair(JobState::kQueued, 3), Pair(JobState::kSucceeded, 2)));
}

TEST_F(JobStoreTest, SaysWhenAJobSucceededLast) {
  EXPECT_EQ(*store_->LastSuccessMillis(), 0);
  for (const std::int64_t ended : {2000, 9000, 5000}) {
    Job job = Insert(ended == 9000 ? JobState::kFailed : JobState::kSucceeded);
    job.ended_ms = ended;
    ASSERT_TRUE(store_->Update(job).ok());
  }
  EXPECT_EQ(*store_->LastSuccessMillis(), 5000);
}

TEST_F(JobStoreTest, FindsTheNewestJobOfItsData) {
  const auto insert = [this](const std::string& creator, JobState state) {
    Job job{.state = state, .recipe = "r", .creator = creator, .data_fingerprint = "a"};
    ASSERT_TRUE(store_->Insert(std::move(job)).ok());
  };
  insert("small", JobState::kFailed);
  EXPECT_EQ(store_->FindFingerprint("small", "a")->value().state, JobState::kFailed);
  insert("small", JobState::kCancelled);
  EXPECT_EQ(store_->FindFingerprint("small", "a")->value().state, JobState::kCancelled);
  EXPECT_FALSE(store_->FindFingerprint("small", "b")->has_value());
  // Another trigger over the same shards makes another model of them.
  EXPECT_FALSE(store_->FindFingerprint("large", "a")->has_value());
  insert("large", JobState::kSucceeded);
  EXPECT_EQ(store_->FindFingerprint("small", "a")->value().state, JobState::kCancelled);
}

TEST_F(JobStoreTest, TakesOverTheDatabaseOfAnEarlierVersion) {
  store_.reset();
  std::filesystem::remove(path_);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database,
                         "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT,"
                         " state INTEGER NOT NULL, recipe TEXT NOT NULL, creator TEXT NOT NULL,"
                         " created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,"
                         " ended_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,"
                         " cancel_requested INTEGER NOT NULL, message TEXT NOT NULL,"
                         " data_fingerprint TEXT NOT NULL);"
                         "INSERT INTO jobs VALUES (6, 3, 'r', 'c', 1, 2, 3, 4, 0, 'm', 'e');"
                         "INSERT INTO jobs VALUES (7, 1, 'r', 'c', 1, 2, 3, 4, 0, 'm', 'f')",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  Open();
  const Job job = *store_->Get(7);
  EXPECT_EQ(job.recipe, "r");
  EXPECT_EQ(job.deadline_ms, 0);
  EXPECT_EQ(job.inputs, "");
  EXPECT_EQ(job.crashes, 0);
  EXPECT_EQ(*store_->TrainedBy("c", "e"), 6);
  EXPECT_EQ(*store_->TrainedBy("c", "f"), 0);  // it is queued
  Open();                                      // and once more, as its own
  EXPECT_EQ(*store_->Get(7), job);
}

TEST_F(JobStoreTest, KnowsTheNewestJobOfACreator) {
  EXPECT_FALSE(store_->FindNewest("a")->has_value());
  store_->Insert(Job{.creator = "a"}).IgnoreError();
  store_->Insert(Job{.creator = "a"}).IgnoreError();
  store_->Insert(Job{.creator = "b"}).IgnoreError();
  EXPECT_EQ(store_->FindNewest("a")->value().id, 2);
}

TEST_F(JobStoreTest, RemembersSchedulesAndShardsOverARestart) {
  EXPECT_EQ(*store_->HandledMillis("nightly"), 0);
  ASSERT_TRUE(store_->SetHandledMillis("nightly", 5).ok());
  ASSERT_TRUE(store_->SetHandledMillis("nightly", 4).ok());
  EXPECT_TRUE(store_->KnownShards("nightly")->empty());
  ASSERT_TRUE(store_->RecordShard("nightly", "aa", {}).ok());
  ASSERT_TRUE(store_->RecordShard("nightly", "aa", {"v", "was rolled back"}).ok());
  ASSERT_TRUE(store_->RecordShard("weekly", "bb", {}).ok());
  Open();
  EXPECT_EQ(*store_->HandledMillis("nightly"), 4);
  EXPECT_EQ(*store_->HandledMillis("weekly"), 0);
  EXPECT_THAT(*store_->KnownShards("nightly"),
              ElementsAre(Pair("aa", KnownShard{"v", "was rolled back"})));
}

TEST_F(JobStoreTest, WhatATriggerHasTrainedOutlivesItsJobs) {
  EXPECT_EQ(*store_->TrainedBy("nightly", "ff"), 0);
  const Job job = Insert(JobState::kSucceeded);
  ASSERT_TRUE(store_->RecordTrained("nightly", "ff", job.id).ok());
  ASSERT_TRUE(store_->RecordTrained("nightly", "ff", job.id).ok());
  ASSERT_TRUE(store_->Delete(job.id).ok());
  Open();
  EXPECT_EQ(*store_->TrainedBy("nightly", "ff"), job.id);
  EXPECT_EQ(*store_->TrainedBy("nightly", "00"), 0);
  EXPECT_EQ(*store_->TrainedBy("weekly", "ff"), 0);
}

// Before there was a record of it.
TEST_F(JobStoreTest, WhatJobsOfAnEarlierVersionHaveTrainedIsKnown) {
  for (const JobState state : {JobState::kSucceeded, JobState::kRejected, JobState::kFailed}) {
    Job job{.state = state, .recipe = "r", .creator = "nightly"};
    job.data_fingerprint = absl::StrCat(static_cast<int>(state));
    job.inputs = "{}";
    ASSERT_TRUE(store_->Insert(std::move(job)).ok());
  }
  store_.reset();
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, "PRAGMA user_version=2", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  Open();
  for (std::int64_t id = 1; id <= 3; ++id) ASSERT_TRUE(store_->Delete(id).ok());
  EXPECT_EQ(*store_->TrainedBy("nightly", "3"), 1);
  EXPECT_EQ(*store_->TrainedBy("nightly", "6"), 2);
  EXPECT_EQ(*store_->TrainedBy("nightly", "4"), 0);  // it failed
}

TEST_F(JobStoreTest, IsForOneProcess) {
  const auto second = JobStore::Open(path_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << second.status();
}

TEST_F(JobStoreTest, RowsAreLearnedWhenTheirJobHas) {
  const capture::AdmittedRows first = {{"/a", {"0:aa", "1:bb"}}, {"/b", {}}};
  ASSERT_TRUE(store_->RecordAdmitted("nightly", 1, first).ok());
  EXPECT_EQ(*store_->LearnedRows("nightly"), capture::AdmittedRows());
  ASSERT_TRUE(store_->LearnAdmitted("nightly", 1).ok());
  Open();
  EXPECT_EQ(*store_->LearnedRows("nightly"), first);
  EXPECT_EQ(*store_->LearnedRows("hourly"), capture::AdmittedRows());
  // One that failed has taught nothing, and the next one takes its place.
  ASSERT_TRUE(store_->RecordAdmitted("nightly", 2, {{"/a", {"7:cc"}}}).ok());
  ASSERT_TRUE(store_->RecordAdmitted("nightly", 3, {{"/b", {"1:dd"}}}).ok());
  ASSERT_TRUE(store_->LearnAdmitted("nightly", 2).ok());
  EXPECT_EQ(*store_->LearnedRows("nightly"), first);
  ASSERT_TRUE(store_->LearnAdmitted("nightly", 3).ok());
  ASSERT_TRUE(store_->LearnAdmitted("nightly", 3).ok());  // the end of a job may come twice
  EXPECT_EQ(*store_->LearnedRows("nightly"), (capture::AdmittedRows{{"/b", {"1:dd"}}}));
}

}  // namespace
}  // namespace llava::training
