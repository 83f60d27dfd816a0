#include "server/registry/version_state.h"

#include <gtest/gtest.h>

namespace llava::registry {
namespace {

TEST(VersionStateTest, Transitions) {
  using enum VersionState;
  EXPECT_TRUE(IsLegalTransition(kCanary, kLive));
  EXPECT_TRUE(IsLegalTransition(kKept, kLive));
  EXPECT_FALSE(IsLegalTransition(kVerifying, kLive));
  EXPECT_FALSE(IsLegalTransition(kLive, kRejected));  // it drains first
  EXPECT_STREQ(StateName(kProbing), "probing");
}

TEST(VersionStateTest, OnlyARollbackIsRememberedAndOnlyWhatFailedIsRejected) {
  EXPECT_TRUE(IsRemembered(Ending::kRolledBack));
  EXPECT_FALSE(IsRemembered(Ending::kTooSlow));
  EXPECT_FALSE(IsRemembered(Ending::kFailed));
  EXPECT_TRUE(IsRejection(Ending::kRefused));
  EXPECT_FALSE(IsRejection(Ending::kSwappedOut));
  EXPECT_STREQ(EndingName(Ending::kTooSlow), "too_slow");
}

}  // namespace
}  // namespace llava::registry
