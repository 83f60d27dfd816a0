// Element types of the CUDA kernels.
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

}  // namespace llava::model::cuda

#endif  // LLAVA_MODEL_KERNELS_CUDA_TYPES_CUH_
