#include "server/hosting/checkpoint_weights.h"

#include "model/checkpoint/checkpoint.h"

namespace llava::server {

absl::Status CheckWeightFiles(const std::string& dir, const model::LlavaConfig& config) {
  return model::Checkpoint::Open(dir, config.vision_tower_dir, config.foreign_codes).status();
}

}  // namespace llava::server
