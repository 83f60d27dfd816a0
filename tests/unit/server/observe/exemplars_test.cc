#include "server/observe/exemplars.h"

#include "gtest/gtest.h"

namespace llava::observe {
namespace {

TEST(ExemplarsTest, TheLastOfEachBucketIsKept) {
  Exemplars exemplars("x_seconds", {1, 2});
  EXPECT_EQ(exemplars.family(), "x_seconds");
  exemplars.Note({0.5, "first", 10});
  exemplars.Note({0.25, "second", 11});
  exemplars.Note({7, "slow", 12});
  const auto latest = exemplars.Latest();
  ASSERT_EQ(latest.size(), 3u);
  ASSERT_TRUE(latest[0]);
  EXPECT_EQ(latest[0]->trace_id, "second");
  EXPECT_EQ(latest[0]->value, 0.25);
  EXPECT_EQ(latest[0]->unix_seconds, 11);
  EXPECT_FALSE(latest[1]);
  ASSERT_TRUE(latest[2]);
  EXPECT_EQ(latest[2]->trace_id, "slow");
}

TEST(ExemplarsTest, ABoundBelongsToItsBucket) {
  Exemplars exemplars("x_seconds", {1, 2});
  exemplars.Note({1, "at", 0});
  exemplars.Note({2.0001, "above", 0});
  const auto latest = exemplars.Latest();
  EXPECT_EQ(latest[0]->trace_id, "at");
  EXPECT_FALSE(latest[1]);
  EXPECT_EQ(latest[2]->trace_id, "above");
}

}  // namespace
}  // namespace llava::observe
