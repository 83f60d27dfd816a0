#include "model/checkpoint/weight_names.h"

#include <gtest/gtest.h>

namespace llava::model {
namespace {

// The same tensor in the original layout, on disk, in memory since 4.52, and in transformers 5.
TEST(WeightNamesTest, OneNameForEveryLayout) {
  for (const char* key :
       {"model.layers.3.mlp.up_proj.weight", "language_model.model.layers.3.mlp.up_proj.weight",
        "model.language_model.layers.3.mlp.up_proj.weight",
        "language_model.layers.3.mlp.up_proj.weight"}) {
    EXPECT_EQ(CanonicalName(key), "language_model.model.layers.3.mlp.up_proj.weight") << key;
  }
  for (const char* key :
       {"model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias",
        "vision_tower.vision_model.pre_layrnorm.bias",
        "model.vision_tower.vision_model.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias",
        "vision_tower.pre_layrnorm.bias"}) {
    EXPECT_EQ(CanonicalName(key), "vision_tower.vision_model.pre_layrnorm.bias") << key;
  }
  for (const char* key : {"model.mm_projector.2.weight", "multi_modal_projector.linear_2.weight",
                          "model.multi_modal_projector.linear_2.weight"}) {
    EXPECT_EQ(CanonicalName(key), "multi_modal_projector.linear_2.weight") << key;
  }
  for (const char* key :
       {"lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"}) {
    EXPECT_EQ(CanonicalName(key), "language_model.lm_head.weight") << key;
  }
}

TEST(WeightNamesTest, ProjectorsOfAnyDepth) {
  EXPECT_EQ(CanonicalName("model.mm_projector.weight"), "multi_modal_projector.linear_1.weight");
  EXPECT_EQ(CanonicalName("mm_projector.4.bias"), "multi_modal_projector.linear_3.bias");
  EXPECT_EQ(CanonicalName("model.mm_projector.1.weight"), std::nullopt);  // an activation's place
  EXPECT_EQ(CanonicalName("model.mm_projector.0.scale"), std::nullopt);
}

TEST(WeightNamesTest, WhatIsNoTensorOfLlavaHasNoName) {
  EXPECT_EQ(CanonicalName("model.image_newline"), kImageNewlineName);
  EXPECT_EQ(CanonicalName("model.image_separator"), std::nullopt);
  EXPECT_EQ(CanonicalName("transformer.wte.weight"), std::nullopt);
  EXPECT_EQ(CanonicalName("model.vision_tower.layers.0.weight"), std::nullopt);
}

TEST(WeightNamesTest, ClipDirectories) {
  EXPECT_EQ(CanonicalClipName("vision_model.post_layernorm.weight"),
            "vision_tower.vision_model.post_layernorm.weight");
  EXPECT_EQ(CanonicalClipName("text_model.encoder.layers.0.mlp.fc1.bias"), std::nullopt);
  EXPECT_EQ(CanonicalClipName("logit_scale"), std::nullopt);
}

TEST(WeightNamesTest, ModulesOfLayers) {
  for (const char* module :
       {"model.layers.12.mlp.up_proj", "language_model.model.layers.12.mlp.up_proj",
        "model.language_model.layers.12.mlp.up_proj"}) {
    const auto found = LayerModuleOf(module);
    ASSERT_TRUE(found.has_value()) << module;
    EXPECT_EQ(found->layer, 12) << module;
    EXPECT_EQ(found->name, "mlp.up_proj") << module;
  }
  for (const char* module :
       {"model.embed_tokens", "lm_head", "model.mm_projector.0", "model.layers.x.mlp",
        "model.layers.3", "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1"}) {
    EXPECT_FALSE(LayerModuleOf(module).has_value()) << module;
  }
}

TEST(WeightNamesTest, StrayBuffers) {
  EXPECT_TRUE(IsStrayBuffer("model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_TRUE(IsStrayBuffer("vision_model.embeddings.position_ids"));
  EXPECT_FALSE(IsStrayBuffer("vision_model.embeddings.position_embedding.weight"));
}

}  // namespace
}  // namespace llava::model
