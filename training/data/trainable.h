// Which models are trained. More are served: what a row of theirs is (tiles of a picture, where an
// answer ends) is not built here, and a model that learnt from other rows would be wrong silently.
#ifndef LLAVA_TRAINING_DATA_TRAINABLE_H_
#define LLAVA_TRAINING_DATA_TRAINABLE_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::training {

// kUnimplemented unless the checkpoint in `folder` can be trained and evaluated: "llava" with a
// Llama or Mistral decoder. The message says what it is and what is supported.
absl::Status CheckTrainable(const model::LlavaConfig& config, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TRAINABLE_H_
