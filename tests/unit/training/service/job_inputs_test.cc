#include "training/service/job_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace llava::training {
namespace {

using ::testing::HasSubstr;

JobInputs Inputs() {
  JobInputs inputs;
  inputs.shards = {{"/a \"b\".json", "00ff", 100, false}, {"/c", "11", 20, true}};
  inputs.recipe = "model: {checkpoint: ${BASE}}\nmixture: ${MIXTURE}\nfiles: ${SHARDS}\n";
  inputs.base = "/models/v000001";
  inputs.base_version = "aa";
  inputs.captured = 12;
  inputs.captured_changed = 3;
  return inputs;
}

std::string Render(const JobInputs& inputs, const Mix& mix) {
  return RenderRecipe(inputs, mix, std::nullopt).value();
}

TEST(JobInputsTest, AreKeptAsJson) {
  EXPECT_EQ(ParseJobInputs(JobInputsJson(Inputs())).value(), Inputs());
  EXPECT_EQ(ParseJobInputs("").value(), JobInputs());
  for (const char* rubbish : {"{", "[]", "{}", R"({"shards":[1]})"}) {
    EXPECT_EQ(ParseJobInputs(rubbish).status().code(), absl::StatusCode::kDataLoss) << rubbish;
  }
}

TEST(JobInputsTest, OfAnEarlierVersionSayNothingOfCapturedRows) {
  const auto inputs = ParseJobInputs(R"({"shards":[],"recipe":"r","base":"","base_version":""})");
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  EXPECT_EQ(inputs->captured, 0);
  EXPECT_EQ(inputs->captured_changed, 0);
}

TEST(JobInputsTest, ARecipeNamesShardsAndBase) {
  const std::string recipe = Render(Inputs(), {});
  EXPECT_THAT(recipe, HasSubstr("checkpoint: \"/models/v000001\"}"));
  EXPECT_THAT(recipe, HasSubstr(R"(files: ["/a \"b\".json", "/c"])"));
  EXPECT_THAT(recipe, HasSubstr("{file: \"/c\", weight: 1}"));
  JobInputs first = Inputs();
  first.base = "";
  EXPECT_EQ(RenderRecipe(first, {}, std::nullopt).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(JobInputsTest, OldRowsComeSoOftenThatTheSharesAreRight) {
  // 20 new rows and 100 old ones: of the old ones a fifth makes a half of the epoch.
  EXPECT_THAT(Render(Inputs(), {0.5, 0.5}), HasSubstr("b\\\".json\", weight: 0.2}"));
  EXPECT_THAT(Render(Inputs(), {0.8, 0.2}), HasSubstr("weight: 0.05}, {file: \"/c\", weight: 1}"));
  JobInputs all_new = Inputs();
  all_new.shards[0].is_new = true;
  EXPECT_THAT(Render(all_new, {0.5, 0.5}), HasSubstr("json\", weight: 1}, "));
}

// What no recipe could be read with would fail every night.
TEST(JobInputsTest, OldRowsComeNoMoreOftenThanARecipeAllows) {
  JobInputs inputs = Inputs();
  inputs.shards[0].rows = 5;
  inputs.shards[1].rows = 1'000'000;
  EXPECT_THAT(Render(inputs, {0.5, 0.5}), HasSubstr("json\", weight: 1000}, "));
  std::swap(inputs.shards[0].rows, inputs.shards[1].rows);
  EXPECT_THAT(Render(inputs, {0.999, 0.001}), HasSubstr("json\", weight: 1e-06}, "));
}

TEST(JobInputsTest, WhatWasGeneratedIsOneMoreNewShard) {
  const auto recipe =
      RenderRecipe(Inputs(), {0.5, 0.5}, Shard{"generated/instruct.jsonl", "", 30, true});
  EXPECT_THAT(recipe.value(), HasSubstr("weight: 0.5}"));
  EXPECT_THAT(recipe.value(), HasSubstr("\"/c\", \"generated/instruct.jsonl\"]"));
}

}  // namespace
}  // namespace llava::training
