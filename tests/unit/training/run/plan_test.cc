#include "training/run/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

using ::testing::HasSubstr;

TEST(PlanTest, SaysWhatARunNeedsAndLeavesNothingBehind) {
  const test::TempDir dir;
  const auto recipe = ParseRecipe(
      "name: x\noutput: run\nmodel: {from_scratch: " +
          std::filesystem::absolute("demo/architecture").string() +
          "}\nsave: {keep: 2}\ndata: {scenes: {count: 40, seed: 3, level: one, turns: 1}, workers: "
          "1}\nstages:\n  - {name: align, train: [projector], epochs: 3, batch: 4, rate: 1.0e-3}\n"
          "  - {name: tune, train: [projector, decoder], steps: 9, batch: 2, rate: 1.0e-3}\n",
      dir.path() + "/recipe.yaml");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const RealClock clock;
  const auto plan = PlanRun(*recipe, clock, [](const std::string&) {});
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->stages.size(), 2u);
  EXPECT_EQ(plan->stages[0].steps, 30);
  EXPECT_EQ(plan->stages[1].steps, 9);
  EXPECT_LT(plan->stages[0].trained_parameters, plan->stages[1].trained_parameters);
  EXPECT_LT(plan->stages[1].trained_parameters, plan->parameters);
  EXPECT_GT(plan->stages[0].tokens_per_step, 4);
  EXPECT_EQ(plan->version_bytes, 2 * plan->parameters);
  EXPECT_EQ(plan->disk_bytes, 3 * plan->stages[1].state_bytes + plan->version_bytes);
  EXPECT_GT(plan->free_bytes, 0);
  EXPECT_THAT(ToText(*plan), HasSubstr("steps       30, about "));
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/run"));
}

}  // namespace
}  // namespace llava::training
