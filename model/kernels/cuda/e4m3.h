// Numbers of 8 bits as OCP's e4m3 has them (NVIDIA's e4m3fn): a sign, 4 bits of exponent, 3 of
// mantissa; no infinity, one NaN of each sign. Plain C++ that runs on both sides: no CUDA here.
#ifndef LLAVA_MODEL_KERNELS_CUDA_E4M3_H_
#define LLAVA_MODEL_KERNELS_CUDA_E4M3_H_

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define LLAVA_ALSO_ON_GPU __host__ __device__
#else
#define LLAVA_ALSO_ON_GPU
#endif

namespace llava::model {

inline constexpr float kMaxE4m3 = 448.0f;
inline constexpr std::uint8_t kE4m3Nan = 0x7f;

// The nearest e4m3, of two equally near ones the even one. What is beyond kMaxE4m3, infinities
// among it, is kMaxE4m3 with its sign; every NaN is kE4m3Nan. The same as the conversion of GPUs of
// compute capability 8.9 with saturation.
LLAVA_ALSO_ON_GPU inline std::uint8_t ToE4m3(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  const std::uint32_t sign = bits >> 24 & 0x80u;
  std::uint32_t size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return kE4m3Nan;
  if (size >= 0x43e00000u) return static_cast<std::uint8_t>(sign | 0x7eu);  // kMaxE4m3
  if (size < 0x3c800000u) {  // 2^-6: multiples of 2^-9, as the last place of numbers from 2^14 on
    float magnitude = 0.0f;
    std::memcpy(&magnitude, &size, sizeof magnitude);
    const float sum = magnitude + 16384.0f;
    std::memcpy(&size, &sum, sizeof size);
    return static_cast<std::uint8_t>(sign | (size - 0x46800000u));
  }
  size += 0x7ffffu + (size >> 20 & 1u);  // a carry goes into the exponent
  return static_cast<std::uint8_t>(sign | ((size >> 20) - (120u << 3)));
}

// Exact.
LLAVA_ALSO_ON_GPU inline float FromE4m3(std::uint8_t code) {
  const std::uint32_t sign = (code & 0x80u) << 24, size = code & 0x7fu;
  std::uint32_t bits = (size << 20) + (120u << 23);
  if (size == kE4m3Nan) bits = 0x7fc00000u;
  if (size < 8) {  // multiples of 2^-9
    const float small = static_cast<float>(size) * 0.001953125f;
    std::memcpy(&bits, &small, sizeof bits);
  }
  bits |= sign;
  float x = 0.0f;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// What the numbers of a row are divided by before they become e4m3, and the results multiplied
// with: its largest magnitude (NaN aside) becomes kMaxE4m3. An infinity counts as the largest fp32,
// and the scale is never 0, so that a row of zeros stays one.
LLAVA_ALSO_ON_GPU inline float E4m3Scale(float largest) {
  constexpr float kMost = 3.4028234664e38f, kLeast = 1.1754943508e-38f;
  const float scale = (largest < kMost ? largest : kMost) / kMaxE4m3;
  return scale > kLeast ? scale : kLeast;
}

}  // namespace llava::model

#undef LLAVA_ALSO_ON_GPU

#endif  // LLAVA_MODEL_KERNELS_CUDA_E4M3_H_
