#include "base/command_line/version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace llava {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(VersionTest, SaysWhatWasBuiltFromWhat) {
  EXPECT_THAT(std::string(Version()), ContainsRegex("^[0-9]+\\.[0-9]+\\.[0-9]+$"));
  EXPECT_THAT(std::string(Commit()), ContainsRegex("^(unknown|[0-9a-f]{12,40}(-dirty)?)$"));
  const std::string text = VersionText({{"LibTorch", "2.5"}, {"a longer name", "x"}});
  EXPECT_THAT(text, StartsWith(std::string(Version()) + "\ncommit    " + std::string(Commit())));
  EXPECT_THAT(text, ContainsRegex("\ncompiler  (GCC|Clang) [0-9]+\\."));
  EXPECT_THAT(text, HasSubstr("\nLibTorch  2.5\na longer name x"));
}

}  // namespace
}  // namespace llava
