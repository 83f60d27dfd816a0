// The configuration files of a checkpoint that was made from another one.
#ifndef LLAVA_MODEL_CONFIG_REWRITTEN_CONFIG_H_
#define LLAVA_MODEL_CONFIG_REWRITTEN_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::model {

// DIR/config.json and DIR/generation_config.json, as WriteConfig writes them. Where `source_dir`
// holds the same configuration in the Hugging Face layout but for how the weights are stored
// (dtype, tie_embeddings, quantization), its files are written with that alone changed: what they
// say beyond LlavaConfig is kept. The errors and the requirement of WriteConfig.
absl::Status RewriteConfig(const LlavaConfig& config, const std::string& source_dir,
                           const std::string& dir);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CONFIG_REWRITTEN_CONFIG_H_
