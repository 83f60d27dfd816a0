#include "training/service/job_runner.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "training/publish/publish.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

// Recipes are shell scripts here. `blocks` is what a script ends with that waits to be ended.
constexpr char kBlocks[] = "echo '{\"step\":1}'\nmkfifo pipe$$\nexec cat pipe$$\n";

class JobRunnerTest : public ::testing::Test {
 protected:
  JobRunnerTest() { OpenStore(); }

  void OpenStore() {
    store_.reset();
    auto store = JobStore::Open(dir_.path() + "/jobs.db");
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  void StartRunner(int max_running = 1, std::vector<std::string> command = {"/bin/sh"}) {
    JobRunnerOptions options;
    options.folder = dir_.path();
    options.command = std::move(command);
    options.max_running = max_running;
    options.max_unfinished = 5;
    options.grace = std::chrono::seconds(20);
    runner_ = std::make_unique<JobRunner>(*store_, clock_, options);
  }

  std::int64_t Create(const std::string& script) {
    const auto job = runner_->Create({.recipe = script, .creator = "me"});
    EXPECT_TRUE(job.ok()) << job.status();
    return job->id;
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
  Job WaitForProgress(std::int64_t id) {
    return WaitUntil(id, [&](const Job& job) { return !runner_->Progress(job.id).empty(); });
  }

  std::string ReadFile(const std::string& name) {
    std::ifstream file(dir_.path() + "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  test::TempDir dir_;
  RealClock clock_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<JobRunner> runner_;
};

TEST_F(JobRunnerTest, RunsAJobInItsFolderAndKeepsItsOutput) {
  StartRunner();
  const std::int64_t id = Create("echo '{\"step\":1}'\npwd > where\n");
  const Job job = WaitForEnd(id);
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_EQ(job.attempts, 1);
  EXPECT_GT(job.ended_ms, 0);
  EXPECT_EQ(runner_->Progress(id), "{\"step\":1}");
  EXPECT_EQ(ReadFile(absl::StrCat(id, "/where")), runner_->JobFolder(id) + "\n");
}

TEST_F(JobRunnerTest, SaysWhyAJobFailed) {
  StartRunner();
  const Job failed = WaitForEnd(Create("echo starting\necho 'no such data' >&2\nexit 4\n"));
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.message, "ended with exit code 4: no such data");
  const Job killed = WaitForEnd(Create("kill -9 $$\n"));
  EXPECT_EQ(killed.state, JobState::kFailed);
  EXPECT_EQ(killed.message, "was killed by signal 9");
}

TEST_F(JobRunnerTest, WhatIsNotGoodEnoughIsRejected) {
  StartRunner();
  const Job job = WaitForEnd(Create("echo 'rejected: colour is 0.4'\nexit 3\n"));
  EXPECT_EQ(job.state, JobState::kRejected);
  EXPECT_EQ(job.message, "rejected: colour is 0.4");
  EXPECT_EQ(runner_->Retry(job.id).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(JobRunnerTest, AJobIsEndedAtItsDeadline) {
  std::atomic<int> ended = 0;
  JobRunnerOptions options;
  options.folder = dir_.path();
  options.command = {"/bin/sh"};
  options.grace = std::chrono::seconds(20);
  options.tick_interval = std::chrono::milliseconds(10);
  options.on_tick = [](JobRunner&) {};
  options.on_end = [&ended](const Job& job) { ended += job.state == JobState::kFailed ? 1 : 0; };
  runner_ = std::make_unique<JobRunner>(*store_, clock_, options);
  const std::int64_t far = clock_.UnixMillis() + 1'000'000;
  const std::int64_t running = runner_->Create({.recipe = kBlocks, .deadline_ms = far})->id;
  WaitForProgress(running);
  const std::int64_t waiting = runner_->Create({.recipe = "exit 0\n", .deadline_ms = 1})->id;
  EXPECT_EQ(WaitForEnd(waiting).message, "was not done by its deadline");
  EXPECT_EQ(store_->Get(waiting)->attempts, 0);
  Job now = *store_->Get(running);
  now.deadline_ms = clock_.UnixMillis();
  ASSERT_TRUE(store_->Update(now).ok());
  const Job late = WaitForEnd(running);
  EXPECT_EQ(late.state, JobState::kFailed);
  EXPECT_EQ(late.message, "was not done by its deadline");
  EXPECT_EQ(ended, 2);
}

TEST_F(JobRunnerTest, RunsOnlySoManyAtATimeOldestFirst) {
  StartRunner(2);
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(Create(kBlocks));
  WaitForProgress(ids[0]);
  WaitForProgress(ids[1]);
  EXPECT_EQ(store_->Get(ids[2])->state, JobState::kQueued);
  ASSERT_TRUE(runner_->Cancel(ids[1]).ok());
  WaitForProgress(ids[2]);
  EXPECT_EQ(store_->Get(ids[0])->state, JobState::kRunning);
}

TEST_F(JobRunnerTest, RefusesTooManyJobsAndBadRecipes) {
  StartRunner();
  for (int i = 0; i < 5; ++i) Create(kBlocks);
  EXPECT_EQ(runner_->Create({.recipe = "x"}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(runner_->Create({.recipe = ""}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JobRunnerTest, CancelsWaitingAndRunningJobs) {
  StartRunner();
  const std::int64_t running = Create(kBlocks);
  const std::int64_t waiting = Create("echo never\n");
  WaitForProgress(running);
  EXPECT_EQ(runner_->Delete(running).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(runner_->Cancel(waiting).ok());
  EXPECT_EQ(WaitForEnd(waiting).state, JobState::kCancelled);
  EXPECT_EQ(store_->Get(waiting)->attempts, 0);
  ASSERT_TRUE(runner_->Cancel(running).ok());
  EXPECT_EQ(WaitForEnd(running).state, JobState::kCancelled);
  EXPECT_EQ(runner_->Cancel(running)->state, JobState::kCancelled);
  EXPECT_EQ(runner_->Cancel(99).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(runner_->Delete(running).ok());
  EXPECT_EQ(store_->Get(running).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(runner_->JobFolder(running)));
}

TEST_F(JobRunnerTest, JobsGoOnAfterTheServiceWasDown) {
  StartRunner();
  const std::int64_t first =
      Create(absl::StrCat("echo run >> runs\n[ $(wc -l < runs) = 2 ] && exit 0\n", kBlocks));
  const std::int64_t second = Create("echo run >> runs\n");
  WaitForProgress(first);
  runner_.reset();
  EXPECT_EQ(store_->Get(first)->state, JobState::kRunning);
  EXPECT_EQ(store_->Get(first)->crashes, 0);  // the service ended it in good order
  Job earlier = *store_->Get(first);
  earlier.started_ms = 17;  // long ago
  ASSERT_TRUE(store_->Update(earlier).ok());
  OpenStore();
  StartRunner();
  EXPECT_EQ(WaitForEnd(first).state, JobState::kSucceeded);
  EXPECT_EQ(WaitForEnd(second).state, JobState::kSucceeded);
  EXPECT_EQ(store_->Get(first)->attempts, 1);     // it did not fail: no retry is used up
  EXPECT_EQ(store_->Get(first)->started_ms, 17);  // the first time counts
  EXPECT_GT(store_->Get(second)->started_ms, 17);
  EXPECT_EQ(ReadFile(absl::StrCat(first, "/runs")), "run\nrun\n");
  EXPECT_EQ(ReadFile(absl::StrCat(second, "/runs")), "run\n");
}

// As the store is left by a service that dies whenever it runs the job.
TEST_F(JobRunnerTest, AJobThatTakesTheServiceDownIsNotBegunForEver) {
  const auto left = [this](int crashes) {
    Job job{.state = JobState::kRunning, .recipe = "echo run >> runs\n", .crashes = crashes};
    return store_->Insert(job)->id;
  };
  const std::int64_t lucky = left(9);
  const std::int64_t deadly = left(10);
  StartRunner();
  EXPECT_EQ(WaitForEnd(lucky).state, JobState::kSucceeded);
  EXPECT_EQ(store_->Get(lucky)->crashes, 0);
  const Job ended = WaitForEnd(deadly);
  EXPECT_EQ(ended.state, JobState::kFailed);
  EXPECT_EQ(ended.message, "the service died 10 times in a row while it ran");
  EXPECT_FALSE(std::filesystem::exists(runner_->JobFolder(deadly) + "/runs"));
  ASSERT_TRUE(runner_->Retry(deadly).ok());
  EXPECT_EQ(WaitForEnd(deadly).state, JobState::kSucceeded);
}

// A limit on the size of files stands in for a full disk.
TEST_F(JobRunnerTest, AnEndThatTheDiskDoesNotTakeIsStoredLater) {
  std::atomic<int> ended = 0;
  JobRunnerOptions options;
  options.folder = dir_.path();
  options.command = {"/bin/sh"};
  options.on_end = [&ended](const Job&) { ++ended; };
  std::atomic<int> told = 0;
  options.on_problem = [&told](const absl::Status&) { ++told; };
  runner_ = std::make_unique<JobRunner>(*store_, clock_, options);
  const std::int64_t id =
      Create("echo run >> runs\nmkfifo gate\necho '{\"step\":1}'\nread word < gate\n");
  WaitForProgress(id);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit full = before;
  full.rlim_cur = 1;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  {  // the write that lets the job go on is to a pipe, which has no size
    const int gate = ::open((runner_->JobFolder(id) + "/gate").c_str(), O_WRONLY);
    EXPECT_EQ(::write(gate, "\n", 1), 1);
    ::close(gate);
  }
  const TimePoint deadline = clock_.Now() + std::chrono::seconds(100);
  while (told == 0 && clock_.Now() < deadline) std::this_thread::yield();
  EXPECT_EQ(store_->Get(id)->state, JobState::kRunning);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(WaitForEnd(id).state, JobState::kSucceeded);
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(ReadFile(absl::StrCat(id, "/runs")), "run\n");  // it was not begun again
}

TEST_F(JobRunnerTest, FailsAJobWhoseProgramCannotBeRun) {
  StartRunner(1, {"/none/llava-train", "run"});
  const Job job = WaitForEnd(Create("x"));
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_THAT(job.message, HasSubstr("/none/llava-train"));
  EXPECT_EQ(job.attempts, 1);  // else it would be tried again for ever
}

// As with a recipe whose `publish` is a relative path: the record may go, what serves people not.
TEST_F(JobRunnerTest, AJobInWhoseFolderVersionsWerePublishedIsNotDeleted) {
  StartRunner();
  const std::int64_t id = Create("mkdir -p out/models\n");
  WaitForEnd(id);
  const std::string root = runner_->JobFolder(id) + "/out/models";
  const auto write = [](const std::string& dir) {
    std::ofstream(dir + "/config.json") << "{}";
    return absl::OkStatus();
  };
  RealFiles files;
  const auto published = Publish(root, model::Manifest(), write, files);
  ASSERT_TRUE(published.ok()) << published.status();
  const absl::Status refused = runner_->Delete(id);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(published->dir));
  EXPECT_EQ(LatestVersion(root)->version, published->version);
  EXPECT_TRUE(store_->Get(id).ok());
  const std::string elsewhere = dir_.path() + "/models";
  std::filesystem::rename(root, elsewhere);
  std::filesystem::create_symlink(elsewhere, root);
  EXPECT_TRUE(runner_->Delete(id).ok());
  EXPECT_EQ(LatestVersion(elsewhere)->version, published->version);
  EXPECT_FALSE(std::filesystem::exists(runner_->JobFolder(id)));
}

TEST_F(JobRunnerTest, AFailedJobGoesOnInItsFolderWhenItIsTriedAgain) {
  StartRunner();
  const std::int64_t id = Create("test -e begun && exit 0\ntouch begun\nexit 4\n");
  EXPECT_EQ(WaitForEnd(id).state, JobState::kFailed);
  ASSERT_TRUE(runner_->Retry(id).ok());
  const Job job = WaitForEnd(id);
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_EQ(job.attempts, 2);
  EXPECT_EQ(runner_->Retry(id).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(JobRunnerTest, MakesNoJobOfARecipeThatIsRefused) {
  JobRunnerOptions options;
  options.folder = dir_.path();
  options.command = {"/bin/sh"};
  options.check_recipe = [](const std::string& recipe) {
    return recipe == "bad" ? absl::InvalidArgumentError("recipe:1: is bad") : absl::OkStatus();
  };
  runner_ = std::make_unique<JobRunner>(*store_, clock_, options);
  EXPECT_EQ(runner_->Create({.recipe = "bad"}).status(),
            absl::InvalidArgumentError("recipe:1: is bad"));
  EXPECT_TRUE(store_->List(0, 10)->empty());
  EXPECT_TRUE(runner_->Create({.recipe = "exit 0\n"}).ok());
}

TEST_F(JobRunnerTest, TheStoreKeepsEverythingAndBelongsToOneProcess) {
  Job job{.recipe = "a\nb", .creator = "x", .created_ms = 5, .data_fingerprint = "ff"};
  job.id = store_->Insert(job)->id;
  Job changed = job;
  changed.state = JobState::kSucceeded;
  changed.attempts = 2;
  changed.message = "done";
  ASSERT_TRUE(store_->Update(changed).ok());
  EXPECT_EQ(JobStore::Open(dir_.path() + "/jobs.db").status().code(),
            absl::StatusCode::kUnavailable);
  OpenStore();
  EXPECT_EQ(*store_->Get(job.id), changed);
  EXPECT_TRUE(store_->FindFingerprint("x", "ff")->has_value());
  EXPECT_FALSE(store_->FindFingerprint("x", "00")->has_value());
  EXPECT_EQ(store_->Unfinished()->size(), 0u);
  const std::int64_t second = store_->Insert(job)->id;
  EXPECT_EQ(store_->List(0, 10)->front().id, second);
  EXPECT_EQ(store_->List(second, 10)->front().id, job.id);
  ASSERT_TRUE(store_->Delete(second).ok());
  EXPECT_GT(store_->Insert(job)->id, second);  // never the same id again
  EXPECT_EQ(store_->Delete(second).code(), absl::StatusCode::kNotFound);
  std::ofstream(dir_.path() + "/rubbish.db") << std::string(5000, 'x');
  EXPECT_EQ(JobStore::Open(dir_.path() + "/rubbish.db").status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace llava::training
