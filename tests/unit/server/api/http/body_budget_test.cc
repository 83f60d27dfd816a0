#include "server/api/http/body_budget.h"

#include <gtest/gtest.h>

#include <boost/asio/ip/address.hpp>
#include <string>
#include <utility>
#include <vector>

namespace llava::api {
namespace {

constexpr std::int64_t kStep = 16 << 10;  // how charges are rounded up

// How many steps an owner gets.
int Greedy(BodyBudget& budget, const BodyOwner& owner) {
  int steps = 0;
  while (budget.Charge(owner, kStep)) ++steps;
  return steps;
}

TEST(BodyBudgetTest, NobodyHoldsMoreThanIsLeftForOthers) {
  BodyBudget budget(64 * kStep);
  EXPECT_EQ(Greedy(budget, {"", "10.0.0.1"}), 32);
  EXPECT_EQ(Greedy(budget, {"", "10.0.0.1"}), 0);
  EXPECT_EQ(Greedy(budget, {"", "10.0.0.2"}), 16);
  EXPECT_EQ(Greedy(budget, {"", "10.0.0.3"}), 8);
  EXPECT_TRUE(budget.Charge({"", "10.0.0.4"}, kStep));
}

TEST(BodyBudgetTest, WithTokensATokenIsTheOwnerAndAnAddressHasHalfOfIt) {
  BodyBudget budget(60 * kStep);
  EXPECT_EQ(Greedy(budget, {"alice", "10.0.0.1"}), 20);  // half of what is left then
  EXPECT_GT(Greedy(budget, {"alice", "10.0.0.2"}), 5);   // another machine of hers
  Greedy(budget, {"alice", "10.0.0.3"});
  EXPECT_LE(budget.held(), 30 * kStep);
  // Another token from the very address, as behind a proxy.
  EXPECT_GT(Greedy(budget, {"bob", "10.0.0.1"}), 5);
}

TEST(BodyBudgetTest, WhatIsGivenBackIsFree) {
  BodyBudget budget(64 * kStep);
  const BodyOwner owner{"", "10.0.0.1"};
  ASSERT_TRUE(budget.Charge(owner, 32 * kStep));
  EXPECT_FALSE(budget.Charge(owner, 1));
  budget.Release(owner, 32 * kStep);
  EXPECT_EQ(budget.held(), 0);
  EXPECT_TRUE(budget.Charge(owner, 32 * kStep));
  budget.Release(owner, 32 * kStep);
}

TEST(BodyChargeTest, HoldsWhatItsBodyHas) {
  BodyBudget budget(64 * kStep);
  BodyCharge charge(&budget, {"", "10.0.0.1"});
  EXPECT_EQ(budget.held(), 0);
  EXPECT_TRUE(charge.GrowTo(1));
  EXPECT_EQ(budget.held(), kStep);
  EXPECT_TRUE(charge.GrowTo(kStep));
  EXPECT_EQ(budget.held(), kStep);
  EXPECT_TRUE(charge.GrowTo(kStep + 1));
  EXPECT_EQ(budget.held(), 2 * kStep);
  EXPECT_FALSE(charge.GrowTo(40 * kStep));
  EXPECT_EQ(budget.held(), 2 * kStep);
  BodyCharge other = std::move(charge);
  EXPECT_EQ(budget.held(), 2 * kStep);
  other = BodyCharge();
  EXPECT_EQ(budget.held(), 0);
  EXPECT_TRUE(BodyCharge().GrowTo(1 << 30));  // of no budget
}

}  // namespace
}  // namespace llava::api
