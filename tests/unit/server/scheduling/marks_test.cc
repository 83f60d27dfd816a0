#include "server/scheduling/marks.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace llava::scheduling {
namespace {

TEST(MarksTest, CountEachBranchAlone) {
  Marks marks;
  Hit(&marks, Mark::kExpired);
  Hit(&marks, Mark::kExpired);
  Hit(&marks, Mark::kForked);
  Hit(nullptr, Mark::kForked);
  EXPECT_EQ(marks.count(Mark::kExpired), 2u);
  EXPECT_EQ(marks.count(Mark::kForked), 1u);
  EXPECT_EQ(marks.count(Mark::kAged), 0u);
}

TEST(MarksTest, EachHasItsOwnName) {
  std::set<std::string> names;
  for (int i = 0; i < static_cast<int>(Mark::kCount); ++i) {
    EXPECT_TRUE(names.insert(MarkName(static_cast<Mark>(i))).second);
  }
  EXPECT_STREQ(MarkName(Mark::kCopyOnWrite), "kCopyOnWrite");
  EXPECT_STREQ(MarkName(Mark::kAdmittedIdle), "kAdmittedIdle");
  EXPECT_STREQ(MarkName(Mark::kLengthByContext), "kLengthByContext");
}

}  // namespace
}  // namespace llava::scheduling
