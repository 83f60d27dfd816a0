// Vectors of kLanes floats for the hot loops, written with the compilers' vector extensions so that
// one source serves every instruction set. It is compiled once for each (CMakeLists.txt) with
//   LLAVA_ISA    the namespace of the copy (baseline, avx2, avxvnni, avx512,
//                avx512vnni, neon)
//   LLAVA_LANES  floats in a register
// and chosen at run time (dispatch.h). Because the copies are compiled with different flags, code
// here must be in the LLAVA_ISA namespace and must not instantiate shared templates or inline
// functions of other headers: the linker would keep one copy of those for everybody.
#ifndef LLAVA_MODEL_KERNELS_CPU_SIMD_H_
#define LLAVA_MODEL_KERNELS_CPU_SIMD_H_

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
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
// 32 vector registers, else 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kHasManyRegisters = true;
#else
constexpr bool kHasManyRegisters = false;
#endif

typedef float Vec __attribute__((vector_size(kVecBytes)));
typedef std::int32_t VecInt __attribute__((vector_size(kVecBytes)));
typedef std::int16_t VecShort __attribute__((vector_size(kVecBytes)));
typedef std::uint32_t VecBits __attribute__((vector_size(kVecBytes)));
// The same vectors at any address that is a multiple of 2, whatever the declared type there.
typedef float VecAt __attribute__((vector_size(kVecBytes), aligned(2), may_alias));
typedef std::uint32_t VecBitsAt __attribute__((vector_size(kVecBytes), aligned(2), may_alias));
typedef std::int32_t VecIntAt __attribute__((vector_size(kVecBytes), aligned(2), may_alias));

// A 32-bit word of any type, wherever it lies.
struct __attribute__((packed, aligned(2), may_alias)) Word {
  std::uint32_t bits;
};
struct __attribute__((may_alias)) FloatWord {
  float value;
};

LLAVA_INLINE Vec Load(const float* p) { return *reinterpret_cast<const VecAt*>(p); }
LLAVA_INLINE void Store(float* p, Vec v) { *reinterpret_cast<VecAt*>(p) = v; }
LLAVA_INLINE Vec Broadcast(float x) { return x - Vec{}; }

// The same loads and broadcasts from 32-bit words that hold floats or integers.
LLAVA_INLINE Vec LoadFloats(const std::uint32_t* p) { return *reinterpret_cast<const VecAt*>(p); }
LLAVA_INLINE VecInt LoadInts(const std::uint32_t* p) {
  return *reinterpret_cast<const VecIntAt*>(p);
}
LLAVA_INLINE Vec BroadcastFloat(const std::uint32_t* p) {
  return Broadcast(reinterpret_cast<const FloatWord*>(p)->value);
}
LLAVA_INLINE VecInt BroadcastInt(const std::uint32_t* p) {
  return static_cast<std::int32_t>(*p) - VecInt{};
}
LLAVA_INLINE Vec ToFloats(VecInt v) { return __builtin_convertvector(v, Vec); }

// a * b + c. The compiler contracts nothing by itself (-ffp-contract=off): which of two products it
// would fuse differs from copy to copy of a loop, and with it the bits of the result.
LLAVA_INLINE Vec MulAdd(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__) && LLAVA_LANES == 16
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && LLAVA_LANES == 8
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

// sum + low(a) * low(b) + high(a) * high(b) in each lane, the halves of a word being signed.
LLAVA_INLINE VecInt AddPairProducts(VecInt sum, VecInt a, VecInt b) {
#if defined(__AVX512VNNI__) && LLAVA_LANES == 16
  return reinterpret_cast<VecInt>(_mm512_dpwssd_epi32(
      reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX512BW__) && LLAVA_LANES == 16
  return sum + reinterpret_cast<VecInt>(
                   _mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVXVNNI__) && LLAVA_LANES == 8
  return reinterpret_cast<VecInt>(_mm256_dpwssd_avx_epi32(
      reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__AVX2__) && LLAVA_LANES == 8
  return sum + reinterpret_cast<VecInt>(
                   _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__) && LLAVA_LANES == 4
  return sum + reinterpret_cast<VecInt>(
                   _mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#elif defined(__aarch64__)
  const auto x = reinterpret_cast<int16x8_t>(a), y = reinterpret_cast<int16x8_t>(b);
  return sum + vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
#else
  return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

// Computes v here and now, in a register. Sums of a tile fill the registers; a compiler that
// computes products of the next steps before it adds these has to move sums to memory and back.
LLAVA_INLINE void Settle(VecInt& v) {
#if defined(__AVX512F__) && LLAVA_LANES == 16
  asm volatile("" : "+v"(v));
#elif defined(__SSE2__)
  asm volatile("" : "+x"(v));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(v));
#else
  static_cast<void>(v);
#endif
}

// The signed bytes 0 and 2, and 1 and 3, of each 32-bit word as its halves.
LLAVA_INLINE VecInt EvenBytes(VecInt v) {
  return reinterpret_cast<VecInt>(reinterpret_cast<VecShort>(v) << 8 >> 8);
}
LLAVA_INLINE VecInt OddBytes(VecInt v) {
  return reinterpret_cast<VecInt>(reinterpret_cast<VecShort>(v) >> 8);
}

// Sums of products of the bytes of u, 0 to 15, and the signed bytes of x, -127 to 127: a chain of
// at most kByteProducts additions that begins with zeros, and its end, the sum of each word's four
// products. Where an instruction sums into 16 bits, more than 8 times 2 * 15 * 127 would not fit.
constexpr int kByteProducts = 8;
LLAVA_INLINE VecInt AddByteProducts(VecInt chain, VecInt u, VecInt x) {
#if defined(__AVX512VNNI__) && LLAVA_LANES == 16
  return reinterpret_cast<VecInt>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(chain),
                                                      reinterpret_cast<__m512i>(u),
                                                      reinterpret_cast<__m512i>(x)));
#elif defined(__AVX512BW__) && LLAVA_LANES == 16
  return reinterpret_cast<VecInt>(_mm512_add_epi16(
      reinterpret_cast<__m512i>(chain),
      _mm512_maddubs_epi16(reinterpret_cast<__m512i>(u), reinterpret_cast<__m512i>(x))));
#elif defined(__AVXVNNI__) && LLAVA_LANES == 8
  return reinterpret_cast<VecInt>(_mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(chain),
                                                          reinterpret_cast<__m256i>(u),
                                                          reinterpret_cast<__m256i>(x)));
#elif defined(__AVX2__) && LLAVA_LANES == 8
  return reinterpret_cast<VecInt>(_mm256_add_epi16(
      reinterpret_cast<__m256i>(chain),
      _mm256_maddubs_epi16(reinterpret_cast<__m256i>(u), reinterpret_cast<__m256i>(x))));
#elif defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(chain, reinterpret_cast<int8x16_t>(u), reinterpret_cast<int8x16_t>(x));
#else
  return AddPairProducts(AddPairProducts(chain, EvenBytes(u), EvenBytes(x)), OddBytes(u),
                         OddBytes(x));
#endif
}
LLAVA_INLINE VecInt EndByteProducts(VecInt chain) {
#if (defined(__AVX512VNNI__) && LLAVA_LANES == 16) || (defined(__AVXVNNI__) && LLAVA_LANES == 8)
  return chain;
#elif (defined(__AVX512BW__) && LLAVA_LANES == 16) || (defined(__AVX2__) && LLAVA_LANES == 8)
  return AddPairProducts(VecInt{}, chain, VecInt{} + 0x00010001);
#else
  return chain;
#endif
}

// A 32-bit word holds two bf16 numbers. LowHalf and HighHalf give either of them as a float, of
// which bf16 is the upper half.
LLAVA_INLINE VecBits LoadPairs(const std::uint16_t* p) {
  return *reinterpret_cast<const VecBitsAt*>(p);
}
LLAVA_INLINE Vec LowHalf(VecBits pairs) { return reinterpret_cast<Vec>(pairs << 16); }
LLAVA_INLINE Vec HighHalf(VecBits pairs) { return reinterpret_cast<Vec>(pairs & 0xFFFF0000u); }

// Lane by lane. Where `a` is NaN the result is NaN; where only `b` is, it is `a`.
LLAVA_INLINE Vec Max(Vec a, Vec b) { return a < b ? b : a; }
LLAVA_INLINE Vec Min(Vec a, Vec b) { return b < a ? b : a; }

// Lane i of the result is lane i ^ kDistance of v.
template <int kDistance, typename V>
LLAVA_INLINE V Exchanged(V v) {
  constexpr int d = kDistance;
  if constexpr (kLanes == 4) {
    return __builtin_shufflevector(v, v, 0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d);
  } else if constexpr (kLanes == 8) {
    return __builtin_shufflevector(v, v, 0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d, 4 ^ d, 5 ^ d, 6 ^ d, 7 ^ d);
  } else {
    return __builtin_shufflevector(v, v, 0 ^ d, 1 ^ d, 2 ^ d, 3 ^ d, 4 ^ d, 5 ^ d, 6 ^ d, 7 ^ d,
                                   8 ^ d, 9 ^ d, 10 ^ d, 11 ^ d, 12 ^ d, 13 ^ d, 14 ^ d, 15 ^ d);
  }
}

// The largest lane, in every lane. No lane may be NaN.
LLAVA_INLINE Vec MaxOfLanes(Vec v) {
  if constexpr (kLanes > 8) v = Max(v, Exchanged<8>(v));
  if constexpr (kLanes > 4) v = Max(v, Exchanged<4>(v));
  v = Max(v, Exchanged<2>(v));
  return Max(v, Exchanged<1>(v));
}

// Adds lanes pairwise, so that the order does not depend on the optimiser.
template <typename V>
LLAVA_INLINE auto SumLanes(V v) {
  if constexpr (kLanes > 8) v += Exchanged<8>(v);
  if constexpr (kLanes > 4) v += Exchanged<4>(v);
  v += Exchanged<2>(v);
  v += Exchanged<1>(v);
  return v[0];
}

// The first lane of a comparison's result that holds; kLanes when none does.
LLAVA_INLINE int FirstLane(VecInt holds) {
#if defined(__AVX512DQ__) && LLAVA_LANES == 16
  const unsigned bits = _mm512_movepi32_mask(reinterpret_cast<__m512i>(holds));
  return bits == 0 ? kLanes : __builtin_ctz(bits);
#elif defined(__AVX2__) && LLAVA_LANES == 8
  const auto bits = static_cast<unsigned>(_mm256_movemask_ps(reinterpret_cast<Vec>(holds)));
  return bits == 0 ? kLanes : __builtin_ctz(bits);
#else
  int lane = 0;
  while (lane < kLanes && holds[lane] == 0) ++lane;
  return lane;
#endif
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

// How far ahead a loop that reads weights from memory asks for them: 2 KiB. At the 10 to 20 GB/s at
// which one core reads that is 100 to 200 ns, the latency of memory. The hardware's own prefetcher
// starts anew at every page; this one does not.
constexpr std::int64_t kPrefetchWords = 512;

LLAVA_INLINE std::int64_t SmallerOf(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_SIMD_H_
