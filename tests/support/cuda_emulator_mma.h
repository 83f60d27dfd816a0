// nvcuda::wmma of the emulator: products of 16 x 16 matrices by a warp, bf16 with sums in fp32.
#ifndef LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_MMA_H_
#define LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_MMA_H_

#include <cstdint>
#include <type_traits>

#include "base/check.h"
#include "tests/support/cuda_emulator.h"

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

// A lane has eight elements, in an order that nobody may rely on: it is not that of any GPU.
template <typename Use, int M, int N, int K, typename T, typename Layout = void>
struct fragment {
  static_assert(M == 16 && N == 16 && K == 16);
  static constexpr int num_elements = 8;
  T x[num_elements];
};

inline constexpr unsigned kElements = 256;
inline unsigned ElementOf(int i) { return unsigned(i) * 32 + cuda_emulator::Lane(); }

// As GPUs want it: 32 bytes, and rows of whole 16 bytes.
template <typename T>
void CheckAligned(const T* at, unsigned stride) {
  LLAVA_CHECK_EQ(reinterpret_cast<std::uintptr_t>(at) % 32, 0u);
  LLAVA_CHECK_EQ(stride * sizeof(T) % 16, 0u);
}

template <typename F, typename T>
void fill_fragment(F& fragment, T value) {
  for (auto& x : fragment.x) x = value;
}

template <typename Use, typename T, typename Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& to, const T* from, unsigned stride) {
  CheckAligned(from, stride);
  for (int i = 0; i < to.num_elements; ++i) {
    const unsigned row = ElementOf(i) / 16, column = ElementOf(i) % 16;
    to.x[i] = std::is_same_v<Layout, row_major> ? from[row * stride + column]
                                                : from[column * stride + row];
  }
}

template <typename T>
void load_matrix_sync(fragment<accumulator, 16, 16, 16, T>& to, const T* from, unsigned stride,
                      layout_t layout) {
  CheckAligned(from, stride);
  for (int i = 0; i < to.num_elements; ++i) {
    const unsigned row = ElementOf(i) / 16, column = ElementOf(i) % 16;
    to.x[i] = from[layout == mem_row_major ? row * stride + column : column * stride + row];
  }
}

template <typename T>
void store_matrix_sync(T* to, const fragment<accumulator, 16, 16, 16, T>& from, unsigned stride,
                       layout_t layout) {
  CheckAligned(to, stride);
  for (int i = 0; i < from.num_elements; ++i) {
    const unsigned row = ElementOf(i) / 16, column = ElementOf(i) % 16;
    to[layout == mem_row_major ? row * stride + column : column * stride + row] = from.x[i];
  }
}

template <typename LayoutA, typename LayoutB>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& d,
              const fragment<matrix_a, 16, 16, 16, __nv_bfloat16, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, __nv_bfloat16, LayoutB>& b,
              const fragment<accumulator, 16, 16, 16, float>& c) {
  float* const all_a = cuda_emulator::WarpScratch();
  float* const all_b = all_a + kElements;
  for (int i = 0; i < a.num_elements; ++i) {
    all_a[ElementOf(i)] = __bfloat162float(a.x[i]);
    all_b[ElementOf(i)] = __bfloat162float(b.x[i]);
  }
  cuda_emulator::MeetInWarp("mma_sync");
  for (int i = 0; i < d.num_elements; ++i) {
    const unsigned row = ElementOf(i) / 16, column = ElementOf(i) % 16;
    float sum = c.x[i];
    for (unsigned k = 0; k < 16; ++k) sum += all_a[row * 16 + k] * all_b[k * 16 + column];
    d.x[i] = sum;
  }
}

}  // namespace nvcuda::wmma

#endif  // LLAVA_TESTS_SUPPORT_CUDA_EMULATOR_MMA_H_
