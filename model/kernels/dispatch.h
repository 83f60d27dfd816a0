// The hot loops of the CPU path, compiled for several instruction sets and chosen at run time.
#ifndef LLAVA_MODEL_KERNELS_DISPATCH_H_
#define LLAVA_MODEL_KERNELS_DISPATCH_H_

#include <cstdint>

namespace llava::model {

// y [rows, out] = x [rows, in] Wᵀ + bias, W packed in panels (gemm_kernel.h). All fp32 but W.
struct GemmArgs {
  const float* x;
  std::int64_t ldx;  // distance of rows, in floats; so ldy
  std::int64_t rows;
  std::int64_t in;
  std::int64_t out;
  const void* panels;
  std::int64_t panel_bytes;
  bool bf16;          // dtype of W
  const float* bias;  // [out] or null
  float* packed_x;    // [rows * in]: room that GemmPackRows fills for GemmManyRows
  float* y;
  std::int64_t ldy;
};

// One set of kernels. All are pure functions of their arguments; any thread.
struct KernelTable {
  const char* name;
  int panel;      // output columns of a weight panel
  int tile_rows;  // rows of x that share a pass over a panel; at most this many for gemm_few_rows
  void (*gemm_few_rows)(const GemmArgs&, std::int64_t first_panel, std::int64_t last_panel);
  void (*gemm_pack_rows)(const GemmArgs&, std::int64_t first_tile, std::int64_t last_tile);
  void (*gemm_many_rows)(const GemmArgs&, std::int64_t first_tile, std::int64_t last_tile,
                         std::int64_t first_panel, std::int64_t last_panel, float* sums);
};

const KernelTable& BaselineKernels();
const KernelTable& Avx2Kernels();    // needs AVX2, FMA
const KernelTable& Avx512Kernels();  // needs AVX-512 F, BW, DQ, VL

// The best set that this processor runs.
const KernelTable& Kernels();

// True when the processor multiplies bf16 (AVX512-BF16): ATen's bf16 product is then at the
// machine's peak.
bool CpuHasBf16Products();

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_DISPATCH_H_
