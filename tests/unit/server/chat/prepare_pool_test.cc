#include "server/chat/prepare_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"

namespace llava::api {
namespace {

// Opens once, for all who wait.
class Door {
 public:
  void Open() {
    MutexLock lock(&mutex_);
    open_ = true;
    opened_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(&mutex_);
    while (!open_) opened_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar opened_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
};

// Submits a job with a picture in it; returns once it runs.
void RunPicture(PreparePool& pool, const std::string& tenant, const std::function<void()>& job) {
  Door begun;
  EXPECT_TRUE(pool.TrySubmit(tenant, [&] {
    pool.SubmitPicture(tenant, [&begun, job] {
      begun.Open();
      job();
    });
  }));
  begun.Wait();
}

TEST(PreparePoolTest, TextsRunWhilePicturesKeepAllOtherThreads) {
  Door go_on;
  PreparePool pool(3, 100);
  for (int i = 0; i < 3; ++i) RunPicture(pool, "mallory", [&] { go_on.Wait(); });
  std::atomic<int> pictures = 0;
  Door all_wait;
  EXPECT_TRUE(pool.TrySubmit("mallory", [&] {
    for (int i = 0; i < 20; ++i) pool.SubmitPicture("mallory", [&] { ++pictures; });
    all_wait.Open();
  }));
  all_wait.Wait();
  for (int i = 0; i < 10; ++i) {
    Door ran;
    EXPECT_TRUE(pool.TrySubmit("bob", [&] { ran.Open(); }));
    ran.Wait();
  }
  EXPECT_EQ(pictures, 0);
  EXPECT_EQ(pool.waiting(), 20u);
  go_on.Open();
  pool.Stop();
  EXPECT_EQ(pictures, 20);
}

TEST(PreparePoolTest, AFloodOfOneTenantDelaysAnotherByWhatRuns) {
  Door go_on;
  std::atomic<int> mallory = 0;
  PreparePool pool(1, 100);
  RunPicture(pool, "mallory", [&] {
    go_on.Wait();
    const Duration end = ThreadCpuTime() + std::chrono::milliseconds(20);  // more than texts take
    while (ThreadCpuTime() < end) {
    }
  });
  Door all_wait, bob_ran;
  EXPECT_TRUE(pool.TrySubmit("mallory", [&] {
    for (int i = 0; i < 50; ++i) pool.SubmitPicture("mallory", [&] { ++mallory; });
    all_wait.Open();
  }));
  all_wait.Wait();
  int before_bob = -1;
  EXPECT_TRUE(pool.TrySubmit("bob", [&] {
    pool.SubmitPicture("bob", [&] {
      before_bob = mallory;
      bob_ran.Open();
    });
    go_on.Open();
  }));
  bob_ran.Wait();
  EXPECT_EQ(before_bob, 0);
}

// Also what jobs leave to do while the pool is stopped.
TEST(PreparePoolTest, StopRunsWhatIsLeft) {
  Door go_on;
  std::atomic<int> ran = 0;
  auto pool = std::make_unique<PreparePool>(2, 1000);
  std::function<void(int)> some = [&](int more) {
    go_on.Wait();
    ++ran;
    if (more > 0) pool->SubmitPicture("alice", [&some, more] { some(more - 1); });
  };
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(pool->TrySubmit(std::to_string(i), [&] { some(4); }));
  }
  std::jthread opener([&] { go_on.Open(); });
  pool->Stop();
  EXPECT_EQ(ran, 500);
  EXPECT_FALSE(pool->TrySubmit("alice", [] { FAIL(); }));
}

TEST(PreparePoolTest, WhatAJobHoldsIsGoneWhenItHasRun) {
  PreparePool pool(1, 2);
  auto held = std::make_shared<int>(7);
  const std::weak_ptr<int> seen = held;
  EXPECT_TRUE(pool.TrySubmit("alice", [held = std::move(held)] {}));
  pool.Stop();
  EXPECT_TRUE(seen.expired());
}

}  // namespace
}  // namespace llava::api
