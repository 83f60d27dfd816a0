// The kernels compiled with the flags of this instruction set (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

namespace llava::model {

const KernelTable& Avx512Kernels() {
  static constexpr KernelTable kTable = avx512::MakeTable("avx512");
  return kTable;
}

}  // namespace llava::model
