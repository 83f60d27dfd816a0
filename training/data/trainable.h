// Which models are trained. More are served: those whose losses and gradients nobody has compared
// with the reference are not trained, because what is wrong there would be learnt silently.
#ifndef LLAVA_TRAINING_DATA_TRAINABLE_H_
#define LLAVA_TRAINING_DATA_TRAINABLE_H_

#include <string>

#include "absl/status/status.h"
#include "model/config/config.h"

namespace llava::training {

// kUnimplemented unless the checkpoint in `folder` can be trained and evaluated: any architecture
// with a Llama, Mistral, Qwen2 or Phi-3 decoder. The message says what it is and what is supported.
absl::Status CheckTrainable(const model::LlavaConfig& config, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_DATA_TRAINABLE_H_
