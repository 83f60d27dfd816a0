// The loss of a run as an image, for whoever looks into its folder.
#ifndef LLAVA_TRAINING_RUN_LOSS_CURVE_H_
#define LLAVA_TRAINING_RUN_LOSS_CURVE_H_

#include <string>

#include "absl/status/status.h"

namespace llava::training {

// Draws the losses of a metrics.jsonl over their steps, each step pale and a running mean over it,
// with a line where a stage begins. Written aside and renamed; a file without a step draws nothing.
// UNAVAILABLE: the image cannot be written.
absl::Status DrawLossCurve(const std::string& metrics_file, const std::string& png_file);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_LOSS_CURVE_H_
