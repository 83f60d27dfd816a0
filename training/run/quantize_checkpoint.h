// A checkpoint with weights of 8 or 4 bits, as a version of its own.
#ifndef LLAVA_TRAINING_RUN_QUANTIZE_CHECKPOINT_H_
#define LLAVA_TRAINING_RUN_QUANTIZE_CHECKPOINT_H_

#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

// Writes `checkpoint` into `folder` with weights of `format`, "int8" or "int4"
// (model::SaveQuantized), and a manifest whose parent is the checkpoint's version, if it has one.
// Name, recipe, data and step are its own; evaluations and probes are not carried along: they tell
// what other weights answer. The new version's name. Removes `folder` again after a failure.
absl::StatusOr<std::string> QuantizeCheckpoint(const std::string& checkpoint,
                                               const std::string& format,
                                               const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_QUANTIZE_CHECKPOINT_H_
