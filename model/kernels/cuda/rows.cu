// Kernels over rows: each thread computes one element, or one pair. They are bound by memory.
#include "model/kernels/cuda/e4m3.cuh"
#include "model/kernels/cuda/kernels.h"
#include "model/kernels/cuda/types.cuh"

namespace llava::model::cuda {
namespace {

constexpr int kThreads = 256;  // of a block; divides the threads that every multiprocessor holds

__host__ unsigned Blocks(std::int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

__device__ std::int64_t ThreadIndex() { return std::int64_t{blockIdx.x} * kThreads + threadIdx.x; }

template <typename T, typename C>
__global__ void WriteKernel(WriteArgs a) {
  const std::int64_t i = ThreadIndex();
  if (i >= std::int64_t{a.tokens} * a.width) return;
  const std::int64_t token = i / a.width, element = i % a.width;
  const std::int64_t to = a.slots[token] * a.width + element;
  const T* k = static_cast<const T*>(a.k) + token * a.k_stride;
  const T* v = static_cast<const T*>(a.v) + token * a.v_stride;
  static_cast<C*>(a.keys)[to] = From<C>(ToFloat(k[element]));
  static_cast<C*>(a.values)[to] = From<C>(ToFloat(v[element]));
}

template <typename T>
__global__ void RotateKernel(T* x, std::int64_t stride, const float* cos, const float* sin,
                             int tokens, int heads, int half) {
  const std::int64_t i = ThreadIndex();
  if (i >= std::int64_t{tokens} * heads * half) return;
  const std::int64_t d = i % half, head = i / half % heads, token = i / half / heads;
  T* const pair = x + token * stride + head * 2 * half + d;
  const float first = ToFloat(pair[0]), second = ToFloat(pair[half]);
  const float c = cos[token * half + d], s = sin[token * half + d];
  pair[0] = From<T>(first * c - second * s);
  pair[half] = From<T>(second * c + first * s);
}

// Each thread has two numbers of a head of q, k or v: a pair that turns, or two neighbours.
template <typename T, typename C>
__global__ void RotateAndWriteKernel(RotateAndWriteArgs a) {
  const int half = a.head_dim / 2, turning = a.rotated / 2;
  const int all_heads = a.heads + 2 * a.kv_heads;
  const std::int64_t i = ThreadIndex();
  if (i >= std::int64_t{a.tokens} * all_heads * half) return;
  const int unit = static_cast<int>(i % half);
  const int head = static_cast<int>(i / half % all_heads);
  const std::int64_t token = i / half / all_heads;
  const int kv_head = (head - a.heads) % a.kv_heads;  // negative for heads of q
  const bool is_query = head < a.heads, is_value = head >= a.heads + a.kv_heads;
  const bool turns = !is_value && unit < turning;
  const int first = turns ? unit : 2 * unit;
  const int second = turns ? unit + turning : 2 * unit + 1;
  float x, y;
  if (is_value) {
    const T* const row = static_cast<const T*>(a.v) + token * a.v_stride + kv_head * a.head_dim;
    x = ToFloat(row[first]);
    y = ToFloat(row[second]);
  } else {
    T* const row = is_query ? static_cast<T*>(a.q) + token * a.q_stride + head * a.head_dim
                            : static_cast<T*>(a.k) + token * a.k_stride + kv_head * a.head_dim;
    x = ToFloat(row[first]);
    y = ToFloat(row[second]);
    if (turns) {
      const float c = a.cos[token * turning + unit], s = a.sin[token * turning + unit];
      row[first] = From<T>(x * c - y * s);
      row[second] = From<T>(y * c + x * s);
      x = ToFloat(row[first]);
      y = ToFloat(row[second]);
    }
    if (is_query) return;
  }
  C* const to = static_cast<C*>(is_value ? a.values : a.keys) +
                (a.slots[token] * a.kv_heads + kv_head) * a.head_dim;
  to[first] = From<C>(x);
  to[second] = From<C>(y);
}

template <typename T>
__global__ void SiluTimesKernel(const T* gate_up, std::int64_t stride, int rows, int n, T* y) {
  const std::int64_t i = ThreadIndex();
  if (i >= std::int64_t{rows} * n) return;
  const T* const row = gate_up + i / n * stride;
  const float gate = ToFloat(row[i % n]), up = ToFloat(row[i % n + n]);
  y[i] = From<T>(gate / (1.0f + expf(-gate)) * up);
}

template <typename T>
__global__ void QuickGeluKernel(const T* x, std::int64_t n, T* y) {
  const std::int64_t i = ThreadIndex();
  if (i >= n) return;
  const float value = ToFloat(x[i]);
  y[i] = From<T>(value / (1.0f + expf(-1.702f * value)));
}

template <typename T>
__global__ void PixelsKernel(const std::uint8_t* bytes, const float* tables, int planes, int n,
                             T* y) {
  const std::int64_t i = ThreadIndex();
  if (i >= std::int64_t{planes} * n) return;
  y[i] = From<T>(tables[i / n * 256 + bytes[i]]);
}

}  // namespace

void Write(const WriteArgs& args, CUstream_st* stream) {
  const unsigned blocks = Blocks(std::int64_t{args.tokens} * args.width);
  if (blocks == 0) return;
  WithType(args.type, [&](auto t) {
    WithCacheType(args.cache_type, [&](auto c) {
      Launch(WriteKernel<decltype(t), decltype(c)>, blocks, kThreads, stream, args);
    });
  });
}

void Rotate(void* x, Type type, std::int64_t stride, const float* cos, const float* sin, int tokens,
            int heads, int head_dim, CUstream_st* stream) {
  const unsigned blocks = Blocks(std::int64_t{tokens} * heads * (head_dim / 2));
  if (blocks == 0) return;
  WithType(type, [&](auto t) {
    using T = decltype(t);
    Launch(RotateKernel<T>, blocks, kThreads, stream, static_cast<T*>(x), stride, cos, sin, tokens,
           heads, head_dim / 2);
  });
}

void RotateAndWrite(const RotateAndWriteArgs& args, CUstream_st* stream) {
  const unsigned blocks =
      Blocks(std::int64_t{args.tokens} * (args.heads + 2 * args.kv_heads) * (args.head_dim / 2));
  if (blocks == 0) return;
  WithType(args.type, [&](auto t) {
    WithCacheType(args.cache_type, [&](auto c) {
      Launch(RotateAndWriteKernel<decltype(t), decltype(c)>, blocks, kThreads, stream, args);
    });
  });
}

void SiluTimes(const void* gate_up, Type type, std::int64_t stride, int rows, int n, void* y,
               CUstream_st* stream) {
  const unsigned blocks = Blocks(std::int64_t{rows} * n);
  if (blocks == 0) return;
  WithType(type, [&](auto t) {
    using T = decltype(t);
    Launch(SiluTimesKernel<T>, blocks, kThreads, stream, static_cast<const T*>(gate_up), stride,
           rows, n, static_cast<T*>(y));
  });
}

void QuickGelu(const void* x, Type type, std::int64_t n, void* y, CUstream_st* stream) {
  const unsigned blocks = Blocks(n);
  if (blocks == 0) return;
  WithType(type, [&](auto t) {
    using T = decltype(t);
    Launch(QuickGeluKernel<T>, blocks, kThreads, stream, static_cast<const T*>(x), n,
           static_cast<T*>(y));
  });
}

void Pixels(const std::uint8_t* bytes, const float* tables, Type type, int planes, int n, void* y,
            CUstream_st* stream) {
  const unsigned blocks = Blocks(std::int64_t{planes} * n);
  if (blocks == 0) return;
  WithType(type, [&](auto t) {
    using T = decltype(t);
    Launch(PixelsKernel<T>, blocks, kThreads, stream, bytes, tables, planes, n, static_cast<T*>(y));
  });
}

}  // namespace llava::model::cuda
