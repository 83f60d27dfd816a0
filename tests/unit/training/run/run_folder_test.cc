#include "training/run/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class RunFolderTest : public ::testing::Test {
 protected:
  static StepReport Report(std::int64_t step) {
    StepReport report;
    report.stage = "tune";
    report.total_step = step;
    report.loss = 1.0;
    return report;
  }

  RunFolder Open(const std::string& folder) {
    return RunFolder("flags", folder, clock_,
                     [this](const std::string& message) { messages_.push_back(message); });
  }

  test::TempDir dir_;
  ManualClock clock_;
  std::vector<std::string> messages_;
};

TEST_F(RunFolderTest, HasTheStepsAndTheLossOnceAMinute) {
  const std::string png = dir_.path() + "/loss.png";
  RunFolder folder = Open(dir_.path());
  folder.Add(Report(1));
  EXPECT_TRUE(fs::exists(dir_.path() + "/metrics.jsonl"));
  EXPECT_FALSE(fs::is_empty(dir_.path() + "/tensorboard"));
  clock_.Advance(std::chrono::seconds(59));
  folder.Add(Report(2));
  EXPECT_FALSE(fs::exists(png));
  clock_.Advance(std::chrono::seconds(1));
  folder.Add(Report(3));
  EXPECT_TRUE(fs::remove(png));
  folder.Add(Report(4));
  EXPECT_FALSE(fs::exists(png));  // not again before another minute
  folder.DrawLoss();              // but whenever it is asked for
  EXPECT_TRUE(fs::remove(png));
  clock_.Advance(std::chrono::seconds(60));
  folder.Add(Report(5));
  EXPECT_TRUE(fs::exists(png));
  EXPECT_TRUE(messages_.empty());
}

// Training goes on without its files, and says so.
TEST_F(RunFolderTest, SaysWhatCannotBeWritten) {
  const std::string file = dir_.path() + "/file";
  std::ofstream(file) << "x";
  RunFolder folder = Open(file);
  folder.Add(Report(1));
  ASSERT_EQ(messages_.size(), 2u);
  EXPECT_THAT(messages_[0], HasSubstr(file + "/metrics.jsonl"));
  EXPECT_THAT(messages_[1], HasSubstr(file + "/tensorboard/"));
}

}  // namespace
}  // namespace llava::training
