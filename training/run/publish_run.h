// The end of a run: from trained weights to a published version with its evaluation and probes.
#ifndef LLAVA_TRAINING_RUN_PUBLISH_RUN_H_
#define LLAVA_TRAINING_RUN_PUBLISH_RUN_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "model/network/llava.h"
#include "training/publish/publish.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// Saves the weights in bf16 beside the run's state, asks them what the recipe's `evaluate` section
// says, and publishes them in recipe.publish, where old versions beyond recipe.keep_published are
// deleted then. Idempotent. `step`: steps of training so far.
absl::StatusOr<PublishedVersion> PublishRun(
    const Recipe& recipe, const model::Llava& model, std::int64_t step,
    const std::function<void(const std::string&)>& on_message);

// The digest of the bytes of the recipe's data files in order, each once; of the description of the
// scenes where it draws them. Hex.
absl::StatusOr<std::string> DataFingerprint(const Recipe& recipe);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_PUBLISH_RUN_H_
