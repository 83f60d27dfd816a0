// Attention of a few query rows over cached keys and values in blocks, for one thread: softmax
// computed online, block by block, in fp32 (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
// arXiv 2205.14135).
//
// A row is (query token, query head); rows of one key/value head share its blocks. Blocks are
// walked in the sequence's order and each row's arithmetic depends on its own tokens only, so
// neither the batch nor the cut into chunks changes a result.
#ifndef LLAVA_MODEL_KERNELS_CPU_ATTENTION_KERNEL_H_
#define LLAVA_MODEL_KERNELS_CPU_ATTENTION_KERNEL_H_

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

// Registers that hold one row's scores of a block.
constexpr int kScoreVecs = kKvBlockTokens / kLanes;
// Rows that share a pass over the blocks: their scores fill 12 registers, which with the operands
// fit into 16.
constexpr int kAttentionRows = 12 / kScoreVecs;

template <int kRows, bool kBf16>
struct AttentionTile {
  const AttentionArgs& a;
  const int padded = PaddedHeadDim(a.head_dim);
  std::int64_t visible[kRows];                 // how many tokens each row sees
  float query[kMaxHeadDim * kRows];            // [d][row], times scale and log2(e)
  alignas(64) float sum[kRows * kMaxHeadDim];  // [row][d], weighted values so far
  float top[kRows];                            // largest score so far
  float factor[kRows];                         // 2^(old top - new top): scales the sums so far
  Vec weight_sum[kRows];
  Vec score[kRows][kScoreVecs];
  float weight[kKvBlockTokens * kRows];  // [token][row]

  explicit AttentionTile(const AttentionArgs& args) : a(args) {}

  void Begin(std::int64_t kv_head, std::int64_t first_row) {
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t token = (first_row + r) / a.group;
      const std::int64_t head = kv_head * a.group + (first_row + r) % a.group;
      const float* q = a.q + token * a.q_token_stride + head * a.head_dim;
      for (int d = 0; d < a.head_dim; ++d) query[d * kRows + r] = q[d] * a.scale_log2e;
      visible[r] = a.first_visible + (a.causal ? token : 0);
      top[r] = -__builtin_inff();
      weight_sum[r] = Vec{};
    }
    for (int i = 0; i < kRows * padded; ++i) sum[i] = 0.0f;
  }

  // score = query . key for the tokens of a block.
  LLAVA_INLINE_MEMBER void Score(const char* keys) {
    Vec s[kRows][kScoreVecs] = {};
    const float* q = query;
    if constexpr (kBf16) {
      const auto* k = reinterpret_cast<const std::uint16_t*>(keys);
      for (int d = 0; d < a.head_dim; d += 2, q += 2 * kRows, k += 2 * kKvBlockTokens) {
#pragma GCC unroll 4
        for (int i = 0; i < kScoreVecs; ++i) {
          const VecBits pairs = LoadPairs(k + i * 2 * kLanes);
#pragma GCC unroll 12
          for (int r = 0; r < kRows; ++r) {
            s[r][i] = MulAdd(Broadcast(q[r]), LowHalf(pairs), s[r][i]);
          }
#pragma GCC unroll 12
          for (int r = 0; r < kRows; ++r) {
            s[r][i] = MulAdd(Broadcast(q[kRows + r]), HighHalf(pairs), s[r][i]);
          }
        }
      }
    } else {
      const auto* k = reinterpret_cast<const float*>(keys);
      for (int d = 0; d < a.head_dim; ++d, q += kRows, k += kKvBlockTokens) {
#pragma GCC unroll 4
        for (int i = 0; i < kScoreVecs; ++i) {
          const Vec column = Load(k + i * kLanes);
#pragma GCC unroll 12
          for (int r = 0; r < kRows; ++r) s[r][i] = MulAdd(Broadcast(q[r]), column, s[r][i]);
        }
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int i = 0; i < kScoreVecs; ++i) score[r][i] = s[r][i];
    }
  }

  // The scores of tokens that row r may not see become -inf, whatever lies in their slots: even
  // NaN.
  LLAVA_INLINE_MEMBER void Mask(int r, std::int64_t first_token) {
    VecInt lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    for (int i = 0; i < kScoreVecs; ++i) {
      const auto seen = static_cast<std::int32_t>(visible[r] - first_token - i * kLanes);
      score[r][i] = lane < seen ? score[r][i] : Broadcast(-__builtin_inff());
    }
  }

  // Softmax weights of the block, relative to the largest score so far.
  LLAVA_INLINE_MEMBER void Weigh(std::int64_t first_token) {
    for (int r = 0; r < kRows; ++r) {
      if (first_token + kKvBlockTokens > visible[r]) Mask(r, first_token);
      Vec largest = score[r][0];
      for (int i = 1; i < kScoreVecs; ++i) largest = Max(largest, score[r][i]);
      const float block_top = MaxOfLanes(largest)[0];
      const float new_top = block_top > top[r] ? block_top : top[r];
      factor[r] = new_top == top[r] ? 1.0f : Exp2(Broadcast(top[r] - new_top))[0];
      top[r] = new_top;
      weight_sum[r] *= factor[r];
      for (int i = 0; i < kScoreVecs; ++i) {
        const Vec w = Exp2(score[r][i] - new_top);
        weight_sum[r] += w;
        for (int j = 0; j < kLanes; ++j) weight[(i * kLanes + j) * kRows + r] = w[j];
      }
    }
  }

  // sum[d, d + kVecs * kLanes) = sum * factor + weight . value over the first `tokens` of a block.
  template <int kVecs>
  LLAVA_INLINE_MEMBER void AddValues(const char* values, int d, int tokens) {
    Vec s[kRows][kVecs];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kVecs; ++i) s[r][i] = Load(sum + r * padded + d + i * kLanes) * factor[r];
    }
    const float* w = weight;
    constexpr int kStep = kBf16 ? 2 : 1;
    const char* at = values + d * 4;  // two bf16, or one float
    for (int t = 0; t < tokens; t += kStep, w += kStep * kRows, at += padded * 4) {
      Vec value[kStep][kVecs];
      for (int i = 0; i < kVecs; ++i) {
        if constexpr (kBf16) {
          const VecBits pairs =
              LoadPairs(reinterpret_cast<const std::uint16_t*>(at) + i * 2 * kLanes);
          value[0][i] = LowHalf(pairs);
          value[1][i] = HighHalf(pairs);
        } else {
          value[0][i] = Load(reinterpret_cast<const float*>(at) + i * kLanes);
        }
      }
      for (int step = 0; step < kStep && t + step < tokens; ++step) {
#pragma GCC unroll 12
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
          for (int i = 0; i < kVecs; ++i) {
            s[r][i] = MulAdd(Broadcast(w[step * kRows + r]), value[step][i], s[r][i]);
          }
        }
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kVecs; ++i) Store(sum + r * padded + d + i * kLanes, s[r][i]);
    }
  }

  void Run(std::int64_t kv_head, std::int64_t first_row) {
    Begin(kv_head, first_row);
    const std::int64_t last_visible = visible[kRows - 1];
    for (std::int64_t token = 0; token < last_visible; token += kKvBlockTokens) {
      const std::int64_t tile = a.blocks[token / kKvBlockTokens] * a.kv_heads + kv_head;
      Score(a.keys + tile * a.key_tile_bytes);
      Weigh(token);
      const char* values = a.values + tile * a.value_tile_bytes;
      const int tokens = static_cast<int>(SmallerOf(kKvBlockTokens, last_visible - token));
      int d = 0;
      for (; d + 2 * kLanes <= padded; d += 2 * kLanes) AddValues<2>(values, d, tokens);
      if (d < padded) AddValues<1>(values, d, tokens);
    }
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t token = (first_row + r) / a.group;
      const std::int64_t head = kv_head * a.group + (first_row + r) % a.group;
      float* out = a.out + token * a.out_token_stride + head * a.head_dim;
      const float inverse = 1.0f / SumLanes(weight_sum[r]);
      for (int d = 0; d < a.head_dim; ++d) out[d] = sum[r * padded + d] * inverse;
    }
  }
};

template <bool kBf16, int kRows = kAttentionRows>
void AttendOf(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row,
              std::int64_t rows) {
  if (rows == kRows) {
    AttentionTile<kRows, kBf16>(a).Run(kv_head, first_row);
  } else if constexpr (kRows > 1) {
    AttendOf<kBf16, kRows - 1>(a, kv_head, first_row, rows);
  }
}

void Attend(const AttentionArgs& a, std::int64_t kv_head, std::int64_t first_row,
            std::int64_t rows) {
  a.bf16 ? AttendOf<true>(a, kv_head, first_row, rows)
         : AttendOf<false>(a, kv_head, first_row, rows);
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_ATTENTION_KERNEL_H_
