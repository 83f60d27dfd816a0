// The emulator itself: what holds on a GPU holds here, and what is wrong there is seen here.
#include "tests/support/cuda_emulator.h"

#include <ATen/ATen.h>
#include <c10/util/BFloat16.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "tests/support/cuda_emulator_mma.h"

namespace llava {
namespace {

constexpr int kThreads = 96;

template <typename... Parameters, typename... Args>
void Launch(void (*kernel)(Parameters...), dim3 blocks, int threads, Args... args) {
  cudaLaunchConfig_t config;
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  cudaLaunchKernelEx(&config, kernel, args...);
}

// Each block's numbers the other way round, through shared memory.
__global__ void Reverse(const int* from, int* to, bool with_barrier) {
  __shared__ int numbers[kThreads];
  const int first = static_cast<int>(blockIdx.x) * kThreads, i = static_cast<int>(threadIdx.x);
  numbers[i] = from[first + i];
  if (with_barrier) __syncthreads();
  to[first + i] = numbers[kThreads - 1 - i];
}

std::vector<int> Reversed(bool with_barrier) {
  constexpr int kBlocks = 5;
  std::vector<int> from(kThreads * kBlocks), to(from.size(), -1);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<int>(i) + 1;
  Launch(Reverse, kBlocks, kThreads, from.data(), to.data(), with_barrier);
  return to;
}

TEST(CudaEmulatorTest, ABarrierMakesWhatTheBlockWroteVisible) {
  const std::vector<int> to = Reversed(true);
  for (int block = 0; block < 5; ++block) {
    for (int i = 0; i < kThreads; ++i) {
      EXPECT_EQ(to[block * kThreads + i], (block + 1) * kThreads - i);
    }
  }
}

TEST(CudaEmulatorTest, AMissingBarrierIsSeen) { EXPECT_NE(Reversed(false), Reversed(true)); }

__global__ void Shuffle(float* sums, std::int64_t* firsts) {
  float sum = static_cast<float>(threadIdx.x);
  for (int distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(~0u, sum, distance);
  }
  sums[threadIdx.x] = sum;
  firsts[threadIdx.x] = __shfl_sync(~0u, std::int64_t{threadIdx.x} << 40, 3);
}

TEST(CudaEmulatorTest, ShufflesStayWithinAWarp) {
  std::vector<float> sums(kThreads);
  std::vector<std::int64_t> firsts(kThreads);
  Launch(Shuffle, 1, kThreads, sums.data(), firsts.data());
  for (int i = 0; i < kThreads; ++i) {
    const int warp = i / 32;
    EXPECT_EQ(sums[i], 32 * 31 / 2 + 32 * 32 * warp);
    EXPECT_EQ(firsts[i], std::int64_t{32 * warp + 3} << 40);
  }
}

__global__ void CountBlocks(int* count, int* last, int blocks) {
  if (threadIdx.x == 0 && atomicAdd(count, 1) == blocks - 1) {
    *last = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  }
}

TEST(CudaEmulatorTest, EveryBlockRunsOnceAndNotAlwaysTheSameOneLast) {
  int first_last = -1;
  bool varies = false;
  for (int i = 0; i < 10; ++i) {
    int count = 0, last = -1;
    Launch(CountBlocks, dim3(3, 4, 5), 2, &count, &last, 60);
    EXPECT_EQ(count, 60);
    if (i == 0) first_last = last;
    varies = varies || last != first_last;
  }
  EXPECT_TRUE(varies);
}

__global__ void SumDynamic(float* sum) {
  const auto* shared = static_cast<const float*>(cuda_emulator::DynamicShared());
  *sum = shared[0] + shared[7];
}

TEST(CudaEmulatorTest, DynamicSharedMemoryIsNanUntilItIsWritten) {
  float sum = 0;
  cudaLaunchConfig_t config;
  config.dynamicSmemBytes = 32;
  cudaLaunchKernelEx(&config, SumDynamic, &sum);
  EXPECT_TRUE(std::isnan(sum));
}

// c = a b + 1, of 16 rows of a and, of b, the columns one after the other.
__global__ void Multiply(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c) {
  namespace wmma = nvcuda::wmma;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> rows;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> columns;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
  wmma::fill_fragment(sums, 1.0f);
  for (int i = 0; i < 3; ++i) {
    wmma::load_matrix_sync(rows, a + 16 * i, 48);
    wmma::load_matrix_sync(columns, b + 16 * i, 48);
    wmma::mma_sync(sums, rows, columns, sums);
  }
  wmma::store_matrix_sync(c, sums, 16, wmma::mem_row_major);
}

TEST(CudaEmulatorTest, AWarpMultipliesMatrices) {
  const at::Tensor a = at::randn({16, 48}).to(at::kBFloat16);
  const at::Tensor b = at::randn({16, 48}).to(at::kBFloat16);
  const at::Tensor c = at::zeros({16, 16});
  Launch(Multiply, 1, 32, static_cast<const __nv_bfloat16*>(a.data_ptr()),
         static_cast<const __nv_bfloat16*>(b.data_ptr()), c.mutable_data_ptr<float>());
  EXPECT_TRUE(at::allclose(c, a.to(at::kFloat).matmul(b.to(at::kFloat).t()) + 1, 1e-5, 1e-4));
}

__global__ void SkipBarrier() {
  if (threadIdx.x != 5) __syncthreads();
}
__global__ void DivideWarp() { threadIdx.x == 5 ? __syncwarp() : void(__shfl_xor_sync(~0u, 1, 1)); }

TEST(CudaEmulatorDeathTest, ThreadsThatWaitInVainEndTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Launch(SkipBarrier, 1, kThreads), "do not all come .* 6: __syncthreads");
  EXPECT_DEATH(Launch(DivideWarp, 1, kThreads), "do not all come to the same barrier or shuffle");
  EXPECT_DEATH(Launch(SkipBarrier, dim3(1, 65536), kThreads), "grid.y");
  EXPECT_DEATH(Launch(SkipBarrier, 1, 2048), "threads.x");
}

TEST(CudaEmulatorTest, RoundsToBf16AsLibTorchDoes) {
  Rng rng(3);
  for (int i = 0; i < 100000; ++i) {
    const float x = __uint_as_float(static_cast<unsigned>(rng.Next()));
    const c10::BFloat16 expected(x);
    const __nv_bfloat16 rounded = __float2bfloat16(x);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(__bfloat162float(rounded)));
    } else {
      EXPECT_EQ(rounded.bits, expected.x) << x;
      EXPECT_EQ(__bfloat162float(rounded), static_cast<float>(expected));
    }
  }
}

}  // namespace
}  // namespace llava
