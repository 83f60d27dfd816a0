#include "training/run/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StepReport Report(std::int64_t step, double loss) {
  StepReport report;
  report.stage = "tune";
  report.total_step = step;
  report.loss = loss;
  return report;
}

class RunLogTest : public ::testing::Test {
 protected:
  std::vector<std::string> Lines() const {
    std::ifstream in(path_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

  test::TempDir dir_;
  const std::string path_ = dir_.path() + "/metrics.jsonl";
};

TEST_F(RunLogTest, ALineAStepThatIsThereAtOnce) {
  RunLog log(path_);
  ASSERT_TRUE(log.Write(Report(1, 2.5)).ok());
  EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 2.5))));
  ASSERT_TRUE(log.Write(Report(2, 2.0)).ok());
  EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 2.5)), ToJson(Report(2, 2.0))));
}

// Killed after step 4, saved after step 2: steps 3 and 4 are done again.
TEST_F(RunLogTest, StepsThatAreDoneAgainTakeThePlaceOfTheOldOnes) {
  {
    RunLog log(path_);
    for (int step = 1; step <= 4; ++step) ASSERT_TRUE(log.Write(Report(step, 5.0 - step)).ok());
  }
  std::ofstream(path_, std::ios::app) << "{\"total_step\": 1, \"los";  // cut short by the kill
  RunLog log(path_);
  ASSERT_TRUE(log.Write(Report(3, 9.0)).ok());
  ASSERT_TRUE(log.Write(Report(4, 8.0)).ok());
  EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 4.0)), ToJson(Report(2, 3.0)),
                                   ToJson(Report(3, 9.0)), ToJson(Report(4, 8.0))));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

ValidationReport Validated(std::int64_t step, double loss) {
  ValidationReport report;
  report.stage = "tune";
  report.total_step = step;
  report.loss = loss;
  return report;
}

// Saved after step 2 before its validation was done: that is repeated, the step is not.
TEST_F(RunLogTest, AValidationThatIsDoneAgainTakesThePlaceOfTheOldOne) {
  {
    RunLog log(path_);
    for (int step = 1; step <= 3; ++step) ASSERT_TRUE(log.Write(Report(step, 5.0 - step)).ok());
    ASSERT_TRUE(log.Write(Validated(2, 1.0)).ok());
  }
  {
    RunLog log(path_);
    ASSERT_TRUE(log.Write(Validated(2, 3.0)).ok());
    EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 4.0)), ToJson(Report(2, 3.0)),
                                     ToJson(Validated(2, 3.0))));
  }
  RunLog log(path_);
  ASSERT_TRUE(log.Write(Report(3, 9.0)).ok());
  EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 4.0)), ToJson(Report(2, 3.0)),
                                   ToJson(Validated(2, 3.0)), ToJson(Report(3, 9.0))));
}

TEST_F(RunLogTest, ARunFromTheStartDropsEverything) {
  std::ofstream(path_) << ToJson(Report(1, 1.0)) << "\n7\n{\"step\": 1}\n{\"total_step\": \"x\"}\n";
  RunLog log(path_);
  ASSERT_TRUE(log.Write(Report(1, 2.0)).ok());
  EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 2.0))));
}

// A disk that was full for a step: half a line of that step is nobody's line.
TEST_F(RunLogTest, GoesOnWhenThereIsRoomAgain) {
  RunLog log(path_);
  ASSERT_TRUE(log.Write(Report(1, 2.5)).ok());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full{.rlim_cur = std::filesystem::file_size(path_) + 9, .rlim_max = before.rlim_max};
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const absl::Status second = log.Write(Report(2, 2.0));
  const absl::Status third = log.Write(Report(3, 1.5));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, old_handler);
  EXPECT_FALSE(second.ok());
  EXPECT_FALSE(third.ok());
  ASSERT_TRUE(log.Write(Report(4, 1.0)).ok());
  EXPECT_THAT(Lines(), ElementsAre(ToJson(Report(1, 2.5)), ToJson(Report(4, 1.0))));
}

TEST_F(RunLogTest, NamesTheFileThatCannotBeWritten) {
  RunLog log(dir_.path() + "/no/metrics.jsonl");
  const absl::Status status = log.Write(Report(1, 2.0));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/metrics.jsonl"));
}

}  // namespace
}  // namespace llava::training
