#include "training/run/device.h"

#include <torch/cuda.h>

#include "absl/strings/str_cat.h"

namespace llava::training {

absl::StatusOr<at::Device> OpenDevice(DeviceKind kind, int local_rank) {
  if (kind == DeviceKind::kCpu) return at::Device(at::kCPU);
#ifdef LLAVA_WITH_CUDA
  const auto gpus = static_cast<int>(torch::cuda::device_count());
  if (local_rank < gpus) return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(local_rank));
  return absl::FailedPreconditionError(
      gpus == 0 ? "device: cuda: no GPU is seen on this machine"
                : absl::StrCat("device: cuda: LOCAL_RANK is ", local_rank, ", expected less than ",
                               gpus, ", the number of GPUs on this machine"));
#else
  return absl::FailedPreconditionError(
      absl::StrCat("device: cuda: this program was built without CUDA (LOCAL_RANK ", local_rank,
                   "): take device: cpu, or build the CMake preset cuda"));
#endif
}

}  // namespace llava::training
