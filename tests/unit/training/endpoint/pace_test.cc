#include "training/endpoint/pace.h"

#include "gtest/gtest.h"

namespace llava::training {
namespace {

constexpr TimePoint kStart = TimePoint(std::chrono::hours(1));
constexpr Duration kSecond = std::chrono::seconds(1);

int BeginAll(Pace& pace, TimePoint now) {
  int begun = 0;
  while (pace.TryBegin(now, 1) == Duration::zero()) ++begun;
  return begun;
}

TEST(Pace, TheWindowIsHalvedOnceForAllThatWereInFlight) {
  Pace pace({.max_in_flight = 8});
  EXPECT_EQ(BeginAll(pace, kStart), 8);
  EXPECT_EQ(pace.TryBegin(kStart, 1), Pace::kNoPlace);
  for (int i = 0; i < 8; ++i) {
    pace.End(kStart, kStart + kSecond, Verdict::kThrottled, std::nullopt);
  }
  EXPECT_EQ(pace.window(), 4);
  const TimePoint later = kStart + 2 * kSecond;
  EXPECT_EQ(BeginAll(pace, later), 4);
  pace.End(later, later, Verdict::kThrottled, std::nullopt);
  EXPECT_EQ(pace.window(), 2);
}

TEST(Pace, TwentyGoodAnswersMakeItOneLarger) {
  Pace pace({.max_in_flight = 4});
  ASSERT_EQ(pace.TryBegin(kStart, 1), Duration::zero());
  pace.End(kStart, kStart, Verdict::kThrottled, std::nullopt);
  ASSERT_EQ(pace.window(), 2);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(pace.TryBegin(kStart, 1), Duration::zero());
    pace.End(kStart, kStart, Verdict::kGood, std::nullopt);
    EXPECT_EQ(pace.window(), i < 19 ? 2 : (i < 39 ? 3 : 4)) << i;
  }
}

TEST(Pace, RetryAfterHoldsForAll) {
  Pace pace({.max_in_flight = 8});
  ASSERT_EQ(pace.TryBegin(kStart, 1), Duration::zero());
  pace.End(kStart, kStart, Verdict::kThrottled, 5 * kSecond);
  EXPECT_EQ(pace.TryBegin(kStart + kSecond, 1), 4 * kSecond);
  EXPECT_EQ(pace.TryBegin(kStart + 5 * kSecond, 1), Duration::zero());
}

TEST(Pace, RatesAreKept) {
  Pace pace({.max_in_flight = 1000, .requests_per_minute = 60, .tokens_per_minute = 600});
  EXPECT_EQ(BeginAll(pace, kStart), 60);  // a minute's worth at once
  EXPECT_EQ(pace.TryBegin(kStart, 1), kSecond);
  EXPECT_EQ(BeginAll(pace, kStart + 3 * kSecond), 3);
  EXPECT_EQ(pace.TryBegin(kStart + 600 * kSecond, 5000), Duration::zero());  // more than a minute's
  EXPECT_GT(pace.TryBegin(kStart + 601 * kSecond, 1), 60 * kSecond);
}

TEST(Pace, WhileTheServiceIsDownOneAtATimeProbes) {
  Pace pace({.max_in_flight = 8, .probe_seconds = 30, .give_up_seconds = 100});
  TimePoint now = kStart;
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(pace.is_down());
    ASSERT_EQ(pace.TryBegin(now, 1), Duration::zero());
    pace.End(now, now, Verdict::kUnwell, std::nullopt);
  }
  EXPECT_TRUE(pace.is_down());
  EXPECT_EQ(pace.TryBegin(now, 1), 30 * kSecond);
  now += 30 * kSecond;
  EXPECT_EQ(BeginAll(pace, now), 1);
  EXPECT_FALSE(pace.HasGivenUp(now));
  EXPECT_TRUE(pace.HasGivenUp(kStart + 100 * kSecond));
  pace.End(now, now, Verdict::kGood, std::nullopt);
  EXPECT_FALSE(pace.is_down());
  EXPECT_FALSE(pace.HasGivenUp(kStart + 1000 * kSecond));
}

TEST(Pace, AWaitOfDaysIsGivenUpAtOnce) {
  Pace pace({.give_up_seconds = 60});
  ASSERT_EQ(pace.TryBegin(kStart, 1), Duration::zero());
  pace.End(kStart, kStart, Verdict::kThrottled, std::chrono::hours(48));
  EXPECT_TRUE(pace.HasGivenUp(kStart));
}

}  // namespace
}  // namespace llava::training
