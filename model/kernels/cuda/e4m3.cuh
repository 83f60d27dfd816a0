// Numbers of e4m3.h in CUDA kernels: by the conversions of compute capability 8.9 and more,
// elsewhere, and where tests run the kernels on the CPU, by arithmetic, to the same numbers.
#ifndef LLAVA_MODEL_KERNELS_CUDA_E4M3_CUH_
#define LLAVA_MODEL_KERNELS_CUDA_E4M3_CUH_

#include <cstdint>

#include "model/kernels/cuda/e4m3.h"
#include "model/kernels/cuda/types.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define LLAVA_HAS_E4M3 1
#include <cuda_fp8.h>
#else
#define LLAVA_HAS_E4M3 0
#endif

namespace llava::model::cuda {

// An element of memory.
struct E4m3 {
  std::uint8_t code;
};

__device__ inline float ToFloat(E4m3 x) {
#if LLAVA_HAS_E4M3
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(x.code, __NV_E4M3)));
#else
  return FromE4m3(x.code);
#endif
}

// Rounded and saturated as ToE4m3.
template <>
__device__ inline E4m3 From<E4m3>(float x) {
#if LLAVA_HAS_E4M3
  return {__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3)};
#else
  return {ToE4m3(x)};
#endif
}

// Where it begins, 8 bytes do.
__device__ inline Part Load(const E4m3* from) {
  const std::uint64_t codes = *reinterpret_cast<const std::uint64_t*>(from);
  Part part;
#if LLAVA_HAS_E4M3
#pragma unroll
  for (int i = 0; i < kPart / 2; ++i) {
    const auto two = static_cast<__nv_fp8x2_storage_t>(codes >> (16 * i));
    const float2 pair = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(two, __NV_E4M3)));
    part.x[2 * i] = pair.x;
    part.x[2 * i + 1] = pair.y;
  }
#else
#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    part.x[i] = FromE4m3(static_cast<std::uint8_t>(codes >> (8 * i)));
  }
#endif
  return part;
}

__device__ inline void Store(E4m3* to, const Part& part) {
  std::uint64_t codes = 0;
#pragma unroll
  for (int i = 0; i < kPart; ++i) codes |= std::uint64_t{From<E4m3>(part.x[i]).code} << (8 * i);
  *reinterpret_cast<std::uint64_t*>(to) = codes;
}

// Calls f with a value of the type of a cache.
template <typename F>
void WithCacheType(Type type, F f) {
  type == Type::kE4m3 ? f(E4m3{}) : WithType(type, f);
}

}  // namespace llava::model::cuda

#endif  // LLAVA_MODEL_KERNELS_CUDA_E4M3_CUH_
