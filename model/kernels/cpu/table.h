// The kernels of one LLAVA_ISA as a table. Included by instruction_set.cc only.
#ifndef LLAVA_MODEL_KERNELS_CPU_TABLE_H_
#define LLAVA_MODEL_KERNELS_CPU_TABLE_H_

#include "model/kernels/cpu/attention_kernel.h"
#include "model/kernels/cpu/block_float_format.h"
#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/fp32_format.h"
#include "model/kernels/cpu/gemm_kernel.h"
#include "model/kernels/cpu/int4_format.h"
#include "model/kernels/cpu/int8_format.h"
#include "model/kernels/cpu/row_kernels.h"
#include "model/kernels/cpu/sampling_kernels.h"

namespace llava::model::LLAVA_ISA {

inline constexpr KernelTable MakeTable(const char* name) {
  KernelTable table = {.name = name,
                       .panel = kPanel,
                       .tile_rows = kTileRows,
                       .gemm = {},
                       .attention_rows = kAttentionRows,
                       .attend = Attend,
                       .rms_norm_row = RmsNormRow,
                       .silu_times_row = SiluTimesRow,
                       .quick_gelu_row = QuickGeluRow,
                       .rotate_row = RotateRow,
                       .max_of_row = MaxOfRow,
                       .weights_of_row = WeightsOfRow,
                       .cut_row = CutRow,
                       .share_of = ShareOf,
                       .find_in_row = FindInRow};
  table.gemm[static_cast<int>(WeightFormat::kFp32)] = MakeGemmKernels<Fp32Format>();
  table.gemm[static_cast<int>(WeightFormat::kBlockFloat)] = MakeGemmKernels<BlockFloatFormat>();
  table.gemm[static_cast<int>(WeightFormat::kInt8)] = MakeGemmKernels<Int8Format>();
  table.gemm[static_cast<int>(WeightFormat::kInt4)] = MakeGemmKernels<Int4Format>();
  return table;
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_TABLE_H_
