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

// Elements of a row that one thread reads or writes at once: in bf16 they are the 16 bytes of the
// widest load. Where they begin, 16 bytes do.
constexpr int kPart = 8;
struct Part {
  float x[kPart];
};

__device__ inline Part Load(const float* from) {
  const float4 a = reinterpret_cast<const float4*>(from)[0];
  const float4 b = reinterpret_cast<const float4*>(from)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ inline Part Load(const __nv_bfloat16* from) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  const unsigned u32s[4] = {bits.x, bits.y, bits.z, bits.w};
  Part part;
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // bf16 is the upper half of fp32
    part.x[2 * i] = __uint_as_float(u32s[i] << 16);
    part.x[2 * i + 1] = __uint_as_float(u32s[i] & 0xffff0000u);
  }
  return part;
}

__device__ inline void Store(float* to, const Part& part) {
  reinterpret_cast<float4*>(to)[0] = {part.x[0], part.x[1], part.x[2], part.x[3]};
  reinterpret_cast<float4*>(to)[1] = {part.x[4], part.x[5], part.x[6], part.x[7]};
}

__device__ inline void Store(__nv_bfloat16* to, const Part& part) {
  alignas(16) __nv_bfloat16 rounded[kPart];
#pragma unroll
  for (int i = 0; i < kPart; ++i) rounded[i] = From<__nv_bfloat16>(part.x[i]);
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(rounded);
}

// Calls f with a value of the type, which is not kE4m3.
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
