#include "model/ranks/rank_threads.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

namespace llava::model {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<RankThreads> StartCpus(std::size_t ranks, int threads = 0) {
  TurnOffFlightRecorder();
  auto started = RankThreads::Start(std::vector<at::Device>(ranks, at::kCPU), threads);
  EXPECT_TRUE(started.ok()) << started.status();
  return *std::move(started);
}

// Adds up 1, 2, 3 ... some times; whether each sum was right.
absl::Status Add(RankThreads& ranks, int rank, int times) {
  const c10::InferenceMode inference;
  const int all = ranks.size() * (ranks.size() + 1) / 2;
  for (int i = 0; i < times; ++i) {
    const at::Tensor tensor = at::full({3, 5}, rank + 1, at::kFloat);
    ranks.Sum(rank, tensor);
    if (!at::equal(tensor, at::full({3, 5}, all, at::kFloat))) {
      return absl::DataLossError("another sum");
    }
  }
  return absl::OkStatus();
}

TEST(RankThreadsTest, OneRankIsACall) {
  const auto alone = StartCpus(1);
  const auto caller = std::this_thread::get_id();
  const at::Tensor tensor = at::full({2}, 3, at::kFloat);
  const absl::Status status = alone->Run([&](int rank) {
    EXPECT_EQ(rank, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    alone->Sum(rank, tensor);
    return absl::AbortedError("as it is");
  });
  EXPECT_EQ(status, absl::AbortedError("as it is"));
  EXPECT_TRUE(at::equal(tensor, at::full({2}, 3, at::kFloat)));
}

// In a program that has not turned off the flight recorder.
TEST(RankThreadsTest, SeveralRanksWantAProgramThatIsMadeForThem) {
  ASSERT_EQ(::unsetenv("TORCH_FR_BUFFER_SIZE"), 0);
  const std::vector<at::Device> cpus(2, at::kCPU);
  EXPECT_EQ(RankThreads::Start(cpus, 0).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(RankThreads::Start({at::kCPU}, 0).ok());
  TurnOffFlightRecorder();
  EXPECT_TRUE(RankThreads::Start(cpus, 0).ok());
}

TEST(RankThreadsTest, EveryRankHasTheSumAndRankZeroIsTheCaller) {
  for (const std::size_t size : {2, 3}) {
    const auto ranks = StartCpus(size);
    ASSERT_EQ(ranks->size(), static_cast<int>(size));
    for (int run = 0; run < 20; ++run) {
      std::atomic<int> called = 0;
      const auto caller = std::this_thread::get_id();
      const absl::Status status = ranks->Run([&](int rank) {
        called += 1 << rank;
        EXPECT_EQ(rank == 0, std::this_thread::get_id() == caller);
        return Add(*ranks, rank, 10);
      });
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(called, (1 << size) - 1);
    }
  }
}

TEST(RankThreadsTest, NothingIsAddedUpWhereThereIsNothing) {
  const auto ranks = StartCpus(2);
  EXPECT_TRUE(ranks
                  ->Run([&](int rank) {
                    ranks->Sum(rank, at::empty({0, 7}));
                    return Add(*ranks, rank, 1);
                  })
                  .ok());
}

// Whichever rank fails, and however: the others, which wait for its part of a sum, come back, the
// first failure is what is said, and the next run is as any other.
TEST(RankThreadsTest, ARankThatFailsWakesTheOthers) {
  const auto ranks = StartCpus(3);
  for (int bad = 0; bad < ranks->size(); ++bad) {
    const absl::Status said = ranks->Run([&](int rank) -> absl::Status {
      const absl::Status begun = Add(*ranks, rank, 2);
      if (!begun.ok()) return begun;
      if (rank == bad) return absl::ResourceExhaustedError("no memory");
      return Add(*ranks, rank, 2);
    });
    EXPECT_EQ(said, absl::ResourceExhaustedError("no memory")) << bad;
    const absl::Status thrown = ranks->Run([&](int rank) -> absl::Status {
      if (rank == bad) throw std::runtime_error("lost");
      return Add(*ranks, rank, 1);
    });
    EXPECT_EQ(thrown.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(thrown.message()), HasSubstr("cpu: lost"));
    const absl::Status after = ranks->Run([&](int rank) { return Add(*ranks, rank, 3); });
    EXPECT_TRUE(after.ok()) << after;
  }
}

TEST(RankThreadsTest, RanksOnCpusShareTheThreads) {
  const int before = at::get_num_threads();
  const auto ranks = StartCpus(2, /*threads=*/6);
  std::atomic<int> threads = 0;
  EXPECT_TRUE(ranks
                  ->Run([&](int) {
                    threads += at::get_num_threads();
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(threads, 6);
  EXPECT_EQ(at::get_num_threads(), before);
}

}  // namespace
}  // namespace llava::model
