// The kernels of one LLAVA_ISA as a table. Included by the one source file of each instruction set
// only.
#ifndef LLAVA_MODEL_KERNELS_TABLE_H_
#define LLAVA_MODEL_KERNELS_TABLE_H_

#include "model/kernels/dispatch.h"
#include "model/kernels/gemm_kernel.h"

namespace llava::model::LLAVA_ISA {

inline constexpr KernelTable MakeTable(const char* name) {
  return {.name = name,
          .panel = kPanel,
          .tile_rows = kTileRows,
          .gemm_few_rows = GemmFewRows,
          .gemm_pack_rows = GemmPackRows,
          .gemm_many_rows = GemmManyRows};
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_TABLE_H_
