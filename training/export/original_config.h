// The configuration files of the original code's checkpoints.
#ifndef LLAVA_TRAINING_EXPORT_ORIGINAL_CONFIG_H_
#define LLAVA_TRAINING_EXPORT_ORIGINAL_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::training {

// Whether the original code can have a model of this Hugging Face configuration. INVALID_ARGUMENT:
// of another layout, quantised. UNIMPLEMENTED names what it does not have.
absl::Status CheckOriginalHas(const model::LlavaConfig& config);

// config.json, one line. `config`: as it is to be written, with the vocabulary's rows, the
// projector's depth and vision_tower set, pad_token_id an id of the vocabulary. REQUIRES:
// CheckOriginalHas.
std::string OriginalConfigJson(const model::LlavaConfig& config);

// generation_config.json, one line.
std::string GenerationConfigJson(const model::LlavaConfig& config);

// config.json of the folder of a CLIPVisionModel, one line.
std::string TowerConfigJson(const model::LlavaConfig& config);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_ORIGINAL_CONFIG_H_
