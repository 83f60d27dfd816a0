#include "training/recipe/run_folders.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

TEST(RunFoldersTest, TheNewestRunIsThatOfTheGreatestNumberWhoeverRemovedOthers) {
  const test::TempDir dir;
  const std::string output = dir.path() + "/run";
  EXPECT_EQ(NewestRun(output), 1);
  EXPECT_EQ(RunFolderOf(output, 1), output);
  for (const int number : {2, 3, 10}) {
    std::filesystem::create_directories(RunFolderOf(output, number));
  }
  for (const char* other : {"anew-1", "anew-011", "anew-12x", "anew--13", "anew-", "new-14"}) {
    std::filesystem::create_directories(output + "/" + other);
  }
  EXPECT_EQ(NewestRun(output), 10);
  std::filesystem::remove(RunFolderOf(output, 2));
  EXPECT_EQ(NewestRun(output), 10);
}

}  // namespace
}  // namespace llava::training
