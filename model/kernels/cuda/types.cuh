// What the CUDA kernels share: element types, and how they are launched.
#ifndef LLAVA_MODEL_KERNELS_CUDA_TYPES_CUH_
#define LLAVA_MODEL_KERNELS_CUDA_TYPES_CUH_

#include <cuda_bf16.h>

#include "model/kernels/cuda/kernels.h"

namespace llava::model::cuda {

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T From(float x);
template <>
__device__ inline float From<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 From<__nv_bfloat16>(float x) {
  return __float2bfloat16(x);
}

// Calls f with a value of the type.
template <typename F>
void WithType(Type type, F f) {
  type == Type::kFloat ? f(float{}) : f(__nv_bfloat16{});
}

// kernel<<<blocks, threads, 0, stream>>>(args...), in words that every C++ compiler reads: tests
// run the kernels on the CPU (tests/support/cuda_emulator.h).
template <typename... Parameters, typename... Args>
void Launch(void (*kernel)(Parameters...), dim3 blocks, int threads, CUstream_st* stream,
            Args... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  cudaLaunchKernelEx(&config, kernel, args...);
}

}  // namespace llava::model::cuda

#endif  // LLAVA_MODEL_KERNELS_CUDA_TYPES_CUH_
