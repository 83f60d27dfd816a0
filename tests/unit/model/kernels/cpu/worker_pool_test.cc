#include "model/kernels/cpu/worker_pool.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <latch>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace llava::model {
namespace {

TEST(WorkerPool, EveryJobRunsOnce) {
  at::set_num_threads(4);
  for (const std::int64_t jobs : {0, 1, 2, 3, 4, 5, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(jobs));
    ParallelJobs(jobs, jobs, [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
    for (const auto& count : runs) EXPECT_EQ(count, 1) << jobs;
  }
}

// Thousands of short tasks after each other: none is lost, and each is over when Run returns.
TEST(WorkerPool, TasksFollowEachOtherWithoutMixing) {
  at::set_num_threads(3);
  std::vector<int> values(64);
  for (int round = 1; round <= 20'000; ++round) {
    ParallelJobs(64, 64, [&](std::int64_t i) { values[static_cast<std::size_t>(i)] = round; });
    ASSERT_EQ(std::accumulate(values.begin(), values.end(), 0), 64 * round);
  }
}

TEST(WorkerPool, SeveralThreadsWorkAtOnce) {
  WorkerPool pool;
  std::latch all_here(3);  // nobody leaves before three have come
  std::latch* context = &all_here;
  pool.Run(
      3, [](void* latch) { (*static_cast<std::latch**>(latch))->arrive_and_wait(); }, &context);
}

TEST(WorkerPool, NoMoreThreadsThanAskedFor) {
  WorkerPool pool;
  struct Seen {
    Mutex mutex;
    std::set<std::thread::id> threads;
  } seen;
  const auto note = [](void* context) {
    auto* const s = static_cast<Seen*>(context);
    const MutexLock lock(&s->mutex);
    s->threads.insert(std::this_thread::get_id());
  };
  pool.Run(4, note, &seen);  // starts three workers
  for (int i = 0; i < 1000; ++i) {
    seen.threads.clear();
    pool.Run(2, note, &seen);
    ASSERT_LE(seen.threads.size(), 2u);
    ASSERT_TRUE(seen.threads.contains(std::this_thread::get_id()));
  }
  seen.threads.clear();
  pool.Run(1, note, &seen);
  EXPECT_EQ(seen.threads, std::set{std::this_thread::get_id()});
}

TEST(WorkerPool, WhatAJobThrowsComesOutAndTheNextTaskRuns) {
  at::set_num_threads(4);
  for (int thrower = 0; thrower < 8; ++thrower) {
    const auto run = [&] {
      ParallelJobs(8, 8, [&](std::int64_t i) {
        if (i == thrower) throw std::runtime_error("job");
      });
    };
    EXPECT_THROW(run(), std::runtime_error) << thrower;
  }
  std::atomic<int> runs = 0;
  ParallelJobs(8, 8, [&](std::int64_t) { ++runs; });
  EXPECT_EQ(runs, 8);
}

TEST(WorkerPool, ATaskWithinATaskRunsWhereItIsCalled) {
  at::set_num_threads(4);
  std::atomic<int> runs = 0;
  std::atomic<int> elsewhere = 0;
  ParallelJobs(16, 16, [&](std::int64_t) {
    const auto here = std::this_thread::get_id();
    ParallelJobs(4, 4, [&](std::int64_t) {
      ++runs;
      if (std::this_thread::get_id() != here) ++elsewhere;
    });
  });
  EXPECT_EQ(runs, 64);
  EXPECT_EQ(elsewhere, 0);
}

TEST(WorkerPool, AtensOperatorsRunAloneWithinATaskAndAsBeforeAfterIt) {
  at::set_num_threads(4);
  std::atomic<int> most = 0;
  ParallelJobs(16, 16, [&](std::int64_t) {
    const int threads = omp_get_max_threads();
    if (threads > most) most = threads;
  });
  EXPECT_EQ(most, 1);
  EXPECT_EQ(omp_get_max_threads(), 4);
}

// Whoever asks ATen within a task, as its operators do, does not change how many threads they take.
TEST(WorkerPool, AtensNumberOfThreadsIsNotTakenUpWithinATask) {
  at::set_num_threads(4);
  struct Seen {
    std::latch all_here{3};
    std::atomic<int> alone = 0;
  } seen;
  WorkerPool pool;
  const auto ask = [](void* context) {
    auto* const s = static_cast<Seen*>(context);
    s->all_here.arrive_and_wait();
    static_cast<void>(at::get_num_threads());
    s->alone += omp_get_max_threads() == 1 ? 1 : 0;
  };
  pool.Run(3, ask, &seen);
  EXPECT_EQ(seen.alone, 3);
}

TEST(WorkerPool, SmallWorkStaysOnOneThread) {
  EXPECT_EQ(ThreadsFor(0), 1);
  EXPECT_EQ(ThreadsFor((1 << 18) - 1), 1);
  EXPECT_EQ(ThreadsFor(2 << 18), 2);
  EXPECT_EQ(ThreadsFor(std::int64_t{1} << 40), std::int64_t{1} << 22);
}

}  // namespace
}  // namespace llava::model
