// The kernels compiled with the flags of this instruction set (CMakeLists.txt).
#include "model/kernels/cpu/table.h"

namespace llava::model {

const KernelTable& Avx2Kernels() {
  static constexpr KernelTable kTable = avx2::MakeTable("avx2");
  return kTable;
}

}  // namespace llava::model
