// Paged attention of decoded tokens. Keys and values are read once from where they lie, 8 elements
// a lane; LANES lanes hold a row, so that a warp looks at 32 / LANES tokens at a time, each group
// of lanes with a softmax of its own (the running maximum of FlashAttention, arXiv 2205.14135). The
// groups' sums meet in the end: in the warp, in the block, and, where a context was cut into splits
// (Flash-Decoding), in the block that comes last.
#include <algorithm>

#include "base/attention_limits.h"
#include "model/kernels/cuda/e4m3.cuh"
#include "model/kernels/cuda/kernels.h"
#include "model/kernels/cuda/types.cuh"

namespace llava::model::cuda {
namespace {

// Four warps of a block walk one context together. With the 112 registers that a thread needs for
// heads of 128, four such blocks fit on a multiprocessor: enough loads under way to hide memory's
// latency.
constexpr int kWarps = 4;
constexpr float kNothing = -1e30f;  // less than every score; its differences are finite

__device__ float LoadOne(const void* from, Type type, std::int64_t at) {
  return type == Type::kFloat ? static_cast<const float*>(from)[at]
                              : ToFloat(static_cast<const __nv_bfloat16*>(from)[at]);
}

__device__ void StoreOne(void* to, Type type, std::int64_t at, float x) {
  if (type == Type::kFloat) {
    static_cast<float*>(to)[at] = x;
  } else {
    static_cast<__nv_bfloat16*>(to)[at] = From<__nv_bfloat16>(x);
  }
}

// A softmax over the tokens seen so far: the largest score, the sum of the weights 2^(score - top),
// and the sum of the values times those weights.
template <int HEADS>
struct Sums {
  float top[HEADS];
  float total[HEADS];
  float sum[HEADS][kPart];
};

// Adds the sums of the lanes `distance` away.
template <int HEADS>
__device__ void Join(Sums<HEADS>& s, int distance) {
#pragma unroll
  for (int h = 0; h < HEADS; ++h) {
    const float other = __shfl_xor_sync(~0u, s.top[h], distance);
    const float top = fmaxf(s.top[h], other);
    const float mine = exp2f(s.top[h] - top), theirs = exp2f(other - top);
    s.top[h] = top;
    s.total[h] = s.total[h] * mine + __shfl_xor_sync(~0u, s.total[h], distance) * theirs;
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      s.sum[h][i] = s.sum[h][i] * mine + __shfl_xor_sync(~0u, s.sum[h][i], distance) * theirs;
    }
  }
}

// kPart elements of a query from d on, scaled so that a score is the exponent of a power of 2.
__device__ Part Query(const DecodeArgs& a, int sequence, int head, int d) {
  const float scale = 1.44269504f * rsqrtf(static_cast<float>(a.head_dim));
  const std::int64_t from = a.rows[sequence] * a.q_stride + head * a.head_dim + d;
  Part part;
#pragma unroll
  for (int i = 0; i < kPart; ++i) part.x[i] = scale * LoadOne(a.q, a.q_type, from + i);
  return part;
}

// Where a token's key and value of one head begin.
__device__ std::int64_t RowOf(const DecodeArgs& a, int sequence, int token, int kv_head) {
  const std::int32_t block =
      a.tables[std::int64_t{sequence} * a.table_stride + token / kKvBlockTokens];
  const std::int64_t slot = std::int64_t{block} * kKvBlockTokens + token % kKvBlockTokens;
  return (slot * a.kv_heads + kv_head) * a.head_dim;
}

// A warp's sums over its share of the tokens [begin, end): every kWarps-th group of 32 / LANES.
template <typename C, int LANES, int HEADS>
__device__ Sums<HEADS> AttendRange(const DecodeArgs& a, int sequence, int kv_head, int first_head,
                                   int begin, int end) {
  constexpr int kGroups = 32 / LANES;
  constexpr int kStride = kWarps * kGroups;
  constexpr int kAtOnce = HEADS == 1 ? 4 : 2;  // tokens being loaded, as many as registers allow
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int d = lane % LANES * kPart;
  const bool has_part = d < a.head_dim;
  const int group = a.heads / a.kv_heads, heads = min(HEADS, group - first_head);

  Part q[HEADS];
  Sums<HEADS> s;
#pragma unroll
  for (int h = 0; h < HEADS; ++h) {
    const bool wanted = has_part && h < heads;
    q[h] = wanted ? Query(a, sequence, kv_head * group + first_head + h, d) : Part{};
    s.top[h] = kNothing;
    s.total[h] = 0.0f;
#pragma unroll
    for (int i = 0; i < kPart; ++i) s.sum[h][i] = 0.0f;
  }

  const C* const keys = static_cast<const C*>(a.keys);
  const C* const values = static_cast<const C*>(a.values);
  for (int at = begin + warp * kGroups; at < end; at += kStride * kAtOnce) {
    Part k[kAtOnce], v[kAtOnce];
    bool seen[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int token = at + u * kStride + lane / LANES;
      seen[u] = token < end;
      k[u] = v[u] = Part{};
      if (!seen[u] || !has_part) continue;
      const std::int64_t from = RowOf(a, sequence, token, kv_head) + d;
      k[u] = Load(keys + from);
      v[u] = Load(values + from);
    }
#pragma unroll
    for (int h = 0; h < HEADS; ++h) {
      float score[kAtOnce];
      float top = s.top[h];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        float product = 0.0f;
#pragma unroll
        for (int i = 0; i < kPart; ++i) product += q[h].x[i] * k[u].x[i];
#pragma unroll
        for (int distance = LANES / 2; distance > 0; distance /= 2) {
          product += __shfl_xor_sync(~0u, product, distance);
        }
        score[u] = seen[u] ? product : kNothing;
        top = fmaxf(top, score[u]);
      }
      const float before = exp2f(s.top[h] - top);
      s.top[h] = top;
      s.total[h] *= before;
#pragma unroll
      for (int i = 0; i < kPart; ++i) s.sum[h][i] *= before;
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const float weight = seen[u] ? exp2f(score[u] - top) : 0.0f;
        s.total[h] += weight;
#pragma unroll
        for (int i = 0; i < kPart; ++i) s.sum[h][i] += weight * v[u].x[i];
      }
    }
  }
#pragma unroll
  for (int distance = LANES; distance < 32; distance *= 2) Join(s, distance);
  return s;
}

// Where the sums of a split lie: head_dim of them, then the largest score and the total.
__device__ float* Place(const DecodeArgs& a, int sequence, int head, int split) {
  return a.partial +
         ((std::int64_t{sequence} * a.heads + head) * a.splits + split) * (a.head_dim + 2);
}

// Element d of the result, from `count` sums that lie `distance` floats apart.
__device__ float Finish(const float* first, int count, int distance, int d, int head_dim) {
  float top = kNothing;
  for (int i = 0; i < count; ++i) top = fmaxf(top, first[i * distance + head_dim]);
  float total = 0.0f, sum = 0.0f;
  for (int i = 0; i < count; ++i) {
    const float* const one = first + i * distance;
    const float weight = exp2f(one[head_dim] - top);
    total += weight * one[head_dim + 1];
    sum += weight * one[d];
  }
  return sum / total;
}

template <typename C, int LANES, int HEADS>
__global__ void __launch_bounds__(kWarps * 32) DecodeKernel(DecodeArgs a) {
  constexpr int kRow = LANES * kPart + 2;
  __shared__ float shared[HEADS][kWarps][kRow];
  __shared__ bool is_last;
  const int group = a.heads / a.kv_heads;
  const int head_sets = (group + HEADS - 1) / HEADS;
  const int split = blockIdx.x, kv_head = blockIdx.y / head_sets, sequence = blockIdx.z;
  const int first_head = blockIdx.y % head_sets * HEADS;
  const int heads = min(HEADS, group - first_head);
  const int length = a.lengths[sequence];
  const int part = (length + a.splits - 1) / a.splits;
  const int begin = min(length, split * part), end = min(length, begin + part);

  const Sums<HEADS> s = AttendRange<C, LANES, HEADS>(a, sequence, kv_head, first_head, begin, end);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (lane < LANES) {
#pragma unroll
    for (int h = 0; h < HEADS; ++h) {
      float* const row = shared[h][warp];
#pragma unroll
      for (int i = 0; i < kPart; ++i) {
        if (lane * kPart + i < a.head_dim) row[lane * kPart + i] = s.sum[h][i];
      }
      if (lane == 0) {
        row[a.head_dim] = s.top[h];
        row[a.head_dim + 1] = s.total[h];
      }
    }
  }
  __syncthreads();

  const int first = kv_head * group + first_head;
  const auto out = [&](int h) {
    return a.rows[sequence] * a.out_stride + (first + h) * a.head_dim;
  };
  if (a.splits == 1) {
    for (int i = threadIdx.x; i < heads * a.head_dim; i += kWarps * 32) {
      const int h = i / a.head_dim, d = i % a.head_dim;
      StoreOne(a.out, a.q_type, out(h) + d, Finish(shared[h][0], kWarps, kRow, d, a.head_dim));
    }
    return;
  }
  for (int i = threadIdx.x; i < heads * (a.head_dim + 2); i += kWarps * 32) {
    const int h = i / (a.head_dim + 2), d = i % (a.head_dim + 2);
    float top = kNothing;
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, shared[h][w][a.head_dim]);
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += exp2f(shared[h][w][a.head_dim] - top) * shared[h][w][d];
    Place(a, sequence, first + h, split)[d] = d == a.head_dim ? top : sum;
  }
  __threadfence();
  __syncthreads();
  int* const arrived = a.arrived + std::int64_t{sequence} * a.heads + first;
  if (threadIdx.x == 0) is_last = atomicAdd(arrived, 1) == a.splits - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  for (int i = threadIdx.x; i < heads * a.head_dim; i += kWarps * 32) {
    const int h = i / a.head_dim, d = i % a.head_dim;
    const float x =
        Finish(Place(a, sequence, first + h, 0), a.splits, a.head_dim + 2, d, a.head_dim);
    StoreOne(a.out, a.q_type, out(h) + d, x);
  }
  if (threadIdx.x == 0) *arrived = 0;
}

template <typename C, int LANES, int HEADS>
void Start(const DecodeArgs& args, CUstream_st* stream) {
  const int group = args.heads / args.kv_heads;
  const dim3 blocks(static_cast<unsigned>(args.splits),
                    static_cast<unsigned>(args.kv_heads * ((group + HEADS - 1) / HEADS)),
                    static_cast<unsigned>(args.sequences));
  Launch(DecodeKernel<C, LANES, HEADS>, blocks, kWarps * 32, stream, args);
}

template <typename C, int LANES>
void StartForGroup(const DecodeArgs& args, CUstream_st* stream) {
  const int group = args.heads / args.kv_heads;
  if (group == 1) return Start<C, LANES, 1>(args, stream);
  if (group <= 4) return Start<C, LANES, 4>(args, stream);
  Start<C, LANES, 8>(args, stream);
}

}  // namespace

void Decode(const DecodeArgs& args, CUstream_st* stream) {
  WithCacheType(args.cache_type, [&](auto c) {
    using C = decltype(c);
    if (args.head_dim <= 8 * kPart) return StartForGroup<C, 8>(args, stream);
    if (args.head_dim <= 16 * kPart) return StartForGroup<C, 16>(args, stream);
    static_assert(kMaxHeadDim <= 32 * kPart, "a warp holds a row");
    StartForGroup<C, 32>(args, stream);
  });
}

}  // namespace llava::model::cuda
