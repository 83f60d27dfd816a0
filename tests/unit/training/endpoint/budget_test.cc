#include "training/endpoint/budget.h"

#include "gtest/gtest.h"

namespace llava::training {
namespace {

TEST(Budget, NothingIsSentThatCouldExceedIt) {
  EndpointOptions options;
  options.input_price = 1;
  options.output_price = 10;
  options.max_cost = 100e-6;
  Budget budget(options);
  EXPECT_TRUE(budget.Reserve({.prompt = 20, .completion = 5}));   // at most 70
  EXPECT_FALSE(budget.Reserve({.prompt = 21, .completion = 1}));  // 31 more
  EXPECT_TRUE(budget.Reserve({.prompt = 20, .completion = 1}));   // exactly 100
  budget.Settle({.prompt = 20, .completion = 5}, {.prompt = 10, .completion = 1});
  EXPECT_DOUBLE_EQ(budget.cost(), 20e-6);
  EXPECT_TRUE(budget.Reserve({.prompt = 50, .completion = 0}));  // 20 spent, 30 at stake
  EXPECT_FALSE(budget.Reserve({.prompt = 1, .completion = 0}));
}

TEST(Budget, TokensOfEarlierRunsCount) {
  EndpointOptions options;
  options.max_tokens_total = 100;
  Budget budget(options);
  budget.AddSpent({.prompt = 60, .completion = 30});
  EXPECT_FALSE(budget.Reserve({.prompt = 8, .completion = 3}));
  EXPECT_TRUE(budget.Reserve({.prompt = 8, .completion = 2}));
  EXPECT_EQ(budget.tokens(), 90);
}

TEST(Budget, ABoundOfNothingLetsNothingBePaid) {
  EndpointOptions money;
  money.output_price = 1;
  money.max_cost = 0;
  Budget free_alone(money);
  EXPECT_FALSE(free_alone.Reserve({.prompt = 0, .completion = 1}));
  EXPECT_TRUE(free_alone.Reserve({.prompt = 5, .completion = 0}));  // costs nothing
  EndpointOptions tokens;
  tokens.max_tokens_total = 0;
  EXPECT_FALSE(Budget(tokens).Reserve({.prompt = 1, .completion = 0}));
}

TEST(Budget, WithoutBoundsEverythingGoes) {
  Budget budget(EndpointOptions{});
  EXPECT_TRUE(budget.Reserve({.prompt = 1'000'000'000, .completion = 1'000'000'000}));
}

}  // namespace
}  // namespace llava::training
