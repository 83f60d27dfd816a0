// What model/kernels/cuda/tensors.cc wants of c10/cuda, where the emulator takes the place of a GPU
// and tensors on the CPU that of tensors there.
#ifndef LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_TORCH_H_
#define LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_TORCH_H_

#include <c10/core/Device.h>

#include "tests/support/cuda_emulator.h"

namespace c10::cuda {

struct CUDAGuard {
  explicit CUDAGuard(c10::Device /*device*/) {}
};

struct CUDAStream {
  cudaStream_t stream() const { return nullptr; }
};
inline CUDAStream getCurrentCUDAStream() { return {}; }

}  // namespace c10::cuda

#define C10_CUDA_KERNEL_LAUNCH_CHECK()
#define C10_CUDA_CHECK(call) (call)

enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
inline void cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
}

#endif  // LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_TORCH_H_
