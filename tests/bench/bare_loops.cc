#include "tests/bench/bare_loops.h"

#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <vector>

namespace llava::bench {
namespace {

// 12 sums hide the latency of an addition behind the others, and stay in registers.
constexpr int kSums = 12;
constexpr int kTimes = 1 << 20;

#define LLAVA_AVX2 __attribute__((target("avx2,fma")))
#define LLAVA_AVXVNNI __attribute__((target("avx2,avxvnni")))
#define LLAVA_AVX512 __attribute__((target("avx512f,avx512bw,avx512vnni")))

// The compiler must not know that an operand never changes.
#define LLAVA_HIDE(vector) asm volatile("" : "+x"(vector))

LLAVA_AVX2 double Avx2Fp32() {
  __m256 sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m256 w = _mm256_set1_ps(1e-9f);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm256_fmadd_ps(w, w, sum);
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 8.0 * kSums * kTimes;
}

LLAVA_AVX2 double Avx2Pairs() {
  __m256i sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m256i w = _mm256_set1_epi16(3);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w, w));
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 16.0 * kSums * kTimes;
}

LLAVA_AVX2 double Avx2Bytes() {
  __m256i sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m256i w = _mm256_set1_epi8(1);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, w));
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 32.0 * kSums * kTimes;
}

LLAVA_AVXVNNI double AvxVnniPairs() {
  __m256i sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m256i w = _mm256_set1_epi16(3);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm256_dpwssd_avx_epi32(sum, w, w);
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 16.0 * kSums * kTimes;
}

LLAVA_AVXVNNI double AvxVnniBytes() {
  __m256i sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m256i w = _mm256_set1_epi8(1);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm256_dpbusd_avx_epi32(sum, w, w);
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 32.0 * kSums * kTimes;
}

LLAVA_AVX512 double VnniPairs() {
  __m512i sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m512i w = _mm512_set1_epi16(3);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm512_dpwssd_epi32(sum, w, w);
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 32.0 * kSums * kTimes;
}

LLAVA_AVX512 double VnniBytes() {
  __m512i sums[kSums] = {};
  for (int i = 0; i < kTimes; ++i) {
    __m512i w = _mm512_set1_epi8(1);
#pragma GCC unroll 12
    for (auto& sum : sums) {
      LLAVA_HIDE(w);
      sum = _mm512_dpbusd_epi32(sum, w, w);
    }
  }
  for (auto& sum : sums) benchmark::DoNotOptimize(sum);
  return 64.0 * kSums * kTimes;
}

}  // namespace

std::span<const BareLoop> BareLoops() {
  static const std::vector<BareLoop> loops = [] {
    std::vector<BareLoop> those;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      those = {{"bound/avx2/fp32", Avx2Fp32},
               {"bound/avx2/bf16_and_int8", Avx2Pairs},
               {"bound/avx2/int4", Avx2Bytes}};
    }
    if (__builtin_cpu_supports("avxvnni")) {
      those.push_back({"bound/avxvnni/bf16_and_int8", AvxVnniPairs});
      those.push_back({"bound/avxvnni/int4", AvxVnniBytes});
    }
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) {
      those.push_back({"bound/avx512vnni/bf16_and_int8", VnniPairs});
      those.push_back({"bound/avx512vnni/int4", VnniBytes});
    }
    return those;
  }();
  return loops;
}

std::uint64_t SumOfWords(const std::uint8_t* begin, std::int64_t bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(begin);
  std::uint64_t sums[8] = {};
  for (std::int64_t i = 0; i < bytes / 64; ++i) {
    for (int j = 0; j < 8; ++j) sums[j] += words[i * 8 + j];
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) sum += part;
  return sum;
}

}  // namespace llava::bench
