#include "server/scheduling/fair_share.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/scheduling/limits.h"

namespace llava::scheduling {
namespace {

TEST(FairShareTest, AReturningTenantIsLiftedToTheLeastServed) {
  FairShare share;
  Tenant* busy = share.Enter("busy");
  busy->counter = 1000;
  share.Enter("idle");
  EXPECT_EQ(share.tenants().at("idle").counter, 1000);
  share.Leave("idle");
  busy->counter = 5000;
  EXPECT_EQ(share.Enter("idle")->counter, 5000);
}

TEST(FairShareTest, LeavingDoesNotResetACounter) {
  FairShare share;
  share.Enter("modest")->counter = 10;
  share.Enter("greedy")->counter = 9000;
  share.Leave("greedy");
  EXPECT_EQ(share.Enter("greedy")->counter, 9000);
}

// Who comes when nobody is there begins where the last one stood: who used the idle machine before
// is not behind for that.
TEST(FairShareTest, WhatWasHadAloneIsNotHeldAgainstAnybody) {
  FairShare share;
  share.Enter("early")->counter = 5000;
  share.Leave("early");
  EXPECT_EQ(share.Enter("late")->counter, 5000);
  EXPECT_EQ(share.Enter("early")->counter, 5000);
}

TEST(FairShareTest, RemembersABoundedNumberOfTenants) {
  FairShare share;
  for (int i = 0; i < kMaxTenants + 500; ++i) {
    const std::string name = absl::StrCat("tenant", i);
    share.Enter(name);
    share.Leave(name);
  }
  EXPECT_LE(share.tenants().size(), static_cast<std::size_t>(kMaxTenants));
}

}  // namespace
}  // namespace llava::scheduling
