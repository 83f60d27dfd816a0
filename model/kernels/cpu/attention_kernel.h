// Attention of query rows over cached keys and values in blocks, for one thread: softmax computed
// online, chunk of keys by chunk, in fp32 (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
// arXiv 2205.14135).
//
// A row is (query token, query head); rows of one key/value head share its blocks. Rows form tiles
// whose sums are in registers, and the tiles of a call share each chunk of keys and values while it
// is in the cache nearest to the core.
//
// Chunks begin at the same tokens of the sequence for all rows, and of a row's arithmetic each
// score is one chain over the head's dimensions, each sum of values one chain over the tokens,
// whatever the number of rows in the tile. So neither the batch nor the cut into chunks of a prompt
// changes a result.
#ifndef LLAVA_MODEL_KERNELS_CPU_ATTENTION_KERNEL_H_
#define LLAVA_MODEL_KERNELS_CPU_ATTENTION_KERNEL_H_

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

// Registers that hold one row's scores of a block.
constexpr int kScoreVecs = kKvBlockTokens / kLanes;
// Sums in registers: with the operands they fit into 16, or 24 into 32.
constexpr int kSums = kHasManyRegisters ? 24 : 12;
// Rows of a tile, at most: of one block their scores fill 12 registers.
constexpr int kQueryRows = 12 / kScoreVecs;
constexpr int kQueryTiles = 8;  // of a call, at most
constexpr int kAttentionRows = kQueryRows * kQueryTiles;

// Keys and values that the tiles read together: 16 KiB of bf16 for heads of 64.
constexpr int kChunkBlocks = 4;
constexpr int kChunkTokens = kChunkBlocks * kKvBlockTokens;

// The largest of 8, 4, 2 and 1 that is not above `most`.
constexpr int PowerUpTo(int most) { return most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1; }

// Numbers in a 32-bit word of the cache.
template <KvFormat kFormat>
constexpr int kInWord = kFormat == KvFormat::kFp32   ? 1
                        : kFormat == KvFormat::kBf16 ? 2
                                                     : 4;

// A vector of numbers from the cache: number kPart of each word. Codes are without their scales.
template <KvFormat kFormat, int kPart>
LLAVA_INLINE Vec Numbers(const char* at) {
  const VecBits words = LoadPairs(reinterpret_cast<const std::uint16_t*>(at));
  if constexpr (kFormat == KvFormat::kInt8) {
    return ToFloats(reinterpret_cast<VecInt>(words << (24 - 8 * kPart)) >> 24);
  } else if constexpr (kFormat == KvFormat::kBf16) {
    return kPart == 0 ? LowHalf(words) : HighHalf(words);
  } else {
    return reinterpret_cast<Vec>(words);
  }
}

// The scales behind the codes of a tile of so many words a token.
LLAVA_INLINE const float* ScalesOf(const char* tile, int words) {
  return reinterpret_cast<const float*>(tile + words * kKvBlockTokens * 4);
}

// Between the parts of a word: it is loaded once for each rather than kept in registers, of which
// the sums need all. A sum in memory waits for its own store at each step.
LLAVA_INLINE void ForgetLoads() { __asm__ volatile("" ::: "memory"); }

// GCC prefers to keep what it broadcasts, and some of the sums in memory.
LLAVA_INLINE void KeepInRegister([[maybe_unused]] Vec& v) {
#if defined(__AVX__)
  __asm__("" : "+v"(v));
#endif
}

struct KeyChunk {
  std::int64_t first = 0;  // token of the sequence
  std::int64_t tokens = 0;
  int blocks = 0;
  const char* keys[kChunkBlocks] = {};
  const char* values[kChunkBlocks] = {};
};

// How many tokens a row sees.
LLAVA_INLINE std::int64_t VisibleTo(const AttentionArgs& a, std::int64_t row) {
  return a.first_visible + (a.causal ? row / a.group : 0);
}

// How many tokens, the first ones, are hidden from a row.
LLAVA_INLINE std::int64_t HiddenFrom(const AttentionArgs& a, std::int64_t row) {
  const std::int64_t before = VisibleTo(a, row) - a.window;
  return a.window > 0 && before > 0 ? before : 0;
}

template <int kRows, KvFormat kFormat>
struct AttentionTile {
  static constexpr int kBlocksAtOnce = PowerUpTo(
      kSums / (kRows * kScoreVecs) > kChunkBlocks ? kChunkBlocks : kSums / (kRows * kScoreVecs));
  static constexpr int kVecsAtOnce = PowerUpTo(kSums / kRows);

  std::int64_t visible[kRows];
  std::int64_t hidden[kRows];                  // of them, the first ones; rising
  float query[kMaxHeadDim * kRows];            // [d][row], times scale and log2(e)
  alignas(64) float sum[kRows * kMaxHeadDim];  // [row][padded head_dim], weighted values so far
  float top[kRows];                            // largest score so far
  float factor[kRows];                         // 2^(old top - new top): scales the sums so far
  Vec weight_sum[kRows];

  void Begin(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row) {
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t token = (first_row + r) / a.group;
      const std::int64_t head = kv_head * a.group + (first_row + r) % a.group;
      const float* q = a.q + token * a.q_token_stride + head * a.head_dim;
      for (int d = 0; d < a.head_dim; ++d) query[d * kRows + r] = q[d] * a.scale_log2e;
      visible[r] = VisibleTo(a, first_row + r);
      hidden[r] = HiddenFrom(a, first_row + r);
      top[r] = -__builtin_inff();
      weight_sum[r] = Vec{};
    }
    const int padded = PaddedHeadDim(a.head_dim);
    for (int i = 0; i < kRows * padded; ++i) sum[i] = 0.0f;
  }

  // score = query . key for the tokens of kBlocks blocks from `block` on; score is [row][token].
  template <int kBlocks>
  LLAVA_INLINE_MEMBER void Score(const KeyChunk& chunk, int head_dim, int block, float* score) {
    constexpr int kVecs = kBlocks * kScoreVecs;
    Vec s[kRows][kVecs] = {};
    const char* keys[kBlocks];
    for (int b = 0; b < kBlocks; ++b) keys[b] = chunk.keys[block + b];
    const auto add = [&](auto numbers, std::int64_t row,
                         const float* q) __attribute__((always_inline)) {
      Vec column[kVecs];
#pragma GCC unroll 16
      for (int i = 0; i < kVecs; ++i) {
        column[i] = numbers(keys[i / kScoreVecs] + (row * kScoreVecs + i % kScoreVecs) * kVecBytes);
      }
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Vec x = Broadcast(q[r]);
#pragma GCC unroll 16
        for (int i = 0; i < kVecs; ++i) {
          s[r][i] = MulAdd(x, column[i], s[r][i]);
          KeepInRegister(s[r][i]);
        }
      }
    };
    const float* q = query;
    const int words = head_dim / kInWord<kFormat>;
    for (int row = 0; row < words; ++row, q += kInWord<kFormat> * kRows) {
      // AddValues reads a line here and a line there, which the hardware does not foresee.
      for (int b = 0; b < kBlocks; ++b) __builtin_prefetch(chunk.values[block + b] + row * 64);
      add(Numbers<kFormat, 0>, row, q);
      if constexpr (kInWord<kFormat> == 1) continue;
      ForgetLoads();
      add(Numbers<kFormat, 1>, row, q + kRows);
      ForgetLoads();
      if constexpr (kInWord<kFormat> == 2) continue;
      add(Numbers<kFormat, 2>, row, q + 2 * kRows);
      ForgetLoads();
      add(Numbers<kFormat, 3>, row, q + 3 * kRows);
      ForgetLoads();
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < kVecs; ++i) {
        if constexpr (kFormat == KvFormat::kInt8) {
          s[r][i] *= Load(ScalesOf(keys[i / kScoreVecs], words) + i % kScoreVecs * kLanes);
        }
        Store(score + r * kChunkTokens + block * kKvBlockTokens + i * kLanes, s[r][i]);
      }
    }
  }

  // The scores of tokens that row r may not see become -inf, whatever lies in their slots: even
  // NaN.
  LLAVA_INLINE_MEMBER void Mask(int r, const KeyChunk& chunk, float* score) const {
    VecInt lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    for (int i = 0; i < chunk.blocks * kScoreVecs; ++i) {
      const auto seen = static_cast<std::int32_t>(visible[r] - chunk.first - i * kLanes);
      const auto unseen = static_cast<std::int32_t>(hidden[r] - chunk.first - i * kLanes);
      Store(score + i * kLanes, (lane < seen) & (lane >= unseen) ? Load(score + i * kLanes)
                                                                 : Broadcast(-__builtin_inff()));
    }
  }

  // Scores become the softmax weights of the chunk, relative to the largest score so far; those of
  // codes times the scales of the values.
  LLAVA_INLINE_MEMBER void Weigh(const KeyChunk& chunk, int padded, float* weight) {
    const int vecs = chunk.blocks * kScoreVecs;
    for (int r = 0; r < kRows; ++r, weight += kChunkTokens) {
      if (chunk.first + chunk.tokens <= hidden[r]) {  // other rows see some of it
        factor[r] = 1.0f;
        for (int i = 0; i < vecs; ++i) Store(weight + i * kLanes, Vec{});
        continue;
      }
      const bool hides = chunk.first < hidden[r];
      if (hides || chunk.first + chunk.blocks * kKvBlockTokens > visible[r]) Mask(r, chunk, weight);
      Vec largest = Broadcast(-__builtin_inff());
      for (int i = 0; i < vecs; ++i) largest = Max(largest, Load(weight + i * kLanes));
      const float chunk_top = MaxOfLanes(largest)[0];
      const float new_top = chunk_top > top[r] ? chunk_top : top[r];
      factor[r] = new_top == top[r] ? 1.0f : Exp2(Broadcast(top[r] - new_top))[0];
      top[r] = new_top;
      Vec weights = weight_sum[r] * factor[r];
      for (int i = 0; i < vecs; ++i) {
        const Vec w = Exp2(Load(weight + i * kLanes) - new_top);
        weights += w;
        if constexpr (kFormat == KvFormat::kInt8) {
          const float* scales = ScalesOf(chunk.values[i / kScoreVecs], padded / kInWord<kFormat>);
          Store(weight + i * kLanes, w * Load(scales + i % kScoreVecs * kLanes));
        } else {
          Store(weight + i * kLanes, w);
        }
      }
      weight_sum[r] = weights;
    }
  }

  // sum[d, d + kVecs * kLanes) = sum * factor + weight . value over the tokens of the chunk.
  template <int kVecs>
  LLAVA_INLINE_MEMBER void AddValues(const KeyChunk& chunk, int padded, int d,
                                     const float* weight) {
    Vec s[kRows][kVecs];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) s[r][i] = Load(sum + r * padded + d + i * kLanes) * factor[r];
    }
    const auto add = [&](auto numbers, const char* at, const float* w)
                         __attribute__((always_inline)) {
                           Vec value[kVecs];
#pragma GCC unroll 8
                           for (int i = 0; i < kVecs; ++i) value[i] = numbers(at + i * kVecBytes);
#pragma GCC unroll 12
                           for (int r = 0; r < kRows; ++r) {
                             const Vec x = Broadcast(w[r * kChunkTokens]);
#pragma GCC unroll 8
                             for (int i = 0; i < kVecs; ++i) s[r][i] = MulAdd(x, value[i], s[r][i]);
                           }
                         };
    for (int b = 0; b < chunk.blocks; ++b) {
      const char* at = chunk.values[b] + d * 4;  // a word for each dimension
      const float* w = weight + b * kKvBlockTokens;
      const float* end = w + SmallerOf(kKvBlockTokens, chunk.tokens - b * kKvBlockTokens);
      for (; w < end; at += padded * 4) {
        add(Numbers<kFormat, 0>, at, w++);
        // A slot without a token may hold anything.
        if (kInWord<kFormat> == 1 || w == end) continue;
        ForgetLoads();
        add(Numbers<kFormat, 1>, at, w++);
        if (kInWord<kFormat> == 2 || w == end) continue;
        ForgetLoads();
        add(Numbers<kFormat, 2>, at, w++);
        if (w == end) continue;
        ForgetLoads();
        add(Numbers<kFormat, 3>, at, w++);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < kVecs; ++i) Store(sum + r * padded + d + i * kLanes, s[r][i]);
    }
  }

  // The rows see no token of the chunk, or all of its first `tokens`, or some.
  void Add(KeyChunk chunk, int head_dim) {
    chunk.tokens = SmallerOf(chunk.tokens, visible[kRows - 1] - chunk.first);
    if (chunk.tokens <= 0 || chunk.first + chunk.tokens <= hidden[0]) return;
    chunk.blocks = static_cast<int>((chunk.tokens + kKvBlockTokens - 1) / kKvBlockTokens);
    alignas(64) float weight[kRows * kChunkTokens];
    int block = 0;
    for (; block + kBlocksAtOnce <= chunk.blocks; block += kBlocksAtOnce) {
      Score<kBlocksAtOnce>(chunk, head_dim, block, weight);
    }
    if constexpr (kBlocksAtOnce > 1) {
      for (; block < chunk.blocks; ++block) Score<1>(chunk, head_dim, block, weight);
    }
    const int padded = PaddedHeadDim(head_dim);
    Weigh(chunk, padded, weight);
    int d = 0;
    for (; d + kVecsAtOnce * kLanes <= padded; d += kVecsAtOnce * kLanes) {
      AddValues<kVecsAtOnce>(chunk, padded, d, weight);
    }
    for (; d < padded; d += kLanes) AddValues<1>(chunk, padded, d, weight);
  }

  void End(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row) const {
    const int padded = PaddedHeadDim(a.head_dim);
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t token = (first_row + r) / a.group;
      const std::int64_t head = kv_head * a.group + (first_row + r) % a.group;
      float* out = a.out + token * a.out_token_stride + head * a.head_dim;
      const float inverse = 1.0f / SumLanes(weight_sum[r]);
      for (int d = 0; d < a.head_dim; ++d) out[d] = sum[r * padded + d] * inverse;
    }
  }
};

LLAVA_INLINE KeyChunk ChunkAt(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first,
                              std::int64_t visible) {
  KeyChunk chunk;
  chunk.first = first;
  chunk.tokens = SmallerOf(kChunkTokens, visible - first);
  for (std::int64_t token = 0; token < chunk.tokens; token += kKvBlockTokens, ++chunk.blocks) {
    const std::int64_t tile = a.blocks[(first + token) / kKvBlockTokens] * a.kv_heads + kv_head;
    chunk.keys[chunk.blocks] = a.keys + tile * a.key_tile_bytes;
    chunk.values[chunk.blocks] = a.values + tile * a.value_tile_bytes;
  }
  return chunk;
}

// `tiles` <= kTiles tiles of kRows rows each.
template <int kRows, KvFormat kFormat, int kTiles>
void AttendTiles(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row,
                 std::int64_t tiles) {
  AttentionTile<kRows, kFormat> tile[kTiles];
  for (std::int64_t i = 0; i < tiles; ++i) tile[i].Begin(a, kv_head, first_row + i * kRows);
  const std::int64_t visible = VisibleTo(a, first_row + tiles * kRows - 1);
  std::int64_t first = HiddenFrom(a, first_row) / kChunkTokens * kChunkTokens;
  for (; first < visible; first += kChunkTokens) {
    const KeyChunk chunk = ChunkAt(a, kv_head, first, visible);
    for (std::int64_t i = 0; i < tiles; ++i) tile[i].Add(chunk, a.head_dim);
  }
  for (std::int64_t i = 0; i < tiles; ++i) tile[i].End(a, kv_head, first_row + i * kRows);
}

// The last rows, too few for a whole tile.
template <KvFormat kFormat, int kRows = kQueryRows - 1>
void AttendRest(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row,
                std::int64_t rows) {
  if (rows == kRows) {
    AttendTiles<kRows, kFormat, 1>(a, kv_head, first_row, 1);
  } else if constexpr (kRows > 1) {
    AttendRest<kFormat, kRows - 1>(a, kv_head, first_row, rows);
  }
}

template <KvFormat kFormat>
void AttendOf(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row,
              std::int64_t rows) {
  const std::int64_t tiles = rows / kQueryRows, rest = rows % kQueryRows;
  if (tiles > 0) AttendTiles<kQueryRows, kFormat, kQueryTiles>(a, kv_head, first_row, tiles);
  if (rest > 0) AttendRest<kFormat>(a, kv_head, first_row + tiles * kQueryRows, rest);
}

void Attend(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row,
            std::int64_t rows) {
  switch (a.format) {
    case KvFormat::kFp32:
      return AttendOf<KvFormat::kFp32>(a, kv_head, first_row, rows);
    case KvFormat::kBf16:
      return AttendOf<KvFormat::kBf16>(a, kv_head, first_row, rows);
    case KvFormat::kInt8:
      return AttendOf<KvFormat::kInt8>(a, kv_head, first_row, rows);
  }
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_ATTENTION_KERNEL_H_
