// What choosing a token from a row of logits needs, for one thread: passes over as many numbers as
// a vocabulary has words.
#ifndef LLAVA_MODEL_KERNELS_CPU_SAMPLING_KERNELS_H_
#define LLAVA_MODEL_KERNELS_CPU_SAMPLING_KERNELS_H_

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

// The largest of n >= 1 numbers; NaN when one is NaN.
float MaxOfRow(const float* x, std::int64_t n) {
  Vec best[4] = {Broadcast(x[0]), Broadcast(x[0]), Broadcast(x[0]), Broadcast(x[0])};
  VecInt numbers = VecInt{} - 1;  // lane by lane: all were numbers
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      const Vec v = Load(x + i + j * kLanes);
      best[j] = Max(best[j], v);
      numbers &= v == v;
    }
  }
  float result = MaxOfLanes(Max(Max(best[0], best[1]), Max(best[2], best[3])))[0];
  for (; i < n; ++i) {
    if (x[i] != x[i]) return x[i];
    result = x[i] > result ? x[i] : result;
  }
  return SumLanes(numbers) == -kLanes ? result : __builtin_nanf("");
}

// The sum, in fp32, of the vectors f(i, count) at i = 0, kLanes, ... of n <= kSumBlock numbers;
// `count` of their lanes are within, the others have to be 0. Four sums at a time: one alone would
// wait for the latency of each addition.
template <typename F>
LLAVA_INLINE float SumOfBlock(std::int64_t n, F f) {
  Vec sum[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) sum[j] += f(i + j * kLanes, kLanes);
  }
  for (; i < n; i += kLanes) sum[0] += f(i, SmallerOf(kLanes, n - i));
  return SumLanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// The first `count` <= kLanes numbers from x on; the other lanes are `rest`.
LLAVA_INLINE Vec LoadSome(const float* x, std::int64_t count, float rest) {
  if (count == kLanes) return Load(x);
  Vec v = Broadcast(rest);
  for (std::int64_t j = 0; j < count; ++j) v[j] = x[j];
  return v;
}
LLAVA_INLINE void StoreSome(float* y, std::int64_t count, Vec v) {
  if (count == kLanes) return Store(y, v);
  for (std::int64_t j = 0; j < count; ++j) y[j] = v[j];
}

double WeightsOfRow(const float* x, float top, float scale, std::int64_t n, float* y,
                    float* block_sums) {
  double total = 0;
  for (std::int64_t first = 0; first < n; first += kSumBlock) {
    const auto weigh = [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
      const Vec v = LoadSome(x + first + i, count, -__builtin_inff());
      const Vec weight = Exp2((v - top) * scale);
      StoreSome(y + first + i, count, weight);
      return weight;
    };
    const float sum = SumOfBlock(SmallerOf(kSumBlock, n - first), weigh);
    block_sums[first / kSumBlock] = sum;
    total += sum;
  }
  return total;
}

double CutRow(float* weights, float least, std::int64_t n, float* block_sums) {
  double total = 0;
  for (std::int64_t first = 0; first < n; first += kSumBlock) {
    const auto cut = [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
      const Vec v = LoadSome(weights + first + i, count, 0.0f);
      const Vec kept = v >= least ? v : Vec{};
      StoreSome(weights + first + i, count, kept);
      return kept;
    };
    const float sum = SumOfBlock(SmallerOf(kSumBlock, n - first), cut);
    block_sums[first / kSumBlock] = sum;
    total += sum;
  }
  return total;
}

RowShare ShareOf(const float* weights, float least, std::int64_t n) {
  RowShare share{};
  VecInt minus_count{};
  for (std::int64_t first = 0; first < n; first += kSumBlock) {
    const auto add = [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
      const Vec v = LoadSome(weights + first + i, count, -1.0f);
      const VecInt is_kept = v >= least;  // -1 where it holds
      minus_count += is_kept;
      return reinterpret_cast<Vec>(reinterpret_cast<VecInt>(v) & is_kept);
    };
    share.sum += SumOfBlock(SmallerOf(kSumBlock, n - first), add);
  }
  share.count = -SumLanes(minus_count);
  return share;
}

std::int64_t FindInRow(const float* x, std::int64_t from, std::int64_t n, float least,
                       float below) {
  const auto is_in = [&](Vec v)
                         __attribute__((always_inline)) { return (v >= least) & (v < below); };
  while (from + 4 * kLanes <= n) {
    VecInt any = is_in(Load(x + from));
    for (int j = 1; j < 4; ++j) any |= is_in(Load(x + from + j * kLanes));
    if (FirstLane(any) < kLanes) break;
    from += 4 * kLanes;
  }
  for (; from < n; from += kLanes) {
    const Vec v = LoadSome(x + from, SmallerOf(kLanes, n - from), __builtin_nanf(""));
    const int lane = FirstLane(is_in(v));
    if (lane < kLanes) return from + lane;
  }
  return n;
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_SAMPLING_KERNELS_H_
