// The pictures that a plan is about: what is told of them as captions and boxes, or where they are.
#ifndef LLAVA_TRAINING_GENERATE_SOURCES_H_
#define LLAVA_TRAINING_GENERATE_SOURCES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "training/data/picture_context.h"
#include "training/generate/generate_plan.h"

namespace llava::training {

// In the order of their files; pictures of a folder, and of folders in it, in that of their names.
// Scenes are drawn into `output`/scenes. Errors name file and key.
absl::StatusOr<std::vector<PictureContext>> ReadSource(const GenerateSource& source,
                                                       const std::string& output);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_GENERATE_SOURCES_H_
