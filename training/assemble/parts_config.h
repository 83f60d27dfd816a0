// The configuration of a LLaVA from those of its parts.
#ifndef LLAVA_TRAINING_ASSEMBLE_PARTS_CONFIG_H_
#define LLAVA_TRAINING_ASSEMBLE_PARTS_CONFIG_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/config/config.h"
#include "training/assemble/added_tokens.h"

namespace llava::training {

struct PartsOptions {
  std::string language_model;  // a folder: Llama (Vicuna), Mistral, Qwen2 or Qwen3
  std::string vision_tower;    // a folder: CLIP or SigLIP, the tower alone or with its text half
  // kLlava, or one with tiles: kLlavaNext, kOnevision.
  model::Architecture architecture = model::Architecture::kLlava;
  bool linear_projector = false;  // LLaVA v1's; else two layers with GELU between them
  // Of the tower's hidden states, negative from the end; 0 is the input of the first layer.
  int feature_layer = -2;
  // Nothing: without the class token of CLIP, all rows of SigLIP, which has no such token.
  std::optional<model::SelectStrategy> select = std::nullopt;
};

struct PartsConfig {
  model::LlavaConfig config;
  std::string json;         // config.json: all that the parts' files say, and what joins them
  int language_rows = 0;    // of the language model's tables, before tokens were added
  double deviation = 0.02;  // initializer_range of the language model
};

// The same as transformers' LlavaConfig(text_config, vision_config) with tables that are resized
// for `vocabulary` to a multiple of 64 rows, where they are too small for it; with tiles as
// LlavaNextConfig or LlavaOnevisionConfig, whose pinpoints are those of the released models in
// tiles of this tower's size. NOT_FOUND and INVALID_ARGUMENT name file and key: another family, a
// size that is out of range.
absl::StatusOr<PartsConfig> JoinConfigs(const PartsOptions& options,
                                        const VocabularyPlan& vocabulary);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_ASSEMBLE_PARTS_CONFIG_H_
