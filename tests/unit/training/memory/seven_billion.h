// The shapes of LLaVA-1.5-7B, and the second stage of its recipe.
#ifndef LLAVA_TESTS_UNIT_TRAINING_MEMORY_SEVEN_BILLION_H_
#define LLAVA_TESTS_UNIT_TRAINING_MEMORY_SEVEN_BILLION_H_

#include "model/config/config.h"
#include "training/recipe/recipe.h"

namespace llava::training::seven_billion {

inline model::LlavaConfig Config() {
  model::LlavaConfig config;
  config.vision = {.hidden_size = 1024,
                   .intermediate_size = 4096,
                   .num_layers = 24,
                   .num_heads = 16,
                   .image_size = 336,
                   .patch_size = 14};
  config.text.vocab_size = 32064;
  config.text.hidden_size = 4096;
  config.text.intermediate_size = 11008;
  config.text.num_layers = 32;
  config.text.num_heads = 32;
  config.text.num_kv_heads = 32;
  config.text.head_dim = 128;
  config.text.max_positions = 4096;
  return config;
}

// On eight GPUs: 128 rows a step.
inline Recipe SecondStage() {
  Recipe recipe;
  recipe.precision = Precision::kBfloat16;
  recipe.device = DeviceKind::kCuda;
  recipe.shard = true;
  StageOptions stage;
  stage.name = "finetune";
  stage.train_projector = true;
  stage.train_decoder = true;
  stage.gradient_checkpointing = true;
  stage.batch = 128;
  recipe.stages = {stage};
  return recipe;
}

}  // namespace llava::training::seven_billion

#endif  // LLAVA_TESTS_UNIT_TRAINING_MEMORY_SEVEN_BILLION_H_
