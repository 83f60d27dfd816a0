// Reads what config.json says of the vision tower.
#ifndef LLAVA_MODEL_CONFIG_VISION_CONFIG_H_
#define LLAVA_MODEL_CONFIG_VISION_CONFIG_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json_reader.h"
#include "model/config/config.h"

namespace llava::model {

// A vision_config: model_type clip_vision_model or siglip_vision_model, the defaults those of its
// class in transformers. Fails for another type, naming those that are supported.
VisionConfig ReadVisionConfig(JsonReader reader);

// What transformers' LlavaConfig takes where there is no vision_config: CLIP ViT-L/14 at 336
// pixels.
VisionConfig DefaultClip();

// The same for LlavaOnevisionConfig: SigLIP so400m/14 at 384 pixels, without its last layer.
VisionConfig DefaultSiglip();

// The text of a tower's own config.json: a full CLIP or SigLIP configuration, which holds a
// vision_config, or a vision-only one, which is itself one. `file` only names it in errors.
absl::StatusOr<VisionConfig> ParseTowerConfig(std::string_view json, const std::string& file);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_VISION_CONFIG_H_
