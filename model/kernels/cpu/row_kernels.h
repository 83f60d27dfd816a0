// The decoder's element-wise loops, for one thread.
#ifndef LLAVA_MODEL_KERNELS_CPU_ROW_KERNELS_H_
#define LLAVA_MODEL_KERNELS_CPU_ROW_KERNELS_H_

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

// y[i] = f(vector at i) for i in [0, n); the last vector is padded with zeros.
template <typename F>
LLAVA_INLINE void ForEachVec(std::int64_t n, float* y, F f) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(y + i, f([i](const float* x) { return Load(x + i); }));
  if (i == n) return;
  const Vec last = f([i, n](const float* x) {
    Vec v{};
    for (std::int64_t j = i; j < n; ++j) v[j - i] = x[j];
    return v;
  });
  for (std::int64_t j = i; j < n; ++j) y[j] = last[j - i];
}

// Four sums at a time: one alone would wait for the latency of each addition.
void RmsNormRow(const float* x, const float* weight, float eps, std::int64_t n, float* y) {
  Vec squares[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      const Vec v = Load(x + i + j * kLanes);
      squares[j] = MulAdd(v, v, squares[j]);
    }
  }
  float mean = SumLanes((squares[0] + squares[1]) + (squares[2] + squares[3]));
  for (; i < n; ++i) mean += x[i] * x[i];
  mean /= static_cast<float>(n);
  const float scale = 1.0f / __builtin_sqrtf(mean + eps);
  ForEachVec(n, y,
             [&](auto at) __attribute__((always_inline)) { return at(x) * scale * at(weight); });
}

void SiluTimesRow(const float* gate, const float* up, std::int64_t n, float* y) {
  ForEachVec(n, y, [&](auto at) __attribute__((always_inline)) {
    const Vec g = at(gate);
    return g * Sigmoid(g) * at(up);
  });
}

void QuickGeluRow(const float* x, std::int64_t n, float* y) {
  ForEachVec(n, y, [&](auto at) __attribute__((always_inline)) {
    const Vec v = at(x);
    return v * Sigmoid(v * 1.702f);
  });
}

void RotateRow(float* x, const float* cos, const float* sin, std::int64_t heads,
               std::int64_t head_dim) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t h = 0; h < heads; ++h, x += head_dim) {
    std::int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) {
      const Vec a = Load(x + i), b = Load(x + half + i), c = Load(cos + i), s = Load(sin + i);
      Store(x + i, a * c - b * s);
      Store(x + half + i, b * c + a * s);
    }
    for (; i < half; ++i) {
      const float a = x[i], b = x[half + i];
      x[i] = a * cos[i] - b * sin[i];
      x[half + i] = b * cos[i] + a * sin[i];
    }
  }
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_ROW_KERNELS_H_
