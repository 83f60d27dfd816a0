#include "training/data/json_lines.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

TEST(JsonLines, AreObjectsAndBlankLinesBetween) {
  const test::TempDir folder;
  const std::string path = folder.path() + "/lines";
  std::ofstream(path) << "{\"a\": 1}\r\n\n  \n{\"a\": 2}";
  const auto lines = ReadJsonLines(path, 100);
  ASSERT_TRUE(lines.ok()) << lines.status();
  ASSERT_EQ(lines->size(), 2u);
  EXPECT_EQ(lines->at(1).at("a").as_int64(), 2);
  EXPECT_TRUE(absl::IsResourceExhausted(ReadJsonLines(path, 10).status()));
  std::ofstream(path) << "{}\n\n[1]\n";
  EXPECT_THAT(std::string(ReadJsonLines(path, 100).status().message()),
              testing::HasSubstr("lines:3: "));
}

}  // namespace
}  // namespace llava::training
