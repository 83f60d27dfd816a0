#include "client/batch/progress.h"

#include <cstdio>
#include <string>

#include "base/file.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::client {
namespace {

TEST(ProgressTest, RateAndTimeLeftAreOfThisRun) {
  BatchProgress progress{.total = 1000, .before = 100, .answered = 17, .failed = 3};
  EXPECT_EQ(ProgressText(progress, std::chrono::seconds(10)),
            "120 of 1000, 3 failed, 2.00 a second, 0:07:20 left");
  progress.failed = 0;
  progress.answered = 900;
  EXPECT_EQ(ProgressText(progress, std::chrono::hours(1)),
            "1000 of 1000, 0.25 a second, 0:00:00 left");
}

TEST(ProgressTest, BeforeTheFirstRowThereIsNoRate) {
  const BatchProgress progress{.total = 9, .before = 4};
  EXPECT_EQ(ProgressText(progress, std::chrono::seconds(5)), "4 of 9");
}

TEST(ProgressTest, AFileGetsALineNowAndThen) {
  test::TempDir dir;
  const std::string path = dir.path() + "/log";
  std::FILE* file = std::fopen(path.c_str(), "w");
  ManualClock clock;
  ProgressLine line(&clock, file);
  BatchProgress progress{.total = 90};
  for (int second = 0; second <= 45; ++second, ++progress.answered) {
    line.Show(progress);
    clock.Advance(std::chrono::seconds(1));
  }
  progress.answered = 90;
  line.Show(progress);
  std::fclose(file);
  EXPECT_EQ(ReadFile(path, 1000).value(),
            "0 of 90\n30 of 90, 1.00 a second, 0:01:00 left\n"
            "90 of 90, 1.96 a second, 0:00:00 left\n");
}

}  // namespace
}  // namespace llava::client
