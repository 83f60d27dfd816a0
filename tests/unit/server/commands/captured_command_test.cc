#include "server/commands/captured_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <fstream>
#include <string>

#include "capture/shard.h"
#include "capture/store.h"
#include "capture/trainings.h"
#include "tests/support/captured_row.h"
#include "tests/support/temp_dir.h"

namespace llava {
namespace {

using ::testing::HasSubstr;

class CapturedCommandTest : public ::testing::Test {
 protected:
  std::unique_ptr<capture::Store> Open() const {
    return capture::Store::Open({.dir = dir()}, &clock_).value();
  }

  // Two conversations of one tenant in a closed shard, whose name it returns.
  std::string Write() const {
    {
      const auto store = Open();
      EXPECT_TRUE(store->Add(test::CapturedRow("default", "a")).ok());
      EXPECT_TRUE(store->Add(test::CapturedRow("default", "b", "Else?")).ok());
      EXPECT_TRUE(store->Judge("default", "a", {.thumb = capture::Thumb::kUp}).ok());
    }
    return capture::ListShards(dir()).value().at(0);
  }

  std::string dir() const { return temp_.path() + "/turns"; }

  const test::TempDir temp_;
  const RealClock clock_;
};

TEST_F(CapturedCommandTest, ListsWhatThereIsAndWhoHasLearnedIt) {
  const std::string shard = Write();
  EXPECT_THAT(*CapturedShards(dir()),
              AllOf(HasSubstr(shard + "  2 rows: 1 up, 0 down, 0 corrected, 1 unrated"),
                    HasSubstr("never trained on")));
  const auto lock = capture::TrainingsLock::Take(dir());
  ASSERT_TRUE(capture::WriteTraining({"/run", {shard}, {}}, dir()).ok());
  EXPECT_THAT(*CapturedShards(dir()), HasSubstr("taken by 1 runs, nothing was published"));
  ASSERT_TRUE(capture::WriteTraining({"/run", {shard}, {std::string(64, 'c')}}, dir()).ok());
  EXPECT_THAT(*CapturedShards(dir()), HasSubstr("trained on: cccccccccccc\n"));
}

TEST_F(CapturedCommandTest, NamesADamagedShard) {
  const std::string shard = Write();
  std::ofstream(capture::RowsFile(capture::ShardFolder(dir(), shard)), std::ios::trunc).close();
  EXPECT_THAT(*CapturedShards(dir()),
              AllOf(HasSubstr(shard + "  is damaged: "), HasSubstr("rows.jsonl: is empty"),
                    HasSubstr("never trained on")));
}

TEST_F(CapturedCommandTest, ForgetsWhereNothingWasTrained) {
  Write();
  EXPECT_EQ(*ForgetCaptured(dir(), "default", "chatcmpl-a", clock_), "deleted 1 rows\n");
  EXPECT_THAT(*CapturedShards(dir()), HasSubstr("  1 rows: 0 up"));
  const absl::Status again = ForgetCaptured(dir(), "default", "a", clock_).status();
  EXPECT_TRUE(absl::IsNotFound(again)) << again;
}

TEST_F(CapturedCommandTest, NamesTheVersionsWhereSomethingWas) {
  const std::string shard = Write();
  {
    const auto lock = capture::TrainingsLock::Take(dir());
    ASSERT_TRUE(capture::WriteTraining({"/run", {shard}, {"v1"}}, dir()).ok());
  }
  EXPECT_EQ(*ForgetCaptured(dir(), "default", "a", clock_),
            "deleted 0 rows\nmarked 1 rows that were trained on\nversion v1\n"
            "run /run has a copy\n");
}

TEST_F(CapturedCommandTest, AFolderThatAServerHasOrThatIsNoneIsNamed) {
  EXPECT_THAT(CapturedShards(temp_.path()).status().message(), HasSubstr("capture_dir"));
  EXPECT_TRUE(absl::IsNotFound(ForgetCaptured(temp_.path(), "a", "b", clock_).status()));
  const auto store = Open();
  const absl::Status status = ForgetCaptured(dir(), "default", "a", clock_).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(status.message(), HasSubstr("DELETE /v1/feedback/a"));
}

}  // namespace
}  // namespace llava
