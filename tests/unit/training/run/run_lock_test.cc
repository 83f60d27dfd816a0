#include "training/run/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST(RunLockTest, NamesWhoHasIt) {
  const test::TempDir dir;
  {
    const auto lock = RunLock::Take(dir.path());
    ASSERT_TRUE(lock.ok()) << lock.status();
    const absl::Status second = RunLock::Take(dir.path()).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(second.message()),
                HasSubstr(absl::StrCat(dir.path(), ": process ", ::getpid(), " on ")));
  }
  EXPECT_TRUE(RunLock::Take(dir.path()).ok());
}

TEST(RunLockTest, NamesTheFolderThatIsNotThere) {
  const absl::Status status = RunLock::Take("/nowhere/run").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/run/.lock"));
}

}  // namespace
}  // namespace llava::training
