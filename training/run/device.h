// Where a run computes.
#ifndef LLAVA_TRAINING_RUN_DEVICE_H_
#define LLAVA_TRAINING_RUN_DEVICE_H_

#include <c10/core/Device.h>

#include "absl/status/statusor.h"
#include "training/recipe/recipe.h"

namespace llava::training {

// kCuda is the GPU whose number is `local_rank`. FAILED_PRECONDITION says why there is none: this
// program was built without CUDA, or the machine has fewer GPUs.
absl::StatusOr<at::Device> OpenDevice(DeviceKind kind, int local_rank);

}  // namespace llava::training

#endif  // LLAVA_TRAINING_RUN_DEVICE_H_
