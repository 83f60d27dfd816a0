#include "training/memory/activations.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/unit/training/memory/seven_billion.h"

namespace llava::training {
namespace {

constexpr PassShape kPass{.rows = 16, .tokens = 16 * 2048, .labels = 5000, .tiles = 16};

std::int64_t Kept(const std::vector<BlockMemory>& blocks) {
  std::int64_t kept = 0;
  for (const BlockMemory& block : blocks) kept += block.kept;
  return kept;
}

TEST(ActivationsTest, CheckpointedLayersKeepTheirInputAlone) {
  Recipe recipe = seven_billion::SecondStage();
  StageOptions& stage = recipe.stages[0];
  const auto blocks = ActivationsOf(seven_billion::Config(), recipe, stage, kPass);
  ASSERT_EQ(blocks.size(), 2u + 32 + 1 + 23 + 1);
  std::int64_t layers = 0;
  for (std::size_t i = 2; i < 2 + 32; ++i) layers += blocks[i].kept;
  EXPECT_EQ(layers, std::int64_t{32} * 16 * 2048 * 4096 * 2);
  EXPECT_EQ(blocks[2].name, "the decoder's layer 31");
  stage.gradient_checkpointing = false;
  const auto kept = ActivationsOf(seven_billion::Config(), recipe, stage, kPass);
  EXPECT_GT(kept[2].kept, 10 * blocks[2].kept);
  EXPECT_EQ(blocks[2].working, kept[2].kept + kept[2].working);
}

TEST(ActivationsTest, WhatDoesNotLearnKeepsLess) {
  Recipe recipe = seven_billion::SecondStage();
  StageOptions& stage = recipe.stages[0];
  stage.gradient_checkpointing = false;
  const auto kept = [&] {
    return Kept(ActivationsOf(seven_billion::Config(), recipe, stage, kPass));
  };
  const std::int64_t whole = kept();
  stage.lora.rank = 8;
  const std::int64_t adapters = kept();
  stage.lora.targets = {"q_proj"};
  const std::int64_t one_adapter = kept();
  stage.lora.rank = 0;
  stage.train_decoder = false;
  const std::int64_t frozen = kept();
  EXPECT_LT(adapters, whole);
  EXPECT_LT(one_adapter, adapters);
  EXPECT_LT(frozen, one_adapter);
  stage.train_vision_tower = true;
  EXPECT_GT(kept(), frozen);
}

TEST(ActivationsTest, EveryParameterHasTheBlockOfItsName) {
  const model::LlavaConfig config = seven_billion::Config();
  Recipe recipe = seven_billion::SecondStage();
  StageOptions& stage = recipe.stages[0];
  for (const ObjectiveKind objective :
       {ObjectiveKind::kConversation, ObjectiveKind::kPatchLabels}) {
    stage.objective = objective;
    const auto blocks = ActivationsOf(config, recipe, stage, kPass);
    const auto name = [&](const std::string& parameter) {
      return blocks.at(BlockOf(parameter, config, stage)).name;
    };
    EXPECT_EQ(name("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"),
              "the tower's layer 0");
    EXPECT_EQ(name("vision_tower.vision_model.encoder.layers.22.mlp.fc1.weight"),
              "the tower's layer 22");
    EXPECT_EQ(name("vision_tower.vision_model.pre_layrnorm.weight"), "the tower's input");
    if (objective == ObjectiveKind::kPatchLabels) continue;
    EXPECT_EQ(name("language_model.model.layers.31.mlp.up_proj.weight"), "the decoder's layer 31");
    EXPECT_EQ(name("language_model.model.layers.0.mlp.up_proj.lora_A.weight"),
              "the decoder's layer 0");
    EXPECT_EQ(name("multi_modal_projector.linear_1.bias"), "the decoder's input");
    EXPECT_EQ(name("language_model.lm_head.weight"), "the head");
  }
}

}  // namespace
}  // namespace llava::training
