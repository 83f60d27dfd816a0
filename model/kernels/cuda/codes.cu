// Weights and activations of few bits. In the product a warp has one output: its lanes read 16
// codes each, the widest load, and multiply them with as many numbers of up to kInt8Rows rows,
// which all warps read and which stay in the caches.
#include <algorithm>

#include "model/kernels/cuda/e4m3.cuh"
#include "model/kernels/cuda/kernels.h"
#include "model/kernels/cuda/types.cuh"

namespace llava::model::cuda {
namespace {

constexpr int kMostThreads = 512;  // of a block that quantises a row
constexpr int kWarps = 4;          // of a block of products
constexpr int kLoad = 16;          // codes of the widest load

// The largest over all threads of the block, which all of them get.
__device__ float MaxOverBlock(float x) {
  __shared__ float largest[kMostThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
  }
  if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = x;
  __syncthreads();
  float all = 0.0f;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) {
    all = fmaxf(all, largest[warp]);
  }
  return all;
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads) QuantizeRowsKernel(QuantizeRowsArgs a) {
  const std::int64_t row = blockIdx.x;
  const T* const x = static_cast<const T*>(a.x) + row * a.x_stride;
  const int first = static_cast<int>(threadIdx.x) * kPart;
  const int step = static_cast<int>(blockDim.x) * kPart;
  float largest = 0.0f;  // fmaxf passes NaN over
  for (int d = first; d < a.n; d += step) {
    const Part part = Load(x + d);
#pragma unroll
    for (int i = 0; i < kPart; ++i) largest = fmaxf(largest, fabsf(part.x[i]));
  }
  const float scale = E4m3Scale(MaxOverBlock(largest));
  E4m3* const codes = reinterpret_cast<E4m3*>(a.codes) + row * a.n;
  for (int d = first; d < a.n; d += step) {
    Part part = Load(x + d);
#pragma unroll
    for (int i = 0; i < kPart; ++i) part.x[i] /= scale;
    Store(codes + d, part);
  }
  if (threadIdx.x == 0) a.scales[row] = scale;
}

struct Codes {
  float x[kLoad];
};

__device__ Codes LoadCodes(const std::int8_t* from) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  const unsigned u32s[4] = {bits.x, bits.y, bits.z, bits.w};
  Codes codes;
#pragma unroll
  for (int i = 0; i < kLoad; ++i) {
    codes.x[i] = static_cast<float>(static_cast<std::int8_t>(u32s[i / 4] >> (i % 4 * 8)));
  }
  return codes;
}

// As many blocks on a multiprocessor as the registers of so many rows allow.
template <typename T, int ROWS>
__global__ void __launch_bounds__(kWarps * 32, ROWS < 4 ? 8 : 4)
    Int8ProductKernel(Int8ProductArgs a) {
  const Int8Weights w = a.weights;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t output = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int first_row = static_cast<int>(blockIdx.y) * ROWS;
  if (output >= w.out) return;  // all lanes of the warp
  const std::int8_t* const codes = w.codes + output * w.in;
  const float* const scales = w.scales + output * w.groups;
  const T* const x = static_cast<const T*>(a.x);
  float sum[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sum[r] = 0.0f;
  for (int k = lane * kLoad; k < w.in; k += 32 * kLoad) {
    const Codes part = LoadCodes(codes + k);
    const float scale = scales[k / w.group];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const int row = min(first_row + r, a.rows - 1);  // beyond the last: it again, for nothing
      const T* const from = x + row * a.x_stride + k;
      const Part low = Load(from), high = Load(from + kPart);
      float product = 0.0f;
#pragma unroll
      for (int i = 0; i < kPart; ++i) product += part.x[i] * low.x[i];
#pragma unroll
      for (int i = 0; i < kPart; ++i) product += part.x[kPart + i] * high.x[i];
      sum[r] += scale * product;
    }
  }
  const float bias = a.bias == nullptr ? 0.0f : ToFloat(static_cast<const T*>(a.bias)[output]);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      sum[r] += __shfl_xor_sync(~0u, sum[r], distance);
    }
    const std::int64_t row = first_row + r;
    if (lane == 0 && row < a.rows)
      static_cast<T*>(a.y)[row * w.out + output] = From<T>(sum[r] + bias);
  }
}

template <typename T>
__global__ void DequantizeInt8Kernel(Int8Weights w, T* numbers) {
  const std::int64_t at = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kLoad;
  if (at >= std::int64_t{w.out} * w.in) return;
  const std::int64_t output = at / w.in, k = at % w.in;
  const float scale = w.scales[output * w.groups + k / w.group];
  const Codes codes = LoadCodes(w.codes + at);
#pragma unroll
  for (int half = 0; half < kLoad; half += kPart) {
    Part part;
#pragma unroll
    for (int i = 0; i < kPart; ++i) part.x[i] = codes.x[half + i] * scale;
    Store(numbers + at + half, part);
  }
}

template <typename T, int ROWS>
void LaunchProduct(const Int8ProductArgs& args, CUstream_st* stream) {
  const dim3 blocks(static_cast<unsigned>((args.weights.out + kWarps - 1) / kWarps),
                    static_cast<unsigned>((args.rows + ROWS - 1) / ROWS));
  Launch(Int8ProductKernel<T, ROWS>, blocks, kWarps * 32, stream, args);
}

}  // namespace

void QuantizeRows(const QuantizeRowsArgs& args, CUstream_st* stream) {
  if (args.rows == 0) return;
  const int threads = std::min(kMostThreads, (args.n / kPart + 31) / 32 * 32);
  WithType(args.type, [&](auto t) {
    Launch(QuantizeRowsKernel<decltype(t)>, dim3(static_cast<unsigned>(args.rows)), threads, stream,
           args);
  });
}

void Int8Product(const Int8ProductArgs& args, CUstream_st* stream) {
  if (args.rows == 0) return;
  WithType(args.type, [&](auto t) {
    using T = decltype(t);
    if (args.rows == 1) {
      LaunchProduct<T, 1>(args, stream);
    } else if (args.rows == 2) {
      LaunchProduct<T, 2>(args, stream);
    } else if (args.rows <= 4) {
      LaunchProduct<T, 4>(args, stream);
    } else {
      LaunchProduct<T, kInt8Rows>(args, stream);
    }
  });
}

void DequantizeInt8(const Int8Weights& weights, Type type, void* numbers, CUstream_st* stream) {
  constexpr int kThreads = 256;
  const std::int64_t loads = std::int64_t{weights.out} * weights.in / kLoad;
  const auto blocks = static_cast<unsigned>((loads + kThreads - 1) / kThreads);
  WithType(type, [&](auto t) {
    using T = decltype(t);
    Launch(DequantizeInt8Kernel<T>, dim3(blocks), kThreads, stream, weights,
           static_cast<T*>(numbers));
  });
}

}  // namespace llava::model::cuda
