// A LoRA adapter added to the weights of its base, as a version of its own.
#ifndef LLAVA_TRAINING_EXPORT_MERGE_ADAPTER_H_
#define LLAVA_TRAINING_EXPORT_MERGE_ADAPTER_H_

#include <c10/core/ScalarType.h>

#include <string>

#include "absl/status/statusor.h"

namespace llava::training {

// Writes `checkpoint` (Hugging Face layout) into `folder` in `dtype` with scale B A of the adapter
// in the folder `adapter` (PEFT's layout) added in fp32 to each weight that it changes, whose rows
// get their magnitudes then where the adapter has some, and a manifest that names the checkpoint's
// version, if it has one, and the adapter's digest. In float32 its tokens are those of the adapter
// beside its base. Name, recipe, data and step are the checkpoint's; evaluations and probes are not
// carried along. The new version's name. ALREADY_EXISTS when `folder` is there; FAILED_PRECONDITION
// when the adapter does not fit; INVALID_ARGUMENT for quantised weights; the errors of ReadAdapter
// and SaveCheckpoint. Removes `folder` again after a failure.
absl::StatusOr<std::string> MergeAdapter(const std::string& checkpoint, const std::string& adapter,
                                         at::ScalarType dtype, const std::string& folder);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_EXPORT_MERGE_ADAPTER_H_
