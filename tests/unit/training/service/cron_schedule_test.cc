#include "training/service/cron_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::int64_t Ms(const std::string& rfc3339) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, rfc3339, &time, &error)) << error;
  return absl::ToUnixMillis(time);
}

// The next `count` times after `from`, in UTC.
std::vector<std::string> Times(const std::string& fields, const std::string& zone,
                               const std::string& from, int count) {
  const auto schedule = CronSchedule::Parse(fields, zone);
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  std::vector<std::string> times;
  std::int64_t now = Ms(from);
  for (int i = 0; i < count && schedule.ok(); ++i) {
    now = schedule->Next(now);
    times.push_back(
        absl::FormatTime("%Y-%m-%dT%H:%M", absl::FromUnixMillis(now), absl::UTCTimeZone()));
  }
  return times;
}

std::string Mistake(const std::string& fields, const std::string& zone = "UTC") {
  return std::string(CronSchedule::Parse(fields, zone).status().message());
}

TEST(CronScheduleTest, EachFieldIsReadAsCronDoes) {
  EXPECT_THAT(Times("0 2 * * *", "UTC", "2026-03-01T02:00:00Z", 2),
              ElementsAre("2026-03-02T02:00", "2026-03-03T02:00"));
  EXPECT_THAT(
      Times("*/20 7-8 * * *", "UTC", "2026-03-01T07:00:00Z", 4),
      ElementsAre("2026-03-01T07:20", "2026-03-01T07:40", "2026-03-01T08:00", "2026-03-01T08:20"));
  EXPECT_THAT(Times("10-50/20,5 0 1 JAN,jul *", "UTC", "2026-01-01T00:00:00Z", 5),
              ElementsAre("2026-01-01T00:05", "2026-01-01T00:10", "2026-01-01T00:30",
                          "2026-01-01T00:50", "2026-07-01T00:05"));
  EXPECT_THAT(Times("0 12 * * mon-fri", "UTC", "2026-03-06T12:00:00Z", 1),
              ElementsAre("2026-03-09T12:00"));  // from Friday to Monday
  EXPECT_THAT(Times("0 12 * * 7", "UTC", "2026-03-06T12:00:00Z", 2),
              ElementsAre("2026-03-08T12:00", "2026-03-15T12:00"));
  EXPECT_THAT(Times("0 0 13 * 5", "UTC", "2026-03-01T00:00:00Z", 3),
              ElementsAre("2026-03-06T00:00", "2026-03-13T00:00", "2026-03-20T00:00"));
  EXPECT_THAT(Times("0 0 */2147483647 * *", "UTC", "2026-03-01T00:00:00Z", 1),
              ElementsAre("2026-04-01T00:00"));
  EXPECT_THAT(Times("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1),
              ElementsAre("2104-02-29T00:00"));
}

TEST(CronScheduleTest, IsReadOnTheWallClockOfItsZone) {
  EXPECT_THAT(Times("30 1 * * *", "Asia/Kolkata", "2026-06-01T00:00:00Z", 1),
              ElementsAre("2026-06-01T20:00"));
  EXPECT_THAT(Times("0 2 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z", 1),
              ElementsAre("2026-01-11T01:00"));
  EXPECT_THAT(Times("0 2 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z", 1),
              ElementsAre("2026-07-11T00:00"));
}

// In Berlin 2:00 to 2:59 are left out on 29 March 2026 (1:00 UTC), and come twice on 25 October.
TEST(CronScheduleTest, AMinuteThatSummerTimeLeavesOutComesAtTheChange) {
  EXPECT_THAT(Times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
              ElementsAre("2026-03-29T01:00", "2026-03-30T00:30"));
  EXPECT_THAT(Times("0,20,40 2-3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 3),
              ElementsAre("2026-03-29T01:00", "2026-03-29T01:20", "2026-03-29T01:40"));
}

TEST(CronScheduleTest, AMinuteThatComesTwiceOnTheClockIsDueOnce) {
  EXPECT_THAT(Times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
              ElementsAre("2026-10-25T00:30", "2026-10-26T01:30"));
  EXPECT_THAT(Times("0 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 3),
              ElementsAre("2026-10-25T00:00", "2026-10-25T02:00", "2026-10-25T03:00"));
  // Also for who asks in the second of the two hours.
  EXPECT_THAT(Times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
              ElementsAre("2026-10-26T01:30"));
}

TEST(CronScheduleTest, ADayThatAZoneLeavesOutIsMadeUpFor) {
  // Samoa had no 30 December 2011: 2011-12-29 24:00 was 2011-12-31 0:00.
  EXPECT_THAT(Times("0 2 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", 1),
              ElementsAre("2011-12-30T10:00"));
}

TEST(CronScheduleTest, WhatIsNoScheduleIsRefusedByName) {
  EXPECT_THAT(Mistake("0 2 * *"), HasSubstr("4 fields, expected 5"));
  EXPECT_THAT(Mistake("60 2 * * *"), HasSubstr("the minute is '60'"));
  EXPECT_THAT(Mistake("0 24 * * *"), HasSubstr("the hour is '24'"));
  EXPECT_THAT(Mistake("0 2 0 * *"), HasSubstr("the day of the month is '0'"));
  EXPECT_THAT(Mistake("0 2 * 13 *"), HasSubstr("the month is '13'"));
  EXPECT_THAT(Mistake("0 2 * * 8"), HasSubstr("the weekday is '8'"));
  for (const char* field : {"", "-1", "5-1", "1-2-3", "*/0", "*/x", "*/5/5", "5/10", "1,", "1,,2",
                            "+1", "0x1", "1.5", "**", "mon"}) {
    EXPECT_FALSE(CronSchedule::Parse(std::string(field) + " 2 * * *", "UTC").ok()) << field;
  }
  EXPECT_THAT(Mistake("0 0 30 2 *"), HasSubstr("no day ever fits"));
  EXPECT_THAT(Mistake("0 2 * * *", "Europe/Atlantis"), HasSubstr("'Europe/Atlantis'"));
}

}  // namespace
}  // namespace llava::training
