// Weights as what they differ by from those of a base, for models whose base may not be passed on:
// the original LLaVA-7B-v0 was published so.
#ifndef LLAVA_TRAINING_EXPORT_DELTA_WEIGHTS_H_
#define LLAVA_TRAINING_EXPORT_DELTA_WEIGHTS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

struct DeltaReport {
  std::string version;       // of what was written
  std::int64_t changed = 0;  // tensors that base and target share
  std::int64_t kept = 0;     // those that the target has alone
  std::int64_t numbers = 0;  // of the shared tensors
  std::int64_t inexact = 0;  // numbers that ApplyDelta gives back otherwise; MakeDelta only
  double largest_error = 0;  // of those, against the target
};

// Both write the new folder `folder`: model.safetensors with the tensors' names and dtypes as
// `target` or `delta` has them, its other files (not those of folders below it), and manifest.json,
// whose parent is the base's version, if it has one. Names of the layouts
// (model/checkpoint/weight_names.h) are the same to them: the base may be a Llama for itself, or a
// LLaVA. One tensor at a time.
//
// The arithmetic is that of the original code (llava/model/{make,apply}_delta.py), in the dtype
// that the tensor of `target` or `delta` is stored in, which the base's is converted to first: each
// sum and difference is rounded once. delta = target - base, and target = delta + base: exact where
// target lies within half and twice the base (Sterbenz), or where both are on one grid, else
// within u |target - base| + u |target|, u = 2^-24 (float32), 2^-11 (float16), 2^-8 (bfloat16). A
// zero loses its sign.
// Tensors that the base does not have (projector, tower) are as they are. Embeddings and lm_head
// may have more rows than the base's: the further rows are as they are.
//
// MakeDelta also writes delta.json with a digest of the base's shared tensors; ApplyDelta checks it
// where there is one (FAILED_PRECONDITION: another base).
//
// ALREADY_EXISTS: `folder` is there. INVALID_ARGUMENT names tensor and shapes: of another shape,
// one of a decoder that the other does not have, no floating point. Else the errors of the model's
// files. Removes `folder` again after a failure.
absl::StatusOr<DeltaReport> MakeDelta(const std::string& base, const std::string& target,
                                      const std::string& folder);
absl::StatusOr<DeltaReport> ApplyDelta(const std::string& base, const std::string& delta,
                                       const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_DELTA_WEIGHTS_H_
