#include "training/distributed/rank_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include "base/clock.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr Duration kLostAfter = std::chrono::seconds(1);
constexpr Duration kLong = std::chrono::minutes(1);

// The ranks of these tests are watches in one process, whose store is a map.
class RankWatchTest : public ::testing::Test {
 protected:
  RankPlace Place(int rank, int size = 2) const { return {rank, size, rank, "127.0.0.1", 1}; }

  void Say(const std::string& key, const std::string& value) {
    store_->set(key, std::vector<std::uint8_t>(value.begin(), value.end()));
  }
  std::string Said(const std::string& key) {
    if (!store_->check({key})) return "";
    const std::vector<std::uint8_t> value = store_->get(key);
    return {value.begin(), value.end()};
  }

  const RealClock clock_;
  const c10::intrusive_ptr<c10d::Store> store_ = c10::make_intrusive<c10d::HashStore>();
};

TEST_F(RankWatchTest, ARankWithoutASignOfLifeIsLostAndTheOthersAreTold) {
  RankWatch watch(store_, Place(0), kLostAfter, clock_);
  const absl::Status why = watch.Explain("connection reset");
  EXPECT_EQ(why.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(why.message()), HasSubstr("rank 1 was lost: no sign of life for 1 s"));
  EXPECT_EQ(Said("lost"), why.message());
}

TEST_F(RankWatchTest, WhatAnotherRankFoundOutIsRepeated) {
  Say("lost", "rank 2 was lost: no sign of life for 60 s");
  RankWatch watch(store_, Place(1, 3), kLong, clock_);
  EXPECT_EQ(watch.Explain("timeout"),
            absl::UnavailableError("rank 2 was lost: no sign of life for 60 s"));
}

TEST_F(RankWatchTest, ARankThatFailedSaysWhy) {
  Say("failed/1", "data.json:3: no such picture");
  RankWatch watch(store_, Place(0), kLong, clock_);
  EXPECT_EQ(watch.Explain("connection reset"),
            absl::UnavailableError("rank 1 failed: data.json:3: no such picture"));
}

TEST_F(RankWatchTest, ACallMayFailWhileEverybodyLives) {
  RankWatch first(store_, Place(0), kLostAfter, clock_);
  RankWatch second(store_, Place(1), kLostAfter, clock_);
  const absl::Status why = first.Explain("out of buffers");
  EXPECT_EQ(why.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(why.message(),
            "all ranks show signs of life, but a call to them failed (out of buffers)");
}

// Rank 0 waits for the others, and a rank that has left is nobody to miss.
TEST_F(RankWatchTest, WhoLeavesWellIsNotLost) {
  RankWatch first(store_, Place(0), kLostAfter, clock_);
  {
    RankWatch second(store_, Place(1), kLostAfter, clock_);
    second.Leave(absl::OkStatus());
  }
  const TimePoint before = clock_.Now();
  const absl::Status why = first.Explain("closed");  // longer than a silent rank may be
  EXPECT_GE(clock_.Now() - before, 2 * kLostAfter);
  EXPECT_THAT(std::string(why.message()), Not(HasSubstr("rank 1")));
  first.Leave(absl::OkStatus());
  EXPECT_EQ(Said("left/0"), "1");
  EXPECT_EQ(Said("left/1"), "1");
  EXPECT_EQ(Said("lost"), "");
}

TEST_F(RankWatchTest, AStoppedRunLeavesWellAndAFaultIsToldToTheOthers) {
  Say("left/0", "1");
  Say("left/2", "1");
  RankWatch(store_, Place(1, 3), kLong, clock_).Leave(absl::CancelledError("stopped"));
  EXPECT_EQ(Said("left/1"), "1");
  EXPECT_EQ(Said("failed/1"), "");
  RankWatch(store_, Place(3, 4), kLong, clock_).Leave(absl::DataLossError("loss is nan"));
  EXPECT_EQ(Said("failed/3"), "loss is nan");
  EXPECT_EQ(Said("left/3"), "");
}

// A rank that ends because another was lost passes that on, and is no fault of its own.
TEST_F(RankWatchTest, WhoWasToldOfALossPassesItOn) {
  Say("failed/0", "disk full");
  RankWatch watch(store_, Place(1), kLong, clock_);
  const absl::Status why = watch.Explain("connection reset");
  watch.Leave(why);
  EXPECT_EQ(Said("lost"), "rank 0 failed: disk full");
  EXPECT_EQ(Said("left/1"), "1");
  EXPECT_EQ(Said("failed/1"), "");
}

// The process may hang in a call to the lost rank; nobody would end it.
TEST_F(RankWatchTest, AProcessThatHangsAfterALossIsEnded) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        RankWatch watch(store_, Place(0), std::chrono::milliseconds(100), clock_);
        Mutex mutex;
        CondVar never;
        MutexLock lock(&mutex);
        while (true) never.Wait(&mutex);
      },
      ::testing::ExitedWithCode(1), "rank 0 ends: rank 1 was lost: no sign of life");
}

}  // namespace
}  // namespace llava::training
