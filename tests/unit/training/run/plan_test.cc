#include "training/run/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "tests/support/temp_dir.h"
#include "training/run/run.h"

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

// The largest of the states that a run has saved with a number of the stage in its name.
std::int64_t LargestState(const std::string& run, const std::string& stage) {
  std::int64_t largest = 0;
  for (const auto& state : std::filesystem::directory_iterator(run + "/state")) {
    if (!state.path().filename().string().ends_with(stage)) continue;
    const auto bytes = std::filesystem::file_size(state.path() / "tensors.safetensors");
    largest = std::max(largest, static_cast<std::int64_t>(bytes));
  }
  return largest;
}

// A state behind a stage with adapters has every matrix that they were merged into.
TEST(PlanTest, StatesAreAsLargeAsItSays) {
  const RealClock clock;
  for (const std::string precision : {"fp32", "bf16"}) {
    const test::TempDir dir;
    const auto recipe = ParseRecipe(
        "name: x\noutput: run\nprecision: " + precision +
            "\nmodel: {from_scratch: " + std::filesystem::absolute("demo/architecture").string() +
            "}\nsave: {keep: 9, every_steps: 1}\ndata: {scenes: {count: 4, seed: 3, level: one, "
            "turns: 1}, workers: 1}\nstages:\n"
            "  - {name: align, train: [projector], steps: 2, batch: 1, rate: 1.0e-3}\n"
            "  - {name: tune, train: [projector, decoder], steps: 2, batch: 1, rate: 1.0e-3,"
            " lora: {r: 2}}\n",
        dir.path() + "/recipe.yaml");
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    const auto plan = PlanRun(*recipe, clock, [](const std::string&) {});
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto run = RunRecipe(*recipe, clock, {});
    ASSERT_TRUE(run.ok()) << run.status();
    // Of the second stage: within it, and behind it.
    const std::int64_t align = LargestState(recipe->output, "-000");
    const std::int64_t tune =
        std::max(LargestState(recipe->output, "-001"), LargestState(recipe->output, "-002"));
    EXPECT_GT(tune, 2 * align);
    constexpr double kHeaders = 65536;  // names and shapes
    EXPECT_NEAR(static_cast<double>(plan->stages[0].state_bytes), static_cast<double>(align),
                kHeaders);
    EXPECT_NEAR(static_cast<double>(plan->stages[1].state_bytes), static_cast<double>(tune),
                kHeaders);
  }
}

TEST(PlanTest, NamesAFolderForScratchThatIsNotThere) {
  const test::TempDir dir;
  const auto recipe = ParseRecipe(
      "name: x\noutput: run\nmodel: {from_scratch: m}\nstages:\n  - {name: s, train: [projector], "
      "steps: 1, batch: 1, rate: 1.0, data: {scenes: {count: 1}}}\n",
      dir.path() + "/recipe.yaml");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("TMPDIR", (dir.path() + "/none").c_str(), 1);
  const absl::Status status = PlanRun(*recipe, RealClock(), [](const std::string&) {}).status();
  kept.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", kept.c_str(), 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("TMPDIR"));
}

TEST(PlanTest, TheStateOfTheBestValidationIsOneMore) {
  const test::TempDir dir;
  const std::string text =
      "name: x\noutput: run\nmodel: {from_scratch: " +
      std::filesystem::absolute("demo/architecture").string() +
      "}\nsave: {keep: 1}\ndata: {scenes: {count: 8, seed: 3, level: one, turns: 1}, workers: 1}\n"
      "stages:\n  - {name: align, train: [projector], steps: 2, batch: 1, rate: 1.0e-3";
  const RealClock clock;
  for (const auto& [validate, states] :
       {std::pair{"", 2}, std::pair{", validate: {rows: 2, every_steps: 1}", 3}}) {
    const auto recipe = ParseRecipe(text + validate + "}\n", dir.path() + "/recipe.yaml");
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    const auto plan = PlanRun(*recipe, clock, [](const std::string&) {});
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->disk_bytes, states * plan->stages[0].state_bytes + plan->version_bytes);
  }
}

}  // namespace
}  // namespace llava::training
