// Runs CUDA kernels on the CPU, for tests where there is no GPU: a .cu file is compiled by the
// host's compiler with this header in the place of CUDA's own (tests/support/CMakeLists.txt), and
// what it launches runs at once, on the calling thread. The blocks of a launch run one after
// another and the threads of a block take turns, in orders drawn by chance from a fixed seed.
//
// It finds wrong indices, masks and sums, barriers that are missing between threads of a block, and
// ends the program where threads wait for each other in vain, a warp's do not meet in the same
// shuffle, or a launch asks for what no GPU gives. Dynamic shared memory is NaN when a block
// begins. It does not find races between blocks, and tells nothing of speed.
//
// Not thread-safe: one thread of the program launches kernels.
#ifndef LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_H_
#define LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_H_

#include <math.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __shared__ static

struct CUstream_st;
using cudaStream_t = CUstream_st*;

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  // As in CUDA, an int is a dim3.
  dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1)
      : x(width), y(height), z(depth) {}
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// Of the thread that runs.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace cuda_emulator {

// Runs `kernel` as every thread of a launch.
void Run(const cudaLaunchConfig_t& launch, const std::function<void()>& kernel);

// Launches of this program until now.
std::uint64_t Launches();

// Unless it is null, every launch is also kept here with its arguments as they are, to be done
// again as a CUDA graph does it: at the same addresses, with the same sizes.
inline std::vector<std::function<void()>>* recording = nullptr;

// The dynamic shared memory of the block that runs.
void* DynamicShared();

// All threads of the block, or of the warp, come here, to the same `operation`, before one goes on.
void MeetInBlock(const char* operation);
void MeetInWarp(const char* operation);

// The word that lane `source` of the warp brings to the same `operation`.
std::uint64_t Exchange(std::uint64_t word, unsigned source, unsigned mask, const char* operation);

// Memory for what the lanes of the warp bring to their next meeting, 512 floats: what all of them
// have written there is read until they meet once more.
float* WarpScratch();

// The number of the running thread within its warp.
inline unsigned Lane() { return threadIdx.x % 32; }

template <typename T>
T ExchangeValue(T value, unsigned source, unsigned mask, const char* operation) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  word = Exchange(word, source, mask, operation);
  std::memcpy(&value, &word, sizeof value);
  return value;
}

}  // namespace cuda_emulator

template <typename... Parameters, typename... Arguments>
int cudaLaunchKernelEx(const cudaLaunchConfig_t* launch, void (*kernel)(Parameters...),
                       Arguments... arguments) {
  const auto run = [config = *launch, kernel, arguments...] {
    cuda_emulator::Run(config, [&] { kernel(arguments...); });
  };
  if (cuda_emulator::recording != nullptr) cuda_emulator::recording->push_back(run);
  run();
  return 0;
}

inline void __syncthreads() { cuda_emulator::MeetInBlock("__syncthreads"); }
inline void __syncwarp() { cuda_emulator::MeetInWarp("__syncwarp"); }
inline void __threadfence() {}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  return cuda_emulator::ExchangeValue(value, cuda_emulator::Lane() ^ unsigned(distance), mask,
                                      "__shfl_xor_sync");
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_emulator::ExchangeValue(value, unsigned(source) % 32, mask, "__shfl_sync");
}

template <typename T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to += value;
  return before;
}

using std::max;
using std::min;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }

// As CUDA rounds it: to the nearest, ties to even.
struct __nv_bfloat16 {
  std::uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float(unsigned{x.bits} << 16); }
inline __nv_bfloat16 __float2bfloat16(float x) {
  if (x != x) return {0x7fff};
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

#endif  // LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_H_
