// Scenes that a run draws for itself, kept in its output folder.
#ifndef LLAVA_TRAINING_RUN_DRAWN_SCENES_H_
#define LLAVA_TRAINING_RUN_DRAWN_SCENES_H_

#include <string>

#include "absl/status/statusor.h"
#include "training/data/scenes/scene.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// The folder below `output` that holds the scenes (training/data/scenes/write.h names its files),
// drawn now unless an earlier run did. `patch`: pixels of a patch label.
absl::StatusOr<std::string> DrawScenes(const std::string& output, const ScenesOptions& wanted,
                                       scenes::Split split, int patch);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_DRAWN_SCENES_H_
