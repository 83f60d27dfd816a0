// Vectors of kLanes floats for the hot loops, written with the compilers' vector extensions so that
// one source serves every instruction set. It is compiled once for each (model/CMakeLists.txt) with
//   LLAVA_ISA    the namespace of the copy (baseline, avx2, avx512)
//   LLAVA_LANES  floats in a register
// and chosen at run time (dispatch.h). Because the copies are compiled with different flags, code
// here must be in the LLAVA_ISA namespace and must not instantiate shared templates or inline
// functions of other headers: the linker would keep one copy of those for everybody.
#ifndef LLAVA_MODEL_KERNELS_SIMD_H_
#define LLAVA_MODEL_KERNELS_SIMD_H_

#include <cstdint>

#if defined(__FMA__)
#include <immintrin.h>
#endif

#ifndef LLAVA_ISA
#define LLAVA_ISA baseline
#define LLAVA_LANES 4
#endif

#define LLAVA_INLINE_MEMBER inline __attribute__((always_inline))
#define LLAVA_INLINE static LLAVA_INLINE_MEMBER

namespace llava::model::LLAVA_ISA {

constexpr int kLanes = LLAVA_LANES;
constexpr int kVecBytes = kLanes * 4;

typedef float Vec __attribute__((vector_size(kVecBytes)));
typedef std::int32_t VecInt __attribute__((vector_size(kVecBytes)));
typedef std::uint32_t VecBits __attribute__((vector_size(kVecBytes)));
// The same anywhere in memory, whatever the declared type there.
typedef float VecAt __attribute__((vector_size(kVecBytes), aligned(2), may_alias));
typedef std::uint32_t VecBitsAt __attribute__((vector_size(kVecBytes), aligned(2), may_alias));

LLAVA_INLINE Vec Load(const float* p) { return *reinterpret_cast<const VecAt*>(p); }
LLAVA_INLINE void Store(float* p, Vec v) { *reinterpret_cast<VecAt*>(p) = v; }
LLAVA_INLINE Vec Broadcast(float x) { return x - Vec{}; }

// a * b + c. The compiler contracts nothing by itself (-ffp-contract=off): which of two products it
// would fuse differs from copy to copy of a loop, and with it the bits of the result.
LLAVA_INLINE Vec MulAdd(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__) && LLAVA_LANES == 16
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && LLAVA_LANES == 8
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// Two bf16 numbers lie in one 32-bit word: the low half and the high half, each as a float.
LLAVA_INLINE VecBits LoadPairs(const std::uint16_t* p) {
  return *reinterpret_cast<const VecBitsAt*>(p);
}
LLAVA_INLINE Vec LowHalf(VecBits pairs) { return reinterpret_cast<Vec>(pairs << 16); }
LLAVA_INLINE Vec HighHalf(VecBits pairs) { return reinterpret_cast<Vec>(pairs & 0xFFFF0000u); }

// A NaN in `a` stays.
LLAVA_INLINE Vec Max(Vec a, Vec b) { return a < b ? b : a; }
LLAVA_INLINE Vec Min(Vec a, Vec b) { return b < a ? b : a; }

LLAVA_INLINE float MaxLane(Vec v) {
  float best = v[0];
  for (int i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

// Sums lanes pairwise, so that the order does not depend on the optimiser.
LLAVA_INLINE float SumLanes(Vec v) {
  float part[kLanes];
  for (int i = 0; i < kLanes; ++i) part[i] = v[i];
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  }
  return part[0];
}

// 2^x with a relative error under 2e-7; exactly 0 below 2^-126 (and for -inf). x at most 127.
LLAVA_INLINE Vec Exp2(Vec x) {
  const Vec rounder = Broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec clamped = Max(x, Broadcast(-126.0f));
  const Vec shifted = clamped + rounder;
  const Vec f = clamped - (shifted - rounder);  // in [-0.5, 0.5]
  // The Taylor series of 2^f: ln(2)^n / n!.
  Vec p = Broadcast(1.52527338e-5f);
  p = MulAdd(p, f, Broadcast(1.54035304e-4f));
  p = MulAdd(p, f, Broadcast(1.33335581e-3f));
  p = MulAdd(p, f, Broadcast(9.61812911e-3f));
  p = MulAdd(p, f, Broadcast(5.55041087e-2f));
  p = MulAdd(p, f, Broadcast(2.40226507e-1f));
  p = MulAdd(p, f, Broadcast(6.93147181e-1f));
  p = MulAdd(p, f, Broadcast(1.0f));
  const VecBits exponent = reinterpret_cast<VecBits>(shifted) << 23;
  const Vec result = reinterpret_cast<Vec>(reinterpret_cast<VecBits>(p) + exponent);
  return x < -126.0f ? Vec{} : result;
}

// 1 / (1 + e^-x).
LLAVA_INLINE Vec Sigmoid(Vec x) {
  return 1.0f / (1.0f + Exp2(Min(x * -1.44269504f, Broadcast(126.0f))));
}

LLAVA_INLINE std::int64_t SmallerOf(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_SIMD_H_
