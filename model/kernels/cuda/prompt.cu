// Attention of prompts' chunks over the keys and values before them, where those lie in the cache.
// A thread block has 16 query tokens of one head; its warps share the keys out among them, 32 at a
// time, each with a softmax of its own (as in decode.cu), and add up in the end. Products of 16 x
// 16 go through tensor cores, whose operands come straight from the cache, a block of which is 16
// tokens, or where it holds e4m3 through shared memory, as bf16, exactly. How a product lies in a
// warp's registers only the hardware knows, so that its rows are scaled by a matrix that lies the
// same way.
#include <mma.h>

#include <type_traits>

#include "base/attention_limits.h"
#include "model/kernels/cuda/e4m3.cuh"
#include "model/kernels/cuda/kernels.h"
#include "model/kernels/cuda/types.cuh"

namespace llava::model::cuda {
namespace {

namespace wmma = nvcuda::wmma;

constexpr int kWarps = 4;
constexpr int kTile = 16;           // queries, keys or dimensions of a product
constexpr int kKeys = 2 * kTile;    // of a warp's turn
constexpr float kNothing = -1e30f;  // less than every score; its differences are finite
static_assert(kKvBlockTokens == kTile, "a block of the cache is a tile of keys");

using QueryTile =
    wmma::fragment<wmma::matrix_a, kTile, kTile, kTile, __nv_bfloat16, wmma::row_major>;
using KeyTile = wmma::fragment<wmma::matrix_b, kTile, kTile, kTile, __nv_bfloat16, wmma::col_major>;
using ValueTile =
    wmma::fragment<wmma::matrix_b, kTile, kTile, kTile, __nv_bfloat16, wmma::row_major>;
using SumTile = wmma::fragment<wmma::accumulator, kTile, kTile, kTile, float>;

// TILES * kTile is the head's size at most.
template <int TILES>
struct Shared {
  alignas(32) __nv_bfloat16 queries[kTile * TILES * kTile];
  // A tile of each warp where the cache holds e4m3, else see AddValues.
  alignas(32) __nv_bfloat16 room[kTile * TILES * kTile];
  alignas(32) float scores[kWarps][kTile * kKeys];
  alignas(32) __nv_bfloat16 weights[kWarps][kTile * kKeys];
  float tops[kWarps][kTile];
  float totals[kWarps][kTile];
};

// What a thread block works on.
struct QueryBlock {
  const std::int32_t* table;
  int head, kv_head;
  std::int64_t first_row;  // of the batch: the first query's
  int queries;             // kTile or fewer
  int position;            // of the first query in its sequence
  int end;                 // of the keys that any of the queries sees
  int length;              // of the sequence, in keys
};

// A warp's softmax over the keys seen so far. Each lane knows of one row, lane / 2.
template <int TILES>
struct Walk {
  SumTile sums[TILES];  // of values times weights 2^(score - top)
  float top = kNothing;
  float total = 0.0f;  // of the weights
};

// The block of the cache in which `token` lies, which is the first of it, for the head.
template <typename C>
__device__ const C* BlockOf(const PromptArgs& a, const QueryBlock& b, const void* from, int token) {
  const std::int64_t slot = std::int64_t{b.table[token / kTile]} * kTile;
  return static_cast<const C*>(from) + (slot * a.kv_heads + b.kv_head) * a.head_dim;
}

// A tile of the cache, rows of `stride` elements, as bf16 in `to`, rows of kTile: each lane has
// half a row. Rows from the `rows`th on are zeros.
[[maybe_unused]] __device__ void Convert(const E4m3* from, unsigned stride, int rows,
                                         __nv_bfloat16* to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / 2, first = lane % 2 * kPart;
  static_assert(2 * kPart == kTile, "two lanes have a row");
  __syncwarp();  // all have read what was there
  Store(to + row * kTile + first,
        row < rows ? Load(from + row * std::int64_t{stride} + first) : Part{});
  __syncwarp();
}

// Queries behind the last one are zeros, so that all of a product is numbers.
[[maybe_unused]] __device__ void LoadQueries(const PromptArgs& a, const QueryBlock& b,
                                             __nv_bfloat16* queries) {
  const auto* const q = static_cast<const __nv_bfloat16*>(a.q);
  for (int i = static_cast<int>(threadIdx.x); i < kTile * a.head_dim; i += kWarps * 32) {
    const int row = i / a.head_dim, d = i % a.head_dim;
    queries[i] = row < b.queries ? q[(b.first_row + row) * a.q_stride + b.head * a.head_dim + d]
                                 : From<__nv_bfloat16>(0.0f);
  }
  __syncthreads();
}

// The products of all queries with the keys [at, at + kKeys), kKeys a row. Those of keys at or
// behind b.end mean nothing.
template <typename C, int TILES>
__device__ void ScoreKeys(const PromptArgs& a, const QueryBlock& b, int at,
                          const __nv_bfloat16* queries, __nv_bfloat16* room, float* scores) {
  const int tiles = a.head_dim / kTile;
  const auto stride = static_cast<unsigned>(a.kv_heads * a.head_dim);
  for (int first = at; first < at + kKeys && first < b.end; first += kTile) {
    const C* const keys = BlockOf<C>(a, b, a.keys, first);
    SumTile products;
    wmma::fill_fragment(products, 0.0f);
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
      if (t >= tiles) break;
      QueryTile query;
      KeyTile key;
      wmma::load_matrix_sync(query, queries + t * kTile, static_cast<unsigned>(a.head_dim));
      if constexpr (std::is_same_v<C, E4m3>) {
        Convert(keys + t * kTile, stride, kTile, room);
        wmma::load_matrix_sync(key, room, kTile);
      } else {
        wmma::load_matrix_sync(key, keys + t * kTile, stride);
      }
      wmma::mma_sync(products, query, key, products);
    }
    wmma::store_matrix_sync(scores + (first - at), products, kKeys, wmma::mem_row_major);
  }
  __syncwarp();
}

// Turns the scores into weights and takes them into the softmax. Two lanes have a row, half of its
// keys each. Returns what the row's sums so far are to be multiplied by.
template <int TILES>
__device__ float WeighKeys(const PromptArgs& a, const QueryBlock& b, int at, const float* scores,
                           __nv_bfloat16* weights, Walk<TILES>& walk) {
  const float scale = 1.44269504f * rsqrtf(static_cast<float>(a.head_dim));
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / 2, first = lane % 2 * kTile;
  // A query sees its own key and those before it.
  const int seen = min(b.position + row + 1, b.end) - (at + first);
  float score[kTile];
  float top = walk.top;
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
    score[i] = i < seen ? scale * scores[row * kKeys + first + i] : kNothing;
    top = fmaxf(top, score[i]);
  }
  top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kTile; ++i) {
    const float weight = i < seen ? exp2f(score[i] - top) : 0.0f;
    total += weight;
    weights[row * kKeys + first + i] = From<__nv_bfloat16>(weight);
  }
  const float before = exp2f(walk.top - top);
  walk.top = top;
  walk.total = walk.total * before + total + __shfl_xor_sync(~0u, total, 1);
  return before;
}

// Multiplies every row by its lanes' factor. `room`: kTile * kTile floats of the warp.
template <int TILES>
__device__ void ScaleRows(Walk<TILES>& walk, int tiles, float factor, float* room) {
  constexpr int kShare = kTile * kTile / 32;  // half a row
  __syncwarp();
  for (int i = 0; i < kShare; ++i) room[threadIdx.x % 32 * kShare + i] = factor;
  __syncwarp();
  SumTile factors;
  wmma::load_matrix_sync(factors, room, kTile, wmma::mem_row_major);
#pragma unroll
  for (int t = 0; t < TILES; ++t) {
    if (t >= tiles) break;
#pragma unroll
    for (int i = 0; i < factors.num_elements; ++i) walk.sums[t].x[i] *= factors.x[i];
  }
  __syncwarp();
}

// Adds the values of the keys [at, at + kKeys) times their weights. What lies behind a sequence's
// last key was never written or is another sequence's, and might be no number, which times a weight
// of 0 were none either: the last block is read through `room`, where it is 0. One warp alone comes
// to that block.
template <typename C, int TILES>
__device__ void AddValues(const PromptArgs& a, const QueryBlock& b, int at,
                          const __nv_bfloat16* weights, __nv_bfloat16* room, Walk<TILES>& walk) {
  const int tiles = a.head_dim / kTile;
  for (int first = at; first < at + kKeys && first < b.end; first += kTile) {
    const C* values = BlockOf<C>(a, b, a.values, first);
    auto stride = static_cast<unsigned>(a.kv_heads * a.head_dim);
    if constexpr (std::is_same_v<C, __nv_bfloat16>) {
      if (first + kTile > b.length) {
        for (int i = static_cast<int>(threadIdx.x) % 32; i < kTile * a.head_dim; i += 32) {
          const int row = i / a.head_dim, d = i % a.head_dim;
          room[i] = first + row < b.length ? values[row * std::int64_t{stride} + d]
                                           : From<__nv_bfloat16>(0.0f);
        }
        __syncwarp();
        values = room;
        stride = static_cast<unsigned>(a.head_dim);
      }
    }
    QueryTile weight;
    wmma::load_matrix_sync(weight, weights + (first - at), kKeys);
#pragma unroll
    for (int t = 0; t < TILES; ++t) {
      if (t >= tiles) break;
      ValueTile value;
      if constexpr (std::is_same_v<C, E4m3>) {
        Convert(values + t * kTile, stride, b.length - first, room);
        wmma::load_matrix_sync(value, room, kTile);
      } else {
        wmma::load_matrix_sync(value, values + t * kTile, stride);
      }
      wmma::mma_sync(walk.sums[t], weight, value, walk.sums[t]);
    }
  }
  __syncwarp();
}

// Adds up what the warps have found, and writes it.
template <int TILES>
__device__ void Finish(const PromptArgs& a, const QueryBlock& b, Shared<TILES>& shared,
                       Walk<TILES>& walk) {
  const int warp = static_cast<int>(threadIdx.x) / 32, row = static_cast<int>(threadIdx.x) % 32 / 2;
  const int tiles = a.head_dim / kTile;
  shared.tops[warp][row] = walk.top;
  shared.totals[warp][row] = walk.total;
  __syncthreads();
  float top = kNothing, total = 0.0f;
  for (int w = 0; w < kWarps; ++w) top = fmaxf(top, shared.tops[w][row]);
  for (int w = 0; w < kWarps; ++w)
    total += shared.totals[w][row] * exp2f(shared.tops[w][row] - top);
  ScaleRows(walk, tiles, exp2f(walk.top - top) / total, shared.scores[warp]);
  auto* const out = static_cast<__nv_bfloat16*>(a.out);
#pragma unroll
  for (int t = 0; t < TILES; ++t) {
    if (t >= tiles) break;
    wmma::store_matrix_sync(shared.scores[warp], walk.sums[t], kTile, wmma::mem_row_major);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < b.queries * kTile; i += kWarps * 32) {
      float sum = 0.0f;
      for (int w = 0; w < kWarps; ++w) sum += shared.scores[w][i];
      out[(b.first_row + i / kTile) * a.out_stride + b.head * a.head_dim + t * kTile + i % kTile] =
          From<__nv_bfloat16>(sum);
    }
    __syncthreads();
  }
}

// Left alone the compiler would spill registers to have more than two blocks a multiprocessor.
template <typename C, int TILES>
__global__ void __launch_bounds__(kWarps * 32, 2) PromptKernel(PromptArgs a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800  // tensor cores before do not know bf16
  __shared__ Shared<TILES> shared;
  const int chunk = static_cast<int>(blockIdx.z), tokens = a.tokens[chunk];
  const int first = static_cast<int>(blockIdx.x) * kTile;
  if (first >= tokens) return;
  const int context = a.contexts[chunk], queries = min(kTile, tokens - first);
  const int head = static_cast<int>(blockIdx.y);
  const QueryBlock b{.table = a.tables + std::int64_t{chunk} * a.table_stride,
                     .head = head,
                     .kv_head = head / (a.heads / a.kv_heads),
                     .first_row = a.first_rows[chunk] + first,
                     .queries = queries,
                     .position = context + first,
                     .end = context + first + queries,
                     .length = context + tokens};
  LoadQueries(a, b, shared.queries);
  const int warp = static_cast<int>(threadIdx.x) / 32, tiles = a.head_dim / kTile;
  // Of e4m3 each warp has its tile of the room; of bf16 one warp has all of it.
  static_assert(TILES >= kWarps, "there is a tile for each warp");
  __nv_bfloat16* const room = shared.room + (std::is_same_v<C, E4m3> ? warp * kTile * kTile : 0);
  Walk<TILES> walk;
#pragma unroll
  for (int t = 0; t < TILES; ++t) wmma::fill_fragment(walk.sums[t], 0.0f);
  for (int at = warp * kKeys; at < b.end; at += kWarps * kKeys) {
    ScoreKeys<C, TILES>(a, b, at, shared.queries, room, shared.scores[warp]);
    const float before = WeighKeys(a, b, at, shared.scores[warp], shared.weights[warp], walk);
    ScaleRows(walk, tiles, before, shared.scores[warp]);
    AddValues<C>(a, b, at, shared.weights[warp], room, walk);
  }
  Finish(a, b, shared, walk);
#endif
}

template <typename C>
void Start(const PromptArgs& args, CUstream_st* stream) {
  const dim3 blocks(static_cast<unsigned>((args.longest + kTile - 1) / kTile),
                    static_cast<unsigned>(args.heads), static_cast<unsigned>(args.chunks));
  const auto start = [&](auto kernel) { Launch(kernel, blocks, kWarps * 32, stream, args); };
  if (args.head_dim <= 4 * kTile) return start(PromptKernel<C, 4>);
  if (args.head_dim <= 8 * kTile) return start(PromptKernel<C, 8>);
  static_assert(kMaxHeadDim <= 16 * kTile, "every head has its kernel");
  start(PromptKernel<C, 16>);
}

}  // namespace

void Prompt(const PromptArgs& args, CUstream_st* stream) {
  if (args.cache_type == Type::kE4m3) return Start<E4m3>(args, stream);
  Start<__nv_bfloat16>(args, stream);
}

}  // namespace llava::model::cuda
