// A checkpoint with weights of 8 or 4 bits, as a version of its own.
#ifndef LLAVA_TRAINING_RUN_QUANTIZE_CHECKPOINT_H_
#define LLAVA_TRAINING_RUN_QUANTIZE_CHECKPOINT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

// Rows whose conversations show what the weights are multiplied with (model::Calibration).
struct CalibrationData {
  std::string data;         // LLaVA rows, every question on its own (ReadEvaluationItems)
  std::string images;       // folder that their pictures are below
  std::int64_t rows = 128;  // at most; 0: all
};

// Writes `checkpoint` into `folder` with weights of `format`, "int8" or "int4"
// (model::SaveQuantized), and a manifest whose parent is the checkpoint's version, if it has one.
// Name, recipe, data and step are its own; evaluations and probes are not carried along: they tell
// what other weights answer. The new version's name. Removes `folder` again after a failure.
// With `calibration` channels are scaled by what its rows show first; the whole model is in memory
// for that. UNIMPLEMENTED for a decoder with fused products (phi3).
absl::StatusOr<std::string> QuantizeCheckpoint(
    const std::string& checkpoint, const std::string& format, const std::string& folder,
    const std::optional<CalibrationData>& calibration = std::nullopt);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_QUANTIZE_CHECKPOINT_H_
