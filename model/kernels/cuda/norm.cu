// Norms of rows with the addition before them. A block has a row, which it reads twice: for the
// mean square, and for the result. The second time each thread reads what it read or wrote itself.
#include <algorithm>

#include "model/kernels/cuda/kernels.h"
#include "model/kernels/cuda/types.cuh"

namespace llava::model::cuda {
namespace {

constexpr int kMostThreads = 512;  // those of a row of 4,096 numbers have one part each

// The sum over all threads of the block, which all of them get.
__device__ float SumOverBlock(float x) {
  __shared__ float sums[kMostThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0f;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) sum += sums[warp];
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads) AddRmsNormKernel(AddRmsNormArgs a) {
  const std::int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(a.x) + row / a.inner * a.x_stride + row % a.inner * a.n;
  const int first = static_cast<int>(threadIdx.x) * kPart;
  const int step = static_cast<int>(blockDim.x) * kPart;
  float square = 0.0f;
  const auto square_up = [&](const Part& part) {
#pragma unroll
    for (int i = 0; i < kPart; ++i) square += part.x[i] * part.x[i];
  };
  if (a.more == nullptr) {
    for (int d = first; d < a.n; d += step) square_up(Load(x + d));
  } else {
    const T* const more = static_cast<const T*>(a.more) + row * a.more_stride;
    T* const sum = static_cast<T*>(a.sum) + row * a.n;
    for (int d = first; d < a.n; d += step) {
      Part part = Load(x + d);
      const Part other = Load(more + d);
#pragma unroll
      for (int i = 0; i < kPart; ++i) part.x[i] = ToFloat(From<T>(part.x[i] + other.x[i]));
      Store(sum + d, part);
      square_up(part);
    }
    x = sum;
  }
  const float scale = rsqrtf(SumOverBlock(square) / static_cast<float>(a.n) + a.eps);
  const T* const weight = static_cast<const T*>(a.weight);
  T* const y = static_cast<T*>(a.y) + row * a.n;
  for (int d = first; d < a.n; d += step) {
    Part part = Load(x + d);
    const Part factor = Load(weight + d);
#pragma unroll
    for (int i = 0; i < kPart; ++i) part.x[i] *= scale * factor.x[i];
    Store(y + d, part);
  }
}

}  // namespace

void AddRmsNorm(const AddRmsNormArgs& args, CUstream_st* stream) {
  if (args.rows == 0) return;
  const int threads = std::min(kMostThreads, (args.n / kPart + 31) / 32 * 32);
  WithType(args.type, [&](auto t) {
    Launch(AddRmsNormKernel<decltype(t)>, dim3(static_cast<unsigned>(args.rows)), threads, stream,
           args);
  });
}

}  // namespace llava::model::cuda
